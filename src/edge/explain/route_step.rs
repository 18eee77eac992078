//! Which route a request found, and which others it might have been meant for.
use crate::{
    edge::explain::{Step, StepResult, steps::Case},
    gate::{
        host::Host,
        path::RequestPath,
        rivals::{self, Loss},
        route::{HostPattern, PathPattern, Route},
        witness::Stage,
    },
};

/// Other routes that are named at most.
const RIVALS_MAX: usize = 8;

impl Case<'_> {
    pub(super) fn find_route(&self) -> Step {
        let mut step = self.step(Stage::Route, "route", || self.route().map_or_else(String::new, shown_route));
        if step.result != StepResult::Skipped {
            step.details = self.rivals();
        }
        step
    }

    /// The routes that might have been meant, and why they are not the one.
    fn rivals(&self) -> Vec<String> {
        let Some((host, path)) = &self.trace.host_and_path else { return Vec::new() };
        let (Ok(host), Ok(path)) = (Host::parse(host), RequestPath::parse(path)) else { return Vec::new() };
        let winner = self.judgement.route;
        let routes = self.ruleset().routes.routes().iter().enumerate();
        let others = routes.filter(|(position, _)| winner.is_none_or(|winner| usize::from(winner.0) != *position));
        let mut losses: Vec<(Loss, &Route)> = others
            .map(|(_, route)| {
                let place = (&host, &path);
                let loss = rivals::loss(route, self.route(), self.request.listener, place, self.request.method);
                (loss, route)
            })
            .filter(|(loss, _)| match loss {
                Loss::Method | Loss::AnyMethod | Loss::Path | Loss::Host => true,
                // Where nothing was found, what was near is of interest.
                Loss::OtherHost | Loss::OtherPath => winner.is_none(),
                Loss::Unrelated | Loss::OtherListener => false,
            })
            .collect();
        losses.sort_by_key(|(loss, _)| *loss);
        let shown = |(loss, route): &(Loss, &Route)| {
            let why = match loss {
                Loss::Method => format!("takes {}", route.methods.as_deref().unwrap_or_default().join(", ")),
                Loss::AnyMethod => "takes any method, where another lists this one".to_owned(),
                Loss::Path => "its path is less specific".to_owned(),
                Loss::Host => "its host is less specific".to_owned(),
                Loss::OtherHost => "is for another host".to_owned(),
                Loss::OtherPath => "is for another path".to_owned(),
                Loss::Unrelated | Loss::OtherListener => "is for other requests".to_owned(),
            };
            format!("not {}: {why}", shown_route(route))
        };
        losses.iter().take(RIVALS_MAX).map(shown).collect()
    }
}

/// A route by its name and what it takes.
fn shown_route(route: &Route) -> String {
    let hosts: Vec<String> = route
        .hosts
        .iter()
        .filter_map(|host| match host {
            HostPattern::Exact(name) => Some(name.to_string()),
            HostPattern::Below(suffix) => Some(format!("*{suffix}")),
            HostPattern::Any => None,
        })
        .collect();
    let path = match &route.path {
        PathPattern::Exact(path) => path.to_string(),
        PathPattern::Prefix(prefix) => format!("{prefix}/*"),
    };
    let methods = route.methods.as_ref().map_or_else(String::new, |methods| format!("{} ", methods.join(",")));
    format!("{} ({methods}{}{path})", route.name, hosts.join(","))
}

//! Which routes the cases find, and how.
use serde::Serialize;

use crate::{
    cli::policy_test::{CoverageLevel, Tried},
    config::settings::Config,
    edge::explain::Outcome,
    gate::route::{Authentication, Route},
};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CoveredRoute {
    pub(super) route: String,
    /// Whether it asks for something, so that a request for it may be denied.
    pub(super) asks: bool,
    /// Cases that pass on it.
    pub(super) allowed: usize,
    /// Cases that are denied on it.
    pub(super) denied: usize,
}

/// All routes, in the order of the configuration.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Coverage {
    pub(super) routes: Vec<CoveredRoute>,
}

/// The routes of a configuration.
pub(super) fn routes(config: &Config) -> Vec<CoveredRoute> {
    let routes = config.live.ruleset.routes.routes().iter();
    let covered =
        |route: &Route| CoveredRoute { route: route.name.to_string(), asks: asks(route), allowed: 0, denied: 0 };
    routes.map(covered).collect()
}

fn asks(route: &Route) -> bool {
    let is_anywhere = route.addresses.allow.is_empty() && route.addresses.deny.is_empty();
    !is_anywhere || (route.authentication != Authentication::Public && !route.observes_authentication)
}

impl Coverage {
    pub(super) fn of<'t>(mut routes: Vec<CoveredRoute>, cases: impl Iterator<Item = &'t Tried>) -> Self {
        for case in cases {
            let verdict = &case.explanation.verdict;
            let found = routes.iter_mut().find(|route| Some(&route.route) == verdict.route.as_ref());
            match (found, verdict.outcome) {
                (Some(route), Outcome::Forward | Outcome::Respond) => route.allowed += 1,
                (Some(route), Outcome::Refuse) => route.denied += 1,
                (None, _) => {}
            }
        }
        Self { routes }
    }

    /// The routes that no case finds.
    pub(super) fn untested(&self) -> Vec<&str> {
        let untested = self.routes.iter().filter(|route| route.allowed + route.denied == 0);
        untested.map(|route| route.route.as_str()).collect()
    }

    /// What is missing.
    pub(super) fn lacks(&self, level: CoverageLevel) -> Vec<String> {
        let lack = |route: &CoveredRoute| match (level, route.allowed, route.denied) {
            (_, 0, 0) => Some(format!("no case finds the route {}", route.route)),
            (CoverageLevel::Both, 0, _) => Some(format!("no case passes on the route {}", route.route)),
            (CoverageLevel::Both, _, 0) if route.asks => {
                Some(format!("no case is denied on the route {}", route.route))
            }
            (_, _, _) => None,
        };
        self.routes.iter().filter_map(lack).collect()
    }
}

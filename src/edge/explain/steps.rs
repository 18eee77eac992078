//! One decision, step by step: what the trace and the judgement hold, in words.
use http::StatusCode;
use pingora::http::RequestHeader;

use super::words::{shown_issuer, shown_kid, shown_source};
use crate::{
    edge::{
        explain::{
            CheckShown, FoundKeys, Outcome, Scene, Step, StepResult, Verdict, arrival::Arrival, cure::cure,
            forwarded::without_values, trace::Trace,
        },
        forwarding,
    },
    gate::{
        account::{self, Check},
        algorithm::KeyType,
        cors::Cors,
        decide::{Decision, Ruleset},
        issuer::Issuer,
        network::Network,
        rate_limit::LimitStage,
        rejection::Refusal,
        request::Request,
        route::{Action, Authentication, Route},
        time::UnixTime,
        witness::Stage,
    },
    state::gatekeeper::Judgement,
};

/// Keys that are named at most.
const KEYS_MAX: usize = 8;
/// What a preflight is answered with, and an OPTIONS that is to go no further (RFC 9110 §15.3.5).
const NO_CONTENT_STATUS: u16 = StatusCode::NO_CONTENT.as_u16();
const REDIRECT_STATUS: u16 = StatusCode::PERMANENT_REDIRECT.as_u16();

/// A request that was decided.
pub(super) struct Case<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) arrival: &'a Arrival<'a>,
    pub(super) head: &'a RequestHeader,
    pub(super) request: Request<'a>,
    pub(super) judgement: &'a Judgement,
    pub(super) trace: &'a Trace<'a>,
    /// The keys that were looked at.
    pub(super) keys: Option<&'a FoundKeys>,
    /// Whether claims are taken as if signed.
    pub(super) is_as_if_signed: bool,
    /// Where the listener sends it, if it does not serve it.
    pub(super) location: Option<&'a str>,
    pub(super) now: UnixTime,
}

impl Case<'_> {
    pub(super) fn ruleset(&self) -> &Ruleset {
        self.scene.installed.gatekeeper.ruleset()
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.ruleset().routes.route(self.judgement.route?)
    }

    fn issuer(&self) -> Option<&Issuer> {
        self.ruleset().issuer(self.judgement.issuer?)
    }

    /// The stage that ended the decision, what it says, and what that means.
    fn failure(&self) -> Option<(Stage, &Refusal, StepResult)> {
        let last = self.trace.last()?;
        match (&self.judgement.decision, &self.judgement.observed) {
            (Decision::Reject(refusal), _) => Some((last, refusal, StepResult::Failed)),
            (Decision::Pass(None), Some(refusal)) => Some((last, refusal, StepResult::Observed)),
            (Decision::Pass(_) | Decision::AwaitKeys(_), _) => None,
        }
    }

    fn result(&self, stage: Stage) -> StepResult {
        match self.failure() {
            Some((failed, _, result)) if failed == stage => result,
            Some(_) | None if self.trace.reached(stage) => StepResult::Ok,
            Some(_) | None => StepResult::Skipped,
        }
    }

    /// A step with what it found when it was passed.
    pub(super) fn step(&self, stage: Stage, name: &str, passed: impl FnOnce() -> String) -> Step {
        let result = self.result(stage);
        let summary = match (result, self.failure()) {
            (StepResult::Failed | StepResult::Observed, Some((_, refusal, _))) => {
                let row = refusal.rejection().row();
                let detail = refusal.detail().map_or_else(|| row.title.to_owned(), str::to_owned);
                format!("{}: {detail}", row.label)
            }
            (StepResult::Ok, _) => passed(),
            (StepResult::Failed | StepResult::Observed | StepResult::Skipped | StepResult::Note, _) => {
                self.why_not(stage)
            }
        };
        Step { step: name.to_owned(), result, summary, checks: Vec::new(), details: Vec::new() }
    }

    fn why_not(&self, stage: Stage) -> String {
        let is_asked = self.route().is_some_and(|route| route.authentication != Authentication::Public);
        let has_passed = matches!(self.judgement.decision, Decision::Pass(_)) && self.judgement.observed.is_none();
        let why = if self.location.is_some() {
            "the listener serves nothing itself"
        } else if self.judgement.is_preflight && stage > Stage::Addresses {
            "a preflight needs no token"
        } else if has_passed && !is_asked {
            "the route asks for no token"
        } else if has_passed && stage > Stage::TokenSource && self.judgement.known.is_none() {
            "there is no token, and the route does without"
        } else {
            "not reached"
        };
        why.to_owned()
    }

    /// What becomes of it, and why.
    pub(super) fn verdict(&self) -> Verdict {
        let judgement = self.judgement;
        let action = self.route().map(|route| &route.action);
        let refusal = match &judgement.decision {
            Decision::Reject(refusal) => Some(refusal),
            Decision::Pass(_) | Decision::AwaitKeys(_) => None,
        };
        let is_answered =
            judgement.is_preflight && matches!(self.route().and_then(|route| route.cors.as_ref()), Some(Cors::Gate(_)));
        let is_last = forwarding::forwards_left(self.head) == Some(0);
        let (outcome, status) = match (refusal, action) {
            (Some(refusal), _) => (Outcome::Refuse, Some(refusal.rejection().row().status)),
            (None, _) if self.location.is_some() => (Outcome::Respond, Some(REDIRECT_STATUS)),
            (None, _) if is_answered => (Outcome::Respond, Some(NO_CONTENT_STATUS)),
            (None, Some(Action::Respond { status, .. })) => (Outcome::Respond, Some(*status)),
            // RFC 9110 §7.6.2: its Max-Forwards are used up.
            (None, Some(Action::Forward(_))) if is_last => (Outcome::Respond, Some(NO_CONTENT_STATUS)),
            (None, Some(Action::AssertionKeys)) => (Outcome::Respond, Some(200)),
            (None, Some(Action::Forward(_)) | None) => (Outcome::Forward, None),
        };
        let subject = match &judgement.decision {
            Decision::Pass(Some(identity)) => identity.subject(),
            Decision::Pass(None) | Decision::Reject(_) | Decision::AwaitKeys(_) => None,
        };
        Verdict {
            outcome,
            route: self.route().map(|route| route.name.to_string()),
            issuer: self.issuer().map(|issuer| issuer.name.to_string()),
            subject: subject.map(str::to_owned),
            status,
            reason: refusal.map(|refusal| refusal.rejection().label().to_owned()),
            title: refusal.map(|refusal| refusal.rejection().row().title.to_owned()),
            detail: refusal.and_then(Refusal::detail).map(str::to_owned),
            cure: refusal.map(|refusal| cure(refusal.rejection()).to_owned()),
            observed: judgement.observed.as_ref().map(|refusal| refusal.rejection().label().to_owned()),
        }
    }

    /// Every step, in the order of the decision.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = vec![self.arrival.step(), self.shape()];
        if let Some(location) = self.location {
            let location = without_values(location);
            steps.push(note("redirect", format!("the listener sends every request to https: {location}")));
        }
        steps.extend([self.find_route(), self.body(), self.addresses()]);
        if self.judgement.is_preflight {
            steps.push(self.preflight());
        }
        steps.extend([
            self.limits(),
            self.token_source(),
            self.step(Stage::Token, "token", || self.trace.header.clone().unwrap_or_default()),
            self.step(Stage::Issuer, "issuer", || self.issuer().map_or_else(String::new, shown_issuer)),
            self.step(Stage::Header, "header", || "its type and its algorithm are the issuer's".to_owned()),
            self.key_set(),
            self.signature(),
            self.claims(),
            self.revocation(),
            self.policy(),
        ]);
        steps.extend(self.caller_limits());
        steps.extend(self.observation());
        steps
    }

    fn shape(&self) -> Step {
        self.step(Stage::Shape, "shape", || {
            let (host, path) = self.trace.host_and_path.clone().unwrap_or_default();
            let decoded = if self.trace.was_decoded { " (escapes that mean nothing are decoded)" } else { "" };
            let query = self.request.query.map_or_else(String::new, |query| without_values(&format!("?{query}")));
            format!("{} {host}{path}{query}{decoded}", self.request.method)
        })
    }

    fn body(&self) -> Step {
        let limit = self.route().and_then(|route| self.ruleset().body_bytes_max(route));
        self.step(Stage::Body, "body", || {
            limit.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {limit} bytes"))
        })
    }

    fn addresses(&self) -> Step {
        let mut step = self.step(Stage::Addresses, "addresses", || "anywhere".to_owned());
        let Some(rule) = self.route().map(|route| &route.addresses) else { return step };
        if rule.allow.is_empty() && rule.deny.is_empty() {
            return step;
        }
        let listed = |networks: &[Network]| networks.iter().map(Network::to_string).collect::<Vec<_>>().join(", ");
        let allowed = if rule.allow.is_empty() { "any".to_owned() } else { listed(&rule.allow) };
        let denied = if rule.deny.is_empty() { String::new() } else { format!(", not {}", listed(&rule.deny)) };
        let found = self.request.client.map_or_else(|| "not known".to_owned(), |address| address.to_string());
        let ok = rule.admits(self.request.client);
        if step.result == StepResult::Ok {
            step.summary = "the route is for this address".to_owned();
        }
        step.checks = vec![CheckShown {
            check: "address".to_owned(),
            expected: format!("{allowed}{denied}"),
            found,
            ok,
            reason: None,
        }];
        step
    }

    fn preflight(&self) -> Step {
        let summary = match self.route().and_then(|route| route.cors.as_ref()) {
            Some(Cors::Upstream) => "a browser's question, which the upstream answers; it gets no credentials",
            Some(Cors::Gate(_)) | None => "a browser's question, which the gateway answers",
        };
        note("cors", summary.to_owned())
    }

    /// Limits are named here and never drawn upon.
    fn limits(&self) -> Step {
        let mut step = self.step(Stage::AddressLimits, "limits", || "none".to_owned());
        let rates = self.scene.failed_authentications.map(|rate| {
            let (events, seconds) = (rate.events, rate.period.as_secs());
            format!("{events} failed authentications in {seconds} s by address (limits.failed_authentications)")
        });
        step.details = self.rate_limits(LimitStage::BeforeTokens).chain(rates).collect();
        if step.result == StepResult::Ok && !step.details.is_empty() {
            step.summary = "named here, and nothing is taken from them".to_owned();
        }
        step
    }

    /// Those that count whoever was found to have sent it; nothing where there are none.
    fn caller_limits(&self) -> Option<Step> {
        let details: Vec<String> = self.rate_limits(LimitStage::Last).collect();
        let mut step =
            self.step(Stage::CallerLimits, "caller limits", || "named here, and nothing is taken from them".to_owned());
        step.details = details;
        (!step.details.is_empty()).then_some(step)
    }

    fn rate_limits(&self, stage: LimitStage) -> impl Iterator<Item = String> {
        let limits = self.route().map(|route| route.rate_limits.limits()).unwrap_or_default();
        limits.iter().filter(move |limit| limit.by.stage() == stage).map(ToString::to_string)
    }

    fn token_source(&self) -> Step {
        let mut step = self.step(Stage::TokenSource, "token source", || match &self.trace.source {
            Some(source) => format!("{}, {} bytes", shown_source(source), self.trace.token_bytes),
            None => {
                let is_public = self.route().is_some_and(|route| route.authentication == Authentication::Public);
                if is_public {
                    "the route asks for no token (auth: none)"
                } else {
                    "none, and the route does without (auth: optional)"
                }
                .to_owned()
            }
        });
        if let Some(route) = self.route().filter(|route| route.authentication != Authentication::Public) {
            let places: Vec<String> = route.token_sources.iter().map(shown_source).collect();
            step.details = vec![format!("looked for in {}", places.join(", "))];
        }
        step
    }

    fn key_set(&self) -> Step {
        let mut step =
            self.step(Stage::Keys, "keys", || self.keys.map_or_else(String::new, |found| found.origin.clone()));
        if let (Some(found), StepResult::Failed | StepResult::Observed) = (self.keys, step.result) {
            step.details = vec![found.origin.clone()];
        }
        if let Some(keys) = self
            .keys
            .and_then(|found| found.keys.as_ref())
            .filter(|_| step.result == StepResult::Ok && !self.is_as_if_signed)
        {
            let named: Vec<String> = keys.keys().iter().take(KEYS_MAX).map(|key| shown_kid(key.kid())).collect();
            let more = keys.keys().len().saturating_sub(named.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            step.details = vec![format!("usable keys: {}{more}", named.join(", "))];
            let skipped = keys.skipped().iter().take(KEYS_MAX);
            step.details
                .extend(skipped.map(|key| format!("not used: {}: {}", shown_kid(key.kid.as_deref()), key.reason)));
        }
        step
    }

    fn signature(&self) -> Step {
        if self.is_as_if_signed && self.result(Stage::Signature) == StepResult::Ok {
            let name = self.issuer().map(|issuer| issuer.name.as_ref()).unwrap_or_default();
            return self.step(Stage::Signature, "signature", || format!("taken as if {name} had signed them"));
        }
        let signed = |judgement: &Judgement| {
            let token = judgement.known.as_ref()?.token();
            let key = token.key();
            // That of a secret would help to guess it.
            let thumbprint = (key.key_type() != KeyType::Secret).then(|| format!(", thumbprint {}", key.thumbprint()));
            Some(format!(
                "{} by the key {}{}",
                token.algorithm(),
                shown_kid(token.kid()),
                thumbprint.unwrap_or_default()
            ))
        };
        self.step(Stage::Signature, "signature", || signed(self.judgement).unwrap_or_default())
    }

    fn claims(&self) -> Step {
        let mut step = self.step(Stage::Claims, "claims", || "valid now".to_owned());
        if let (Some(known), Some(issuer)) = (&self.judgement.known, self.issuer()) {
            step.checks = shown_checks(account::of_claims(known, issuer, &self.trace.sayings, self.now));
        }
        step
    }

    fn revocation(&self) -> Step {
        let revocations = self.scene.installed.gatekeeper.revocations().current();
        let lists: Vec<String> =
            revocations.lists().map(|(name, list)| format!("{name} ({})", list.entries().len())).collect();
        self.step(Stage::Revocation, "revocation", || match lists.is_empty() {
            true => "nothing is revoked".to_owned(),
            false => format!("no entry ends it: {}", lists.join(", ")),
        })
    }

    fn policy(&self) -> Step {
        let mut step = self.step(Stage::Policy, "policy", || "all that the route requires".to_owned());
        let Some(route) = self.route() else { return step };
        if let (Some(known), Some(issuer)) = (&self.judgement.known, self.issuer())
            && !known.is_faulty()
        {
            let checks = account::of_policy(&route.requirement, known, issuer, &self.trace.sayings, self.now);
            step.checks = shown_checks(checks);
        }
        if step.result == StepResult::Ok && step.checks.is_empty() {
            step.summary = "the route requires nothing but a valid token".to_owned();
        }
        step
    }

    /// What a rule on trial says; it decides nothing.
    fn observation(&self) -> Option<Step> {
        let requirement = self.route()?.observed.as_ref()?;
        let mut step = self.step(Stage::Observation, "observe", || "the rule on trial would let it pass".to_owned());
        let (Some(known), Some(issuer)) = (&self.judgement.known, self.issuer()) else { return Some(step) };
        if let (StepResult::Ok, Some(refusal)) = (step.result, &self.judgement.observed) {
            step.result = StepResult::Observed;
            step.summary = format!("{} if the rule on trial were in force", refusal.rejection());
        }
        if !known.is_faulty() {
            let checks = account::of_policy(requirement, known, issuer, &self.trace.sayings, self.now);
            step.checks = shown_checks(checks);
        }
        Some(step)
    }
}

fn note(name: &str, summary: String) -> Step {
    Step { step: name.to_owned(), result: StepResult::Note, summary, checks: Vec::new(), details: Vec::new() }
}

fn shown_checks(checks: Vec<Check>) -> Vec<CheckShown> {
    let shown = |check: Check| CheckShown {
        check: check.name,
        expected: check.expected,
        found: check.found,
        ok: check.refusal.is_none(),
        reason: check.refusal.map(|refusal| refusal.rejection().label().to_owned()),
    };
    checks.into_iter().map(shown).collect()
}

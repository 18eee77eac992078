//! What a witness keeps of a decision: which stages there were, and what was learnt. The token itself it does not keep.
use crate::gate::{
    account::Sayings,
    decide::Ruleset,
    rejection::quoted,
    sources::TokenSource,
    witness::{Fact, Stage, Witness},
};

/// Watches one decision.
#[derive(Debug)]
pub(super) struct Trace<'c> {
    ruleset: &'c Ruleset,
    stages: Vec<Stage>,
    pub(super) host_and_path: Option<(String, String)>,
    pub(super) was_decoded: bool,
    pub(super) source: Option<TokenSource>,
    pub(super) token_bytes: usize,
    pub(super) header: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) claimed_issuer: Option<String>,
    pub(super) sayings: Sayings,
}

impl<'c> Trace<'c> {
    pub(super) fn new(ruleset: &'c Ruleset) -> Self {
        Self {
            ruleset,
            stages: Vec::new(),
            host_and_path: None,
            was_decoded: false,
            source: None,
            token_bytes: 0,
            header: None,
            kid: None,
            claimed_issuer: None,
            sayings: Sayings::default(),
        }
    }

    pub(super) fn reached(&self, stage: Stage) -> bool {
        self.stages.contains(&stage)
    }

    /// The stage at which the decision ended.
    pub(super) fn last(&self) -> Option<Stage> {
        self.stages.last().copied()
    }
}

impl Witness for Trace<'_> {
    fn enter(&mut self, stage: Stage) {
        self.stages.push(stage);
    }

    fn learn(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Shape(shape) => {
                self.host_and_path = Some((shape.host.name().to_owned(), shape.path.as_str().to_owned()));
                self.was_decoded = shape.path.was_decoded();
            }
            Fact::Found(token) => {
                self.source = Some(token.source.clone());
                self.token_bytes = token.text.len();
            }
            Fact::Unverified(token) => {
                let shown = |text: Option<&str>| text.map_or_else(|| "none".to_owned(), quoted);
                self.header = Some(format!(
                    "alg {}, typ {}, kid {}",
                    token.algorithm(),
                    shown(token.token_type()),
                    shown(token.kid())
                ));
                self.kid = token.kid().map(str::to_owned);
                self.claimed_issuer = token.claimed_issuer().map(quoted);
                self.sayings = Sayings::of(token, &self.ruleset.conditions, &self.ruleset.issuers);
            }
        }
    }
}

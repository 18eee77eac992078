//! What the gateway says to the sample with the configuration that was made: the gate's own code judges, so that what is
//! promised here is what happens.
use std::sync::Arc;

use crate::{
    cli::token::inspect,
    config::settings::Config,
    gate::{
        keys::KeySet,
        rejection::{Refusal, Rejection},
        revocation::Revocations,
        signature,
        time::UnixTime,
        token::{Segments, UnverifiedToken},
        witness::Nobody,
    },
};

/// Judges the token in `text` on the one route of `config`, at `now`.
///
/// # Errors
/// The refusal that a client would get.
pub(super) fn judge(text: &str, config: &Config, keys: &KeySet, now: UnixTime) -> Result<(), Refusal> {
    let token = inspect::without_scheme(text);
    let ruleset = &config.live.ruleset;
    let bytes_max = ruleset.limits.token_bytes;
    if token.len() > bytes_max {
        let detail = format!("{} bytes, and `limits.token_bytes` is {bytes_max}", token.len());
        return Err(Refusal::new(Rejection::TokenTooLarge).because(detail));
    }
    let segments = Segments::decode(token)?;
    let unverified = UnverifiedToken::parse(&segments)?;
    let route = ruleset.routes.routes().first().ok_or(Rejection::RouteNotFound)?;
    let issuer = ruleset.issuer_of(&unverified, route)?;
    signature::check_header(&unverified, issuer.1)?;
    let known = Arc::new(ruleset.verify(unverified, issuer, keys)?);
    ruleset.judge(&known, route, &Revocations::default(), now, &mut Nobody).map(drop)
}

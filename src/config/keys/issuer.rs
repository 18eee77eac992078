//! The key table: an issuer and its keys.
use crate::config::keys::top::{DAY, HOUR, SOME_TEXTS, TEXTS, milliseconds, seconds};
use crate::config::keys::{Key, Shape};
use crate::gate::issuer::LEEWAY_MAX;

/// A claim name, or a list of names for a nested claim.
pub(super) const CLAIM_PATH: Shape = Shape::Either(&[Shape::Text, SOME_TEXTS]);

/// `issuers.*`.
pub const KEYS: &[Key] = &[
    Key::required("issuer", Shape::Text, "exact value of the claim `iss`"),
    Key::optional("audiences", SOME_TEXTS, "accepted values of the audience claim; a token must name one of them"),
    Key::with_default(
        "insecure_any_audience",
        Shape::Boolean,
        "false",
        "tokens that were made for others are accepted",
    ),
    Key::with_default("audience_claim", Shape::Text, "aud", "the claim that names the audience"),
    Key::optional(
        "algorithms",
        SOME_ALGORITHMS,
        "allowed signature algorithms; without it every asymmetric one, with secret_file the HMACs that the secret is \
         long enough for",
    ),
    Key::required("keys", Shape::Mapping(KEY_SOURCE), "where the keys come from; exactly one source"),
    Key::with_default(
        "required_for_readiness",
        Shape::Boolean,
        "false",
        "whether the gateway is ready only when this issuer has keys",
    ),
    Key::with_default(
        "leeway",
        Shape::Duration { least: std::time::Duration::ZERO, most: LEEWAY_MAX },
        "30s",
        "how far the clocks of issuer and gateway may differ",
    ),
    Key::with_default(
        "token_types",
        SOME_TEXTS,
        "[JWT, at+jwt]",
        "allowed values of the header `typ`; a token without it passes unless require_token_type is true",
    ),
    Key::with_default("require_token_type", Shape::Boolean, "false", "whether a token without `typ` is refused"),
    Key::with_default(
        "required_claims",
        TEXTS,
        "[sub]",
        "claims that must be there besides iss, exp and the audience; without it the claim of the subject",
    ),
    Key::with_default(
        "max_lifetime",
        Shape::OrNone(&seconds(1, 3650 * DAY)),
        "none",
        "the longest time from `iat` to `exp`; a token without `iat` is then refused",
    ),
    Key::with_default("subject", CLAIM_PATH, "sub", "the claim that says who it is"),
    Key::optional("roles", CLAIM_PATH, "the claim that lists roles"),
    Key::optional("scopes", CLAIM_PATH, "the claim that lists scopes; without it scope, else scp"),
    Key::optional("client", CLAIM_PATH, "the claim that names the client; without it client_id, else azp"),
    Key::later("require"),
];

/// `issuers.*.keys`.
pub const KEY_SOURCE: &[Key] = &[
    Key::optional(
        "jwks_url",
        Shape::Pattern("^https?://[^@#/?]+([/?][^#]*)?$"),
        "URL of a key set, fetched in the background; https unless insecure_http is true",
    ),
    Key::optional(
        "discovery",
        Shape::Boolean,
        "true: where the key set is says the issuer's own metadata (OpenID Connect Discovery, then RFC 8414), which is \
         fetched in the background; the issuer must be an https URL unless insecure_http is true",
    ),
    Key::optional("jwks_file", Shape::Text, "file with a key set; it is read again whenever it changes"),
    Key::optional("public_key_file", Shape::Text, "file with one public key (SPKI in PEM) or certificate"),
    Key::optional("secret_file", Shape::Text, "file with a shared secret for HS256 (32 bytes), HS384 (48), HS512 (64)"),
    Key::with_default(
        "refresh",
        seconds(1, 7 * DAY),
        "10m",
        "longest time between two fetches; responses may ask for sooner",
    ),
    Key::with_default("cooldown", seconds(1, HOUR), "10s", "least time between two fetches that unknown keys provoke"),
    Key::with_default(
        "max_stale",
        seconds(1, 365 * DAY),
        "24h",
        "how long the last good key set serves while the issuer cannot be reached",
    ),
    Key::with_default("timeout", milliseconds(100, 60_000), "5s", "longest time that one fetch may take"),
    Key::optional(
        "ca_file",
        Shape::Text,
        "PEM certificates to trust for jwks_url or discovery instead of the system's",
    ),
    Key::with_default(
        "insecure_http",
        Shape::Boolean,
        "false",
        "keys may be fetched without encryption: whoever is on the way can sign tokens",
    ),
];

/// The algorithm names.
const SOME_ALGORITHMS: Shape = Shape::List {
    of: &Shape::Choice(&[
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ]),
    least: 1,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::algorithm::Algorithm;

    #[test]
    fn the_algorithms_of_the_table_are_those_of_the_gate() {
        let Shape::List { of: Shape::Choice(words), .. } = SOME_ALGORITHMS else { panic!("a list of words") };
        assert!(Algorithm::ALL.iter().map(|algorithm| algorithm.name()).eq(words.iter().copied()));
    }
}

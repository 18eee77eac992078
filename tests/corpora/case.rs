//! One case of a suite: a token, a key, a configuration and a clock, and what they come to.
use std::time::Duration;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portcullis::gate::{
    algorithm::{Algorithm, Algorithms, KeyType},
    issuer::{Audiences, ClaimPath, Issuer, IssuerId, LEEWAY_MAX, ScopesPlace},
    keys::{KeyFault, KeySet},
    policy::{Names, Requirement},
    signature,
    token::{Segments, UnverifiedToken},
};
use serde_json::{Value, json};

use super::trial::{Keys, Trial, Verdict, algorithms_named, algorithms_of_a_file, bearer, decide, issuer};
use super::vector;

/// A clock by which a peer that looks at none might go: the middle of 2017.
const ANY_TIME: i64 = 1_500_000_000;

/// A case.
#[derive(Clone, Copy)]
pub(super) struct Case<'v> {
    value: &'v Value,
}

/// A key as one gateway would be configured with it, and the algorithms of its issuer.
struct Material {
    keys: Result<KeySet, KeyFault>,
    algorithms: Algorithms,
}

impl<'v> Case<'v> {
    /// Reads nothing yet.
    pub(super) fn new(value: &'v Value) -> Self {
        Self { value }
    }

    /// What the suite calls it.
    pub(super) fn name(self) -> &'v str {
        text(&self.value["name"])
    }

    /// The token.
    pub(super) fn token(self) -> &'v str {
        text(&self.value["token"])
    }

    /// Whether the token must pass.
    pub(super) fn must_pass(self) -> bool {
        match text(&self.value["expect"]) {
            "accept" => true,
            "reject" => false,
            other => panic!("{}: expect is {other}", self.name()),
        }
    }

    /// Whether the case has this member.
    pub(super) fn has(self, member: &str) -> bool {
        !self.value[member].is_null()
    }

    /// A member of the token's header; null when it cannot be read.
    pub(super) fn header(self, member: &str) -> Value {
        self.part(0, member)
    }

    /// A claim; null when it cannot be read.
    pub(super) fn claim(self, member: &str) -> Value {
        self.part(1, member)
    }

    fn part(self, position: usize, member: &str) -> Value {
        let part = self.token().split('.').nth(position).unwrap_or_default();
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice::<Value>(&bytes).unwrap_or_default()[member].take()
    }

    /// When the token ends, in seconds.
    pub(super) fn expires(self) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "the times of these tokens are small")]
        self.claim("exp").as_f64().map(|seconds| seconds as i64)
    }

    /// The case's clock. 1, or none, means that the peer looked at none: then a minute before the token ends.
    fn now(self) -> i64 {
        match self.value["config"]["now"].as_i64() {
            Some(now) if now != 1 => now,
            Some(_) | None => self.expires().map_or(ANY_TIME, |expires| expires - 60),
        }
    }

    /// What portcullis says by the case's clock.
    pub(super) fn verdict(self) -> Verdict {
        self.verdict_at(self.now())
    }

    /// What portcullis says at `now`. Where the case has several keys that can only be configured one by one, any may do.
    pub(super) fn verdict_at(self, now: i64) -> Verdict {
        let verdicts: Vec<Verdict> =
            self.materials().into_iter().map(|material| self.verdict_with(material, now)).collect();
        let passing = verdicts.iter().find(|verdict| verdict.passes());
        passing.or(verdicts.first()).unwrap_or_else(|| panic!("{}: no key", self.name())).clone()
    }

    fn verdict_with(self, material: Material, now: i64) -> Verdict {
        let keys = match material.keys {
            Ok(keys) => std::sync::Arc::new(keys),
            Err(fault) => return Verdict::KeyRefused(fault.to_string()),
        };
        let issuers = self.issuers(material.algorithms);
        let mut trial =
            Trial::of(issuers.into_iter().map(|issuer| (issuer, Keys::Fixed(std::sync::Arc::clone(&keys)))).collect());
        trial.routes[0].requirement = self.requirement();
        let gatekeeper = trial.gatekeeper();
        let judge = || decide(&gatekeeper, "GET", "/", &bearer(self.token()), now);
        let verdict = judge();
        assert_eq!(judge(), verdict, "{}: another verdict once it is remembered", self.name());
        verdict
    }

    fn issuers(self, algorithms: Algorithms) -> Vec<Issuer> {
        let config = &self.value["config"];
        let claimed = self.claim("iss");
        let identifiers = match texts(&config["issuer"]) {
            none if none.is_empty() => vec![claimed.as_str().unwrap_or("https://nobody.test")],
            identifiers => identifiers,
        };
        let audiences = match texts(&config["audiences"]) {
            none if none.is_empty() => Audiences::Unchecked,
            names => Audiences::AnyOf(names.into_iter().map(Box::from).collect()),
        };
        // exp is always required, and is no name for the list.
        let required = config["required"].as_array().into_iter().flatten().map(text).filter(|name| *name != "exp");
        let leeway = Duration::from_secs(config["leeway"].as_u64().unwrap_or(0)).min(LEEWAY_MAX);
        let rules = |identifier: &str| Issuer {
            audiences: audiences.clone(),
            required_claims: required.clone().map(Box::from).collect(),
            leeway,
            // Some peers write scopes as a list; which claim has them is configured.
            scopes: if config["required_scopes"].is_null() {
                ScopesPlace::Usual
            } else {
                ScopesPlace::Claim(ClaimPath::top("scope"))
            },
            ..issuer(identifier, algorithms)
        };
        identifiers.into_iter().map(rules).collect()
    }

    fn requirement(self) -> Requirement {
        let scopes = self.value["config"]["required_scopes"].as_array();
        let names = scopes.map(|names| Names::All(names.iter().map(|name| Box::from(text(name))).collect()));
        Requirement { scopes: names, ..Requirement::default() }
    }

    /// Whether the signature is good, whatever the claims say: the decision up to there, by the same functions.
    pub(super) fn signature_is_good(self) -> bool {
        self.signature_is_good_for(self.token())
    }

    /// Whether the signature is good though the payload is no JSON object, and that is all that is wrong with the token.
    pub(super) fn only_its_payload_is_bad(self) -> bool {
        let is_signed = |material: Material| {
            material.keys.is_ok_and(|keys| vector::is_signed(self.token(), &keys, material.algorithms))
        };
        self.materials().into_iter().any(is_signed) && vector::is_refused_for_its_payload(self.token())
    }

    /// The same of another token, by the case's keys.
    pub(super) fn signature_is_good_for(self, token: &str) -> bool {
        self.materials().into_iter().any(|material| {
            let Ok(keys) = material.keys else { return false };
            let Ok(segments) = Segments::decode(token) else { return false };
            let Ok(token) = UnverifiedToken::parse(&segments) else { return false };
            signature::check_header(&token, &issuer("", material.algorithms)).is_ok()
                && signature::verify(token, IssuerId(0), &keys).is_ok()
        })
    }

    fn materials(self) -> Vec<Material> {
        let value = self.value;
        let wanted = self.header("alg");
        let wanted = wanted.as_str().unwrap_or("RS256");
        if let Some(secret) = value["secret"].as_str() {
            return vec![self.secret(secret.as_bytes(), None)];
        }
        if let Some(secret) = value["secret_b64"].as_str() {
            return vec![self.secret(&STANDARD.decode(secret).unwrap(), None)];
        }
        if let Some(text) = value["jwks_text"].as_str() {
            let algorithms = self.allowed(Algorithms::asymmetric());
            return vec![Material { keys: KeySet::parse(text.as_bytes(), algorithms), algorithms }];
        }
        let in_a_file = |pem: &str| {
            let algorithms = self.allowed(algorithms_of_a_file(wanted));
            Material { keys: KeySet::from_public_key_pem(pem.as_bytes(), algorithms), algorithms }
        };
        if !value["pem"].is_null() {
            return texts(&value["pem"]).into_iter().map(in_a_file).collect();
        }
        if let Some(certificates) = value["x509_map"].as_object() {
            return certificates.values().map(|pem| in_a_file(text(pem))).collect();
        }
        let set = &value["jwks"];
        let members = set["keys"].as_array().unwrap_or_else(|| panic!("{}: no key", self.name()));
        if !members.is_empty() && members.iter().all(|member| member["kty"] == "oct") {
            let kid = self.header("kid");
            // One secret is configured, and no kid can name it: the one that the token means, or else any of them.
            let meant: Vec<&Value> = members.iter().filter(|member| member["kid"] == kid).collect();
            let meant = if meant.is_empty() { members.iter().collect() } else { meant };
            return meant
                .into_iter()
                .map(|member| self.secret(&URL_SAFE_NO_PAD.decode(text(&member["k"])).unwrap(), member["alg"].as_str()))
                .collect();
        }
        let algorithms = self.allowed(Algorithms::asymmetric());
        vec![Material { keys: KeySet::parse(&public_set(members), algorithms), algorithms }]
    }

    /// A shared secret for the algorithms of the configuration, else of the key, else of the token.
    fn secret(self, secret: &[u8], of_the_key: Option<&str>) -> Material {
        let wanted = self.header("alg");
        let named = of_the_key.or(wanted.as_str()).and_then(Algorithm::from_name);
        let usual = named.filter(|algorithm| algorithm.key_type() == KeyType::Secret).unwrap_or(Algorithm::HS256);
        let algorithms = self.allowed([usual].into_iter().collect());
        Material { keys: KeySet::from_secret(secret, algorithms), algorithms }
    }

    fn allowed(self, usual: Algorithms) -> Algorithms {
        match texts(&self.value["config"]["algorithms"]) {
            none if none.is_empty() => usual,
            names => algorithms_named(names),
        }
    }
}

/// A key set of these members. Vectors show private halves too; a set that holds one is not for verifying, so they are left out.
pub(super) fn public_set(members: &[Value]) -> Vec<u8> {
    let mut members = members.to_vec();
    for member in members.iter_mut().filter_map(Value::as_object_mut) {
        member.retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
    }
    json!({"keys": members}).to_string().into_bytes()
}

/// A JSON string.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}"))
}

/// A JSON string, or a list of them, or none.
fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map_or_else(|| value.as_str().into_iter().collect(), |names| names.iter().map(text).collect())
}

//! What an assertion says: a short-lived JWT by which a service can tell that a request came through the gateway.
//!
//! It makes the text that is signed and never signs. What an assertion says of a token never says more than the identity
//! headers do, and it never outlives what the gateway itself would still accept.
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Number, Value, json};

use crate::gate::{
    assertion_key::{AssertionAlgorithm, PublishedKey},
    claims::{Facts, Identity},
    extraction::{HeaderValueSource, IdentityHeader},
    issuer::Issuer,
    json::{Json, Object},
    time::UnixTime,
};

/// The `typ` of an assertion (RFC 8725 §3.11), so that nothing else that is signed can pass for one.
pub const TYPE: &str = "assertion+jwt";

/// Names that an assertion uses itself: no claim of a token is written under them.
const RESERVED: [&str; 9] = ["iss", "sub", "aud", "iat", "exp", "nbf", "jti", "token_issuer", "token_id"];

/// How assertions are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionRule {
    /// The header that carries them.
    pub header: Box<str>,
    /// How long one lives at most.
    pub lifetime: Duration,
    /// How they are signed.
    pub algorithm: AssertionAlgorithm,
    /// Their `iss`.
    pub issuer: Box<str>,
    /// Whether the listeners publish the public keys.
    pub publish: bool,
}

impl AssertionRule {
    /// When an assertion made now ends: after its lifetime, and no later than the token itself; within the leeway that a
    /// token has past its end, no later than the leeway.
    pub fn expires(&self, identity: &Identity, leeway: Duration, now: UnixTime) -> UnixTime {
        let token = identity.expires();
        // Both are told in whole seconds.
        let end = if now.seconds() < token.seconds() { token } else { token.plus(leeway) };
        now.plus(self.lifetime).min(end)
    }

    /// The part of an assertion that is signed (RFC 7515 §7.1): who it is, for this audience, by this key.
    pub fn signed_text(
        &self,
        identity: &Identity,
        audience: &str,
        key: &PublishedKey,
        (now, expires): (UnixTime, UnixTime),
    ) -> String {
        let header = json!({"alg": self.algorithm.name(), "typ": TYPE, "kid": key.thumbprint().to_string()});
        let mut claims = format!(
            "{{\"iss\":{},\"aud\":{},\"iat\":{},\"exp\":{}",
            Value::from(self.issuer.as_ref()),
            Value::from(audience),
            now.seconds(),
            expires.seconds()
        );
        let members = identity.asserted();
        if !members.is_empty() {
            claims.push(',');
            claims.push_str(members);
        }
        claims.push('}');
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims))
    }
}

/// The members of an assertion that depend on token and configuration alone, as JSON without the braces: the subject,
/// whose token it was, and what the identity headers say.
pub(in crate::gate) fn members(
    facts: &Facts,
    claims: &Object<'_>,
    issuer: &Issuer,
    headers: &[IdentityHeader],
) -> Box<str> {
    let mut members = Map::new();
    let mut insert = |name: &str, text: Option<&str>| {
        if let Some(text) = text {
            members.insert(name.to_owned(), text.into());
        }
    };
    insert("sub", facts.subject.as_deref());
    insert("token_issuer", Some(&issuer.name));
    insert("token_id", facts.identifier.as_deref());
    for header in headers {
        match &header.source {
            // There already.
            HeaderValueSource::Subject | HeaderValueSource::Issuer => {}
            HeaderValueSource::Client => {
                if let Some(client) = facts.client.as_deref() {
                    members.insert("client_id".to_owned(), client.into());
                }
            }
            HeaderValueSource::Roles => {
                let roles = facts.roles.as_deref().unwrap_or_default();
                members.insert("roles".to_owned(), roles.iter().map(AsRef::as_ref).collect::<Vec<&str>>().into());
            }
            // As in access tokens (RFC 8693 §4.2).
            HeaderValueSource::Scopes => drop(members.insert("scope".to_owned(), facts.scopes.join(" ").into())),
            HeaderValueSource::Claim(_) => {}
        }
    }
    for header in headers {
        let HeaderValueSource::Claim(place) = &header.source else { continue };
        let is_free = place.names().first().is_some_and(|first| !is_taken(first, headers));
        if let Some(claim) = claims.at(place.names()).filter(|_| is_free) {
            insert_at(&mut members, place.names(), value(claim));
        }
    }
    let text = Value::Object(members).to_string();
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().into()
}

/// Whether a claim of the token cannot be written under this name: the assertion uses it.
fn is_taken(name: &str, headers: &[IdentityHeader]) -> bool {
    let says = |source: &HeaderValueSource| headers.iter().any(|header| header.source == *source);
    RESERVED.contains(&name)
        || (name == "client_id" && says(&HeaderValueSource::Client))
        || (name == "roles" && says(&HeaderValueSource::Roles))
        || (name == "scope" && says(&HeaderValueSource::Scopes))
}

/// Where the token has it; what is there already on the way is of the same token, so that the two agree.
fn insert_at(members: &mut Map<String, Value>, names: &[Box<str>], claim: Value) {
    let Some((first, rest)) = names.split_first() else { return };
    if rest.is_empty() {
        members.insert(first.to_string(), claim);
        return;
    }
    let inner = members.entry(first.as_ref()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        insert_at(inner, rest, claim);
    }
}

fn value(json: &Json<'_>) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Integer(integer) => Number::from_i128(*integer).map_or(Value::Null, Value::Number),
        // One that is not exact has its token refused, because a header cannot hold it either.
        Json::Float(float) => Number::from_f64(*float).map_or(Value::Null, Value::Number),
        Json::String(text) => text.as_ref().into(),
        Json::List(elements) => elements.iter().map(value).collect(),
        Json::Object(object) => {
            object.members().map(|(name, inner)| (name.to_owned(), value(inner))).collect::<Map<_, _>>().into()
        }
    }
}

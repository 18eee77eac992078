//! What is asked to be explained: one request, as it was typed or sent as JSON. It is made into the head that Pingora would
//! have read, so that it is looked at like every other.
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use pingora::http::RequestHeader;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    config::{revocation_list, suggest},
    gate::{json::Object, sources::TokenSource, time::UnixTime, websocket_protocol},
};

/// What vouches for a request, besides what its header fields do.
pub enum Presented {
    /// Nothing.
    Nothing,
    /// This token, in the first place where the route looks.
    Token(Zeroizing<String>),
    /// Claims, taken as if the issuer of this name had signed them.
    Claims {
        /// The claims.
        claims: Map<String, Value>,
        /// The issuer's name in the configuration.
        issuer: String,
    },
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Token(_) => "Token",
            Self::Claims { .. } => "Claims",
        })
    }
}

/// One request to be explained.
#[derive(Debug)]
pub struct Question {
    /// Method.
    pub method: String,
    /// URL, or a path alone.
    pub url: String,
    /// Header fields.
    pub headers: HeaderMap,
    /// What vouches for it.
    pub presented: Presented,
    /// When it is judged.
    pub at: UnixTime,
    /// Address of the client.
    pub address: Option<IpAddr>,
    /// Name of the listener; found by the URL's port unless given.
    pub listener: Option<String>,
}

/// Header fields of a question at most: more than `limits.headers` can ever allow, so that to have too many can be explained.
const FIELDS_MAX: usize = 1024;
/// Words in `Authorization` at most. Each is a secret that is looked for in all that is shown; no scheme has as many.
const CREDENTIAL_WORDS_MAX: usize = 64;
/// Bytes of a method at most: more than the gate allows.
const METHOD_BYTES_MAX: usize = 256;

/// The `Host` of a request to a path alone.
const USUAL_HOST: &str = "localhost";
/// What is offered besides the token by a question that offers nothing.
const USUAL_PROTOCOL: &str = "example";

/// A URL taken apart.
pub(super) struct Target<'u> {
    pub(super) is_encrypted: bool,
    pub(super) port: Option<u16>,
    authority: Option<&'u str>,
    path_and_query: String,
}

impl Target<'_> {
    /// Whether the URL says where it is, and not a path alone.
    pub(super) const fn has_authority(&self) -> bool {
        self.authority.is_some()
    }
}

impl Question {
    /// A request for `url` of which nothing else is known.
    pub fn new(url: impl Into<String>, at: UnixTime) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: HeaderMap::new(),
            presented: Presented::Nothing,
            at,
            address: None,
            listener: None,
        }
    }

    /// Reads a question from JSON; `now` is when the request is judged unless it says so.
    ///
    /// # Errors
    /// Says what is wrong; never the token.
    pub fn from_json(text: &[u8], now: UnixTime) -> Result<Self, String> {
        // Names twice are refused as in a token, and nothing is repeated in the error.
        Object::parse(text).map_err(|fault| format!("the body is {fault}"))?;
        let Ok(Value::Object(members)) = serde_json::from_slice(text) else {
            return Err("the body is not a JSON object".to_owned());
        };
        check_names(&members)?;
        let text = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{name}` is not a string")),
        };
        let mut question = Self::new(text("url")?.ok_or("`url` is missing")?, now);
        question.method = text("method")?.unwrap_or(question.method);
        question.listener = text("listener")?;
        if let Some(at) = text("at")? {
            question.at = revocation_list::parse_time(&at).ok_or("`at` is not a time in RFC 3339")?;
        }
        if let Some(address) = text("address")? {
            question.address = Some(address.parse().map_err(|_| "`address` is not an IP address")?);
        }
        question.headers = headers_of(members.get("headers"))?;
        question.presented = presented(text("token")?, members.get("claims"), text("issuer")?)?;
        question.head(None)?;
        Ok(question)
    }

    /// Adds a header field.
    ///
    /// # Errors
    /// Says which field cannot be; never its value.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name: HeaderName =
            name.trim().parse().map_err(|_| format!("{:?} is no name of a header field", name.trim()))?;
        let value = HeaderValue::from_str(value.trim())
            .map_err(|_| format!("the value of {name} cannot be sent: it holds control characters"))?;
        if self.headers.len() >= FIELDS_MAX {
            return Err(format!("there are more than {FIELDS_MAX} header fields, which no gateway takes"));
        }
        let is_credential = name == header::AUTHORIZATION;
        self.headers.append(name, value);
        let credentials = self.headers.get_all(header::AUTHORIZATION).iter().filter(|_| is_credential);
        let words = credentials.map(|value| value.as_bytes().split(|byte| *byte == b' ').count()).sum::<usize>();
        if words > CREDENTIAL_WORDS_MAX {
            return Err(format!("there are more than {CREDENTIAL_WORDS_MAX} words in Authorization"));
        }
        Ok(())
    }

    pub(super) fn target(&self) -> Result<Target<'_>, String> {
        let url = self.url.as_str();
        if url.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte == b'#') {
            return Err("the URL has a space, a control character or a fragment, which no request can have".to_owned());
        }
        let (is_encrypted, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ if url.starts_with('/') => {
                let path_and_query = url.to_owned();
                return Ok(Target { is_encrypted: false, port: None, authority: None, path_and_query });
            }
            _ => return Err("the URL begins neither with http:// or https:// nor with a slash".to_owned()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') {
            return Err("the URL names no host, or a user before it".to_owned());
        }
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let path_and_query = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { is_encrypted, port, authority: Some(authority), path_and_query })
    }

    /// The head of the request, with the token in one of the places where it may be.
    pub(super) fn head(&self, token: Option<(&str, &TokenSource)>) -> Result<RequestHeader, String> {
        let target = self.target()?;
        let is_method =
            self.method.len() <= METHOD_BYTES_MAX && http::Method::from_bytes(self.method.as_bytes()).is_ok();
        if !is_method {
            return Err("the method is none that HTTP has a word for".to_owned());
        }
        let mut path_and_query = target.path_and_query;
        let mut headers = self.headers.clone();
        if !headers.contains_key(header::HOST) {
            let host = HeaderValue::from_str(target.authority.unwrap_or(USUAL_HOST));
            headers.insert(header::HOST, host.map_err(|_| "the URL's host cannot be sent")?);
        }
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "the token holds what no header can");
        match token {
            None => {}
            Some((token, TokenSource::Authorization)) => {
                headers.append(header::AUTHORIZATION, value(&format!("Bearer {token}"))?);
            }
            Some((token, TokenSource::Header(name))) => {
                headers.append(name, value(token)?);
            }
            Some((token, TokenSource::Cookie(name))) => {
                headers.append(header::COOKIE, value(&format!("{name}={token}"))?);
            }
            Some((token, TokenSource::Query(name))) => {
                let separator = if path_and_query.contains('?') { '&' } else { '?' };
                path_and_query.push_str(&format!("{separator}{name}={token}"));
            }
            Some((token, TokenSource::WebSocketProtocol(word))) => {
                headers.entry(header::UPGRADE).or_insert(HeaderValue::from_static("websocket"));
                headers.entry(header::CONNECTION).or_insert(HeaderValue::from_static("Upgrade"));
                // One besides has to be offered, and any is as good.
                headers.entry(websocket_protocol::FIELD).or_insert(HeaderValue::from_static(USUAL_PROTOCOL));
                headers.append(websocket_protocol::FIELD, value(&websocket_protocol::offer(word, token))?);
            }
        }
        // What Pingora cannot make a URI of it does not let in either.
        let is_uri = path_and_query.parse::<Uri>().is_ok();
        let mut head = RequestHeader::build(self.method.as_str(), path_and_query.as_bytes(), Some(headers.len() + 16))
            .ok()
            .filter(|_| is_uri)
            .ok_or("the URL's path or query cannot be sent in a request")?;
        for (name, value) in &headers {
            head.append_header(name.clone(), value.clone()).map_err(|_| format!("{name} cannot be sent"))?;
        }
        Ok(head)
    }
}

fn check_names(members: &Map<String, Value>) -> Result<(), String> {
    const NAMES: [&str; 9] = ["method", "url", "headers", "token", "claims", "issuer", "at", "address", "listener"];
    let Some(name) = members.keys().find(|name| !NAMES.contains(&name.as_str())) else { return Ok(()) };
    let known = suggest::closest(name, NAMES)
        .map_or_else(|| format!("known are {}", NAMES.join(", ")), |known| format!("did you mean `{known}`?"));
    Err(format!("unknown member {}; {known}", crate::gate::rejection::quoted(name)))
}

fn presented(token: Option<String>, claims: Option<&Value>, issuer: Option<String>) -> Result<Presented, String> {
    match (token, claims, issuer) {
        (None, None | Some(Value::Null), None) => Ok(Presented::Nothing),
        (Some(token), None | Some(Value::Null), None) => Ok(Presented::Token(token.into())),
        (None, Some(Value::Object(claims)), Some(issuer)) => Ok(Presented::Claims { claims: claims.clone(), issuer }),
        (None, Some(Value::Object(_)), None) => Err("`claims` need an `issuer`".to_owned()),
        (None, Some(_), _) => Err("`claims` is not an object".to_owned()),
        (None, None, Some(_)) => Err("`issuer` is for `claims`".to_owned()),
        (Some(_), _, _) => Err("`token` goes with neither `claims` nor `issuer`".to_owned()),
    }
}

fn headers_of(value: Option<&Value>) -> Result<HeaderMap, String> {
    let mut question = Question::new("/", UnixTime::from_seconds(0));
    let members = match value {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err("`headers` is not an object of names and values".to_owned()),
    };
    for (name, value) in members {
        let values = match value {
            Value::String(_) => std::slice::from_ref(value),
            Value::Array(values) => values.as_slice(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => &[],
        };
        let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
        let texts = texts.filter(|texts| !texts.is_empty());
        for text in texts.ok_or("each of `headers` is a string, or an array of strings")? {
            question.add_header(name, text)?;
        }
    }
    Ok(question.headers)
}

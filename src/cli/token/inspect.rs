//! `portcullis token inspect`: shows what a token says, without believing it. It never checks a signature and never
//! shows one: what is printed cannot be used as a token.
use std::{borrow::Cow, io::IsTerminal as _, io::Write, path::PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, ValueHint};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use zeroize::Zeroizing;

use crate::{
    cli::{CommandError, ExitStatus, Format, input, moment, token::refusals},
    config::terminal,
    gate::{
        json::{Json, Object},
        rejection::Refusal,
        time::UnixTime,
        token::Segments,
    },
};

const EXAMPLES: &str = "\
Examples:
  portcullis token inspect --token-file token
  portcullis token mint --key key.pem --subject alice | portcullis token inspect
  portcullis token inspect --format json - < token | jq .claims.sub

A token on the command line is seen by every user of the machine (ps) and kept
in the shell's history; a file or standard input (`-`) is better.

Exit code 0 when the token can be read, whatever it says; 1 when it cannot.";

/// Shows what a token says, without trusting it, and what portcullis would refuse in it
///
/// Nothing is verified: anybody can write such a token. Shown are header, claims, times and what would be refused by
/// itself, whatever the signature and the configuration (with the defaults of an issuer). The signature is not shown.
#[derive(Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "portcullis token inspect [OPTIONS] [TOKEN | - | --token-file <FILE>]"
)]
pub struct InspectArguments {
    /// The token, or `-` for standard input (also when it is left out); `Bearer` before it is ignored
    // More than one word is taken, so that no complaint about the second one repeats it.
    #[arg(value_name = "TOKEN", num_args = 0..)]
    token: Vec<String>,
    /// File with the token
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Judge the times as of then, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<UnixTime>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Claims that are points in time (RFC 7519 §4.1, OpenID Connect Core §2).
const TIMES: [&str; 4] = ["iat", "nbf", "exp", "auth_time"];

/// Reads the token and writes what it says.
///
/// # Errors
/// [`CommandError::Usage`] where no token is given; [`CommandError::Failed`] where it cannot be read.
pub fn run(arguments: &InspectArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let text = token_text(arguments)?;
    let token = without_scheme(&text);
    let now = arguments.at.unwrap_or_else(moment::now);
    let (header, payload) = decoded(token)?;
    let unreadable = |part: &str, fault: &str| CommandError::Failed(format!("not a JWT: its {part} is {fault}"));
    let view = View {
        header: Object::parse(&header).map_err(|fault| unreadable("header", &said(fault)))?,
        claims: Object::parse(&payload).map_err(|fault| unreadable("payload", &said(fault)))?,
        refusals: refusals::refusals(token, now),
        now,
    };
    let shown = match arguments.format {
        Format::Text => view.text().map_err(CommandError::failed)?,
        Format::Json => ascii(&serde_json::to_string_pretty(&view).map_err(CommandError::failed)?),
    };
    writeln!(output, "{shown}")?;
    Ok(ExitStatus::Ok)
}

fn said(fault: &str) -> Cow<'_, str> {
    if fault.starts_with("not ") { fault.into() } else { format!("not readable, {fault}").into() }
}

fn token_text(arguments: &InspectArguments) -> Result<Zeroizing<String>, CommandError> {
    let words: Vec<&str> = arguments.token.iter().map(String::as_str).collect();
    let typed = match words.as_slice() {
        [] | ["-"] => None,
        [token] => Some(*token),
        [scheme, token] if scheme.eq_ignore_ascii_case("bearer") => Some(*token),
        [..] => return Err(CommandError::Usage("one token is expected".to_owned())),
    };
    if let Some(token) = typed {
        return Ok(Zeroizing::new(token.to_owned()));
    }
    if arguments.token_file.is_none() && words.is_empty() && std::io::stdin().is_terminal() {
        return Err(CommandError::Usage("a token is expected: --token-file FILE, or - for standard input".to_owned()));
    }
    let content = input::read(arguments.token_file.as_deref().unwrap_or("-".as_ref()))?;
    match std::str::from_utf8(&content) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(CommandError::Failed("not a JWT: it is not even text".to_owned())),
    }
}

/// The token in a text that may have the scheme of an `Authorization` field before it and white space around it.
pub(in crate::cli) fn without_scheme(text: &str) -> &str {
    let text = text.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) | None => text,
    }
}

/// Header and payload, taken apart as strictly as the gate does it.
fn decoded(token: &str) -> Result<(Vec<u8>, Vec<u8>), CommandError> {
    let not_a_jwt = |reason: &str| CommandError::Failed(format!("not a JWT: {reason}"));
    match token.split('.').count() {
        5 => return Err(not_a_jwt("five parts, so it is encrypted (JWE); portcullis takes signed tokens only")),
        1 => return Err(not_a_jwt("no dots in it; it may be an opaque token that only its issuer can read")),
        _ => {}
    }
    let refused = |refusal: Refusal| not_a_jwt(refusal.detail().unwrap_or("malformed"));
    Segments::decode(token).map_err(refused)?;
    let part = |place| {
        let text = token.split('.').nth(place).unwrap_or_default();
        URL_SAFE_NO_PAD.decode(text).map_err(|_| not_a_jwt("a part is not base64url"))
    };
    Ok((part(0)?, part(1)?))
}

/// What is shown.
struct View<'a> {
    header: Object<'a>,
    claims: Object<'a>,
    refusals: Vec<Refusal>,
    now: UnixTime,
}

impl View<'_> {
    fn text(&self) -> Result<String, serde_json::Error> {
        let mut text = String::from("NOT VERIFIED: no signature was checked; anybody can write such a token.\n");
        for (title, object) in [("Header", &self.header), ("Claims", &self.claims)] {
            text.push_str(&format!("\n{title}\n"));
            // Line by line: strings have their line ends escaped, so every line end here is one of the layout.
            for line in serde_json::to_string_pretty(&Shown(object))?.lines() {
                text.push_str(&terminal::printable(line));
                text.push('\n');
            }
        }
        let times: Vec<_> = self.times().collect();
        if !times.is_empty() {
            text.push_str("\nTimes\n");
        }
        for (name, time) in times {
            let shown = moment::rfc3339(time).unwrap_or_else(|| "beyond the year 9999".to_owned());
            text.push_str(&format!("  {name:<9} {shown}  {}\n", relation(name, time, self.now)));
        }
        if self.refusals.is_empty() {
            text.push_str("\nNothing in it is refused by itself; signature and configuration decide.");
            return Ok(text);
        }
        text.push_str("\nRefused, whatever its signature (with an issuer's defaults)");
        for refusal in &self.refusals {
            text.push_str(&format!("\n  {}: {}", refusal.rejection(), refusal.detail().unwrap_or_default()));
        }
        Ok(text)
    }

    fn times(&self) -> impl Iterator<Item = (&'static str, UnixTime)> {
        TIMES.into_iter().filter_map(|name| Some((name, time(self.claims.get(name)?)?)))
    }
}

fn time(claim: &Json<'_>) -> Option<UnixTime> {
    match claim {
        Json::Integer(seconds) => i64::try_from(*seconds).ok().map(UnixTime::from_seconds),
        #[expect(clippy::cast_possible_truncation, reason = "saturates, which keeps far dates far")]
        Json::Float(seconds) => Some(UnixTime::from_milliseconds((seconds * 1000.0) as i64)),
        Json::Null | Json::Bool(_) | Json::String(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn relation(name: &str, time: UnixTime, now: UnixTime) -> String {
    let (ahead, ago) = (moment::distance(time.since(now)), moment::distance(now.since(time)));
    match (name, time > now) {
        ("exp", true) => format!("expires in {ahead}"),
        ("exp", false) => format!("expired {ago} ago"),
        (_, true) => format!("in {ahead}"),
        (_, false) => format!("{ago} ago"),
    }
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times: serde_json::Map<_, _> = self
            .times()
            .map(|(name, time)| {
                let seconds_from_now = time.seconds().saturating_sub(self.now.seconds());
                let value = serde_json::json!({"time": moment::rfc3339(time), "seconds_from_now": seconds_from_now});
                (name.to_owned(), value)
            })
            .collect();
        let refusals: Vec<_> = self
            .refusals
            .iter()
            .map(|refusal| serde_json::json!({"reason": refusal.rejection().label(), "detail": refusal.detail()}))
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("verified", &false)?;
        map.serialize_entry("header", &Shown(&self.header))?;
        map.serialize_entry("claims", &Shown(&self.claims))?;
        map.serialize_entry("times", &times)?;
        map.serialize_entry("refusals", &refusals)?;
        map.end()
    }
}

/// An object in the order in which it was written.
struct Shown<'a>(&'a Object<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.members() {
            map.serialize_entry(name, &ShownValue(value))?;
        }
        map.end()
    }
}

struct ShownValue<'a>(&'a Json<'a>);

impl Serialize for ShownValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Integer(number) => serializer.serialize_i128(*number),
            Json::Float(number) => serializer.serialize_f64(*number),
            Json::String(text) => serializer.serialize_str(text),
            Json::List(elements) => {
                let mut list = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    list.serialize_element(&ShownValue(element))?;
                }
                list.end()
            }
            Json::Object(object) => Shown(object).serialize(serializer),
        }
    }
}

/// JSON in ASCII: outside of it there is text in strings only, which can be escaped, and must be for a terminal.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || matches!(character, ' '..='~') {
            text.push(character);
        } else {
            let mut units = [0; 2];
            text.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

//! `portcullis revoke`, `unrevoke` and `revocations`: what ends tokens before they expire, on the running instance.
use std::{io::Write, time::Duration};

use clap::{ArgGroup, Args};
use serde_json::Value;

use crate::{
    cli::{
        CommandError, ExitStatus, Format,
        admin_client::{Answer, InstanceArguments, Question},
        moment,
    },
    config::{quantity, revocation_entry::RevocationEntry, revocation_list::time_text, terminal},
};

const REVOKE_EXAMPLES: &str = "\
Examples:
  portcullis revoke --sub u1 --note 'left the company'    ban a user
  portcullis revoke --sid 4f1c --for 24h                  end a session
  portcullis revoke --issuer main --issued-before now     everybody logs in anew
  portcullis revoke --kid 2026-01 --admin 127.0.0.1:9400 --token-file w.token

An entry ends a token when every field that it names is the token's. It is
kept in the state directory and in force at the next request.";

const UNREVOKE_EXAMPLES: &str = "\
Examples:
  portcullis unrevoke 0123456789abcdef
  portcullis revocations                       says which there are";

const REVOCATIONS_EXAMPLES: &str = "\
Examples:
  portcullis revocations
  portcullis revocations --format json | jq '.sources'

Entries of the source `own` were made with `revoke` or `POST /revocations`.";

/// The longest list of entries that is read.
const LIST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Ends tokens before they expire, on the running instance
#[derive(Args)]
#[command(after_help = REVOKE_EXAMPLES)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["issuer", "jti", "sub", "sid", "kid", "client", "issued_before"])))]
pub struct RevokeArguments {
    #[command(flatten)]
    instance: InstanceArguments,
    /// Tokens of this issuer, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// The one token with this identifier
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// Tokens of this subject; without --issued-before the subject is banned
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
    /// Tokens of this session
    #[arg(long, value_name = "ID")]
    sid: Option<String>,
    /// Tokens that were signed with this key
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    /// Tokens that were given to this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Tokens that were issued before this time (RFC 3339, or `now`), or do not say when
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// When the entry ceases to count (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "lasting")]
    until: Option<String>,
    /// How long the entry counts from now on, such as 24h
    #[arg(long = "for", id = "lasting", value_name = "DURATION", value_parser = quantity::parse_duration)]
    lasting: Option<Duration>,
    /// Anything that people want to remember
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Takes back an entry that was made on the running instance
#[derive(Args)]
#[command(after_help = UNREVOKE_EXAMPLES)]
pub struct UnrevokeArguments {
    #[command(flatten)]
    instance: InstanceArguments,
    /// The entry's id
    #[arg(value_name = "ID")]
    id: String,
}

/// Shows what is revoked on the running instance, and by whom
#[derive(Args)]
#[command(after_help = REVOCATIONS_EXAMPLES)]
pub struct RevocationsArguments {
    #[command(flatten)]
    instance: InstanceArguments,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Makes an entry.
///
/// # Errors
/// [`CommandError::Usage`] for an entry that is none, [`CommandError::Failed`] when it was not made.
pub fn revoke(arguments: &RevokeArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let entry = arguments.entry()?;
    entry.revocation().map_err(CommandError::Usage)?;
    let body = serde_json::to_string(&entry).map_err(CommandError::failed)?;
    let instance = arguments.instance.find()?;
    let answer = instance.ask(Question { method: "POST", body: Some(&body), ..Question::get("/revocations") })?;
    let is_new = answer.status == 201;
    if !is_new && answer.status != 200 {
        return Err(refused(&answer, &format!("{} did not revoke", instance.address())));
    }
    let made = object(&answer, instance.address())?;
    let id = terminal::printable(made.get("id").and_then(Value::as_str).unwrap_or("-"));
    let what = if is_new { "revoked" } else { "was revoked already" };
    writeln!(output, "{what}: {id} ({})", described(&made))?;
    writeln!(output, "taken back with: portcullis unrevoke {id}")?;
    Ok(ExitStatus::Ok)
}

/// Takes an entry back.
///
/// # Errors
/// [`CommandError::Failed`] when it was not.
pub fn unrevoke(arguments: &UnrevokeArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if arguments.id.is_empty() || !arguments.id.bytes().all(is_plain) {
        return Err(CommandError::Usage("an id has letters, digits, `-` and `_`".to_owned()));
    }
    let instance = arguments.instance.find()?;
    let target = format!("/revocations/{}", arguments.id);
    let answer = instance.ask(Question { method: "DELETE", ..Question::get(&target) })?;
    if answer.status != 200 {
        return Err(refused(&answer, &format!("{} did not take it back", instance.address())));
    }
    writeln!(output, "taken back: {}", arguments.id)?;
    Ok(ExitStatus::Ok)
}

/// Shows all entries.
///
/// # Errors
/// [`CommandError::Failed`] when they cannot be had.
pub fn revocations(arguments: &RevocationsArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let instance = arguments.instance.find()?;
    let answer = instance.ask(Question { answer_bytes_max: LIST_BYTES_MAX, ..Question::get("/revocations") })?;
    if answer.status != 200 {
        return Err(refused(&answer, &format!("{} does not tell", instance.address())));
    }
    let all = object(&answer, instance.address())?;
    if arguments.format == Format::Json {
        writeln!(output, "{all:#}")?;
        return Ok(ExitStatus::Ok);
    }
    let list = |name: &str| all.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, name: &str| {
        terminal::printable(value.get(name).and_then(Value::as_str).unwrap_or("-")).to_string()
    };
    for entry in list("entries") {
        let reason = text(&entry, "reason");
        writeln!(output, "{}  {:<4}  {reason}  {}", text(&entry, "id"), text(&entry, "source"), described(&entry))?;
    }
    for source in list("sources") {
        let entries = source.get("entries").and_then(Value::as_u64).map_or("no list".to_owned(), |count| match count {
            1 => "1 entry".to_owned(),
            count => format!("{count} entries"),
        });
        writeln!(output, "{} {}: {entries}", text(&source, "source"), text(&source, "name"))?;
        if source.get("last_error").is_some_and(Value::is_string) {
            writeln!(output, "  ! {}", text(&source, "last_error"))?;
        }
    }
    Ok(ExitStatus::Ok)
}

impl RevokeArguments {
    fn entry(&self) -> Result<RevocationEntry, CommandError> {
        let now = moment::now();
        let issued_before = match self.issued_before.as_deref() {
            Some("now") => time_text(now),
            given => given.map(str::to_owned),
        };
        let end = |lasting: Duration| {
            time_text(now.plus(lasting)).ok_or_else(|| CommandError::Usage("`--for` is too long".to_owned()))
        };
        Ok(RevocationEntry {
            issuer: self.issuer.clone(),
            jti: self.jti.clone(),
            sub: self.sub.clone(),
            sid: self.sid.clone(),
            kid: self.kid.clone(),
            client: self.client.clone(),
            issued_before,
            until: self.lasting.map(end).transpose()?.or_else(|| self.until.clone()),
            note: self.note.clone(),
        })
    }
}

/// What an entry says, on one line.
fn described(entry: &Value) -> String {
    let names = ["issuer", "jti", "sub", "sid", "kid", "client", "issued_before", "until", "note"];
    let parts = names.into_iter().filter_map(|name| {
        let text = entry.get(name)?.as_str()?;
        Some(format!("{name} {}", terminal::printable(text)))
    });
    parts.collect::<Vec<String>>().join(", ")
}

fn object(answer: &Answer, from: impl std::fmt::Display) -> Result<Value, CommandError> {
    let value = serde_json::from_str(&answer.body).ok().filter(Value::is_object);
    value.ok_or_else(|| CommandError::Failed(format!("{from} answers with something else than expected")))
}

fn refused(answer: &Answer, what: &str) -> CommandError {
    let said: Vec<String> = answer.body.lines().map(|line| terminal::printable(line).to_string()).collect();
    CommandError::Failed(format!("{what} (status {}): {}", answer.status, said.join(" ")))
}

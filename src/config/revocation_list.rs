//! Lists of revocations, in YAML or JSON: text to entries, everything that is wrong with it in one run, each with its place.
//! It reads no file and no clock.
use jiff::Timestamp;

use crate::config::bounds::Bounds;
use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::keys::revocation::ENTRY;
use crate::config::parse::context::position_of;
use crate::config::parse::section::Section;
use crate::config::tree::Value;
use crate::config::yaml;
use crate::gate::revocation::{Revocation, RevocationDraft, RevocationFault, RevocationField};
use crate::gate::time::UnixTime;

/// The most entries of one list.
pub const ENTRIES_MAX: usize = 250_000;
/// What a point in time must look like.
const TIME: &str = "a time in RFC 3339, such as `2026-11-23T09:30:00Z`";

/// Which issuers entries may name.
#[derive(Clone, Copy, Debug)]
pub enum KnownIssuers<'n> {
    /// These: any other name is a mistake, and its entry would end nothing.
    These(&'n [Box<str>]),
    /// Any: the list is for other hosts too.
    Any,
}

/// The entries of a list that messages call `name`; nothing when there is an error, which is among the problems then.
pub fn parse(name: &str, text: &[u8], issuers: KnownIssuers<'_>, problems: &mut Problems) -> Option<Vec<Revocation>> {
    let errors_before = problems.error_count();
    let node = yaml::parse_within(Bounds::LIST, name, text, problems)?;
    let root = Field::root(&node);
    let Value::Sequence(_) = node.value else {
        let problem = root.mismatch("a list of entries");
        problems.add(problem.with_hint("write `- {sub: NAME}` on a line of its own; a list without entries is `[]`"));
        return None;
    };
    let elements = root.list(problems)?;
    if elements.len() > ENTRIES_MAX {
        let found = elements.len();
        problems.add(root.error(format!("the list has {found} entries, and at most {ENTRIES_MAX} are read")));
        return None;
    }
    let mut entries = Vec::with_capacity(elements.len());
    for element in &elements {
        // Each problem costs a search of those before it.
        if problems.is_full() {
            break;
        }
        entries.extend(entry(element, issuers, problems));
    }
    (problems.error_count() == errors_before).then_some(entries)
}

fn entry(field: &Field<'_>, issuers: KnownIssuers<'_>, problems: &mut Problems) -> Option<Revocation> {
    let section = Section::read(field, ENTRY, problems)?;
    let mut text = |name: &str| Some(Box::from(section.optional(name)?.string(problems)?));
    let draft = RevocationDraft {
        texts: RevocationField::ALL.map(|field| text(field.name())),
        note: text("note"),
        issued_before: section.optional("issued_before").and_then(|field| time(&field, problems)),
        until: section.optional("until").and_then(|field| time(&field, problems)),
    };
    if let (KnownIssuers::These(names), Some(field)) = (issuers, section.optional("issuer"))
        && let Some(name) = draft.texts.first().and_then(Option::as_deref)
    {
        position_of(&field, name, names.iter().map(AsRef::as_ref), "issuer", problems);
    }
    // A text that was refused above is missing here, which is not to be said twice.
    let is_sound = || section.field().is_none_or(|field| names_nothing(field));
    match Revocation::new(draft) {
        Ok(entry) => Some(entry),
        Err(RevocationFault::NamesNothing) if !is_sound() => None,
        Err(fault) => {
            let place = match fault {
                RevocationFault::TextEmpty(text) | RevocationFault::TextTooLong(text) => section.optional(text.name()),
                RevocationFault::NoteTooLong => section.optional("note"),
                RevocationFault::NamesNothing => None,
            };
            problems.add(place.as_ref().unwrap_or(field).error(fault.to_string()));
            None
        }
    }
}

/// Whether no key is there that could be compared with a token.
fn names_nothing(field: &Field<'_>) -> bool {
    let names = RevocationField::ALL.map(RevocationField::name).into_iter().chain(["issued_before"]);
    names.into_iter().all(|name| field.node().child(name).is_none())
}

fn time(field: &Field<'_>, problems: &mut Problems) -> Option<UnixTime> {
    let time = parse_time(field.text());
    if time.is_none() {
        problems.add(field.mismatch(TIME));
    }
    time
}

/// Reads a point in time (RFC 3339). Fractions of a millisecond count as a whole one, so that nothing ends or comes back
/// too early.
pub fn parse_time(text: &str) -> Option<UnixTime> {
    let timestamp: Timestamp = text.parse().ok()?;
    let milliseconds = timestamp.as_nanosecond().div_euclid(1_000_000);
    let rest = timestamp.as_nanosecond().rem_euclid(1_000_000);
    i64::try_from(milliseconds + i128::from(rest > 0)).ok().map(UnixTime::from_milliseconds)
}

/// A point in time as entries have it; nothing when RFC 3339 cannot write it.
pub fn time_text(time: UnixTime) -> Option<String> {
    Timestamp::from_millisecond(time.milliseconds()).ok().map(|timestamp| timestamp.to_string())
}

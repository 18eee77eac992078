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
    let errors_before = problems.error_count();
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
    match Revocation::new(draft) {
        Ok(entry) => Some(entry),
        // What was refused above is missing here, which is not to be said twice.
        Err(RevocationFault::NamesNothing) if problems.error_count() > errors_before => None,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::revocation_entry::RevocationEntry;

    fn read(text: &str) -> Result<Vec<RevocationEntry>, String> {
        let mut problems = Problems::new();
        let entries = parse("list.yaml", text.as_bytes(), KnownIssuers::Any, &mut problems);
        assert_eq!(entries.is_some(), !problems.has_errors());
        entries.map(|entries| entries.iter().map(RevocationEntry::from).collect()).ok_or_else(|| problems.first_error())
    }

    #[test]
    fn a_list_in_json_is_read_like_one_in_yaml() {
        let json =
            r#"[{"sub": "a\u00e9\ud83d\ude00\/b\"", "issued_before": "2026-11-23T09:30:00+01:00"}, {"jti":"j"}]"#;
        let yaml = "- sub: \"aé\u{1f600}/b\\\"\"\n  issued_before: 2026-11-23T08:30:00Z\n- jti: j\n";
        assert_eq!(read(json), read(yaml));
        assert_eq!(read(yaml).unwrap()[0].sub.as_deref(), Some("aé\u{1f600}/b\""));
    }

    #[test]
    fn the_first_mistake_is_told_on_one_line() {
        assert_eq!(
            read("- {sub: a}\n- {user: a}\n- {}\n"),
            Err("list.yaml:2:4: unknown key `user` (and 1 more)".to_owned())
        );
        assert_eq!(read("[{"), Err("list.yaml:1:2: what is opened here is never closed".to_owned()));
    }

    #[test]
    fn a_moment_is_never_too_early() {
        let rows = [
            ("2026-11-23T09:30:00Z", Some(1_795_426_200_000)),
            ("2026-11-23T10:30:00.001+01:00", Some(1_795_426_200_001)),
            ("2026-11-23T09:30:00.0000001Z", Some(1_795_426_200_001)),
            ("1969-12-31T23:59:59.9995Z", Some(0)),
            ("2026-11-23T09:30:00", None),
            ("2026-11-23", None),
            ("1795426200", None),
            ("now", None),
            ("", None),
        ];
        for (text, milliseconds) in rows {
            assert_eq!(parse_time(text), milliseconds.map(UnixTime::from_milliseconds), "{text}");
        }
        assert_eq!(time_text(UnixTime::from_milliseconds(1_795_426_200_001)).unwrap(), "2026-11-23T09:30:00.001Z");
    }

    #[test]
    fn a_list_longer_than_a_configuration_is_read() {
        let text: String =
            (0..60_000).map(|number| format!("- {{sub: user-{number}, note: a-note-of-some-length}}\n")).collect();
        assert!(text.len() > crate::config::bounds::DOCUMENT_BYTES_MAX);
        assert_eq!(read(&text).unwrap().len(), 60_000);
        let text = "- {sub: a}\n".repeat(ENTRIES_MAX + 1);
        assert!(read(&text).unwrap_err().contains("at most 250000 are read"));
        let text = "- {}\n".repeat(50_000);
        assert!(read(&text).unwrap_err().contains("names nothing"));
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("\\PC{1,12}|[a-z:#\"'\\\\{}\\[\\], -]{1,8}")
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*|[\\s\\S]{0,80}|(- \\{(sub|until|x|issuer): [a-z0-9\"'*&]{0,5}\\}\n){0,4}") {
            let _ = read(&text);
            let _ = RevocationEntry::from_json(text.as_bytes()).and_then(|entry| entry.revocation());
        }

        #[test]
        fn an_entry_comes_back_from_json_as_it_was(texts in [text(), text(), text(), text(), text(), text()], until in 0_i64..1 << 40) {
            let [issuer, jti, sub, sid, kid, client] = texts;
            let until = time_text(UnixTime::from_milliseconds(until));
            let entry = RevocationEntry { issuer, jti, sub, sid, kid, client, until: until.clone(), issued_before: until, note: None };
            let json = serde_json::to_string(&entry).unwrap();
            let meant = entry.revocation().unwrap();
            prop_assert_eq!(RevocationEntry::from_json(json.as_bytes()).unwrap().revocation().unwrap(), meant.clone());
            prop_assert_eq!(RevocationEntry::from(&meant), entry.clone());
            prop_assert_eq!(read(&format!("[{json}]")), Ok(vec![entry]));
        }
    }
}

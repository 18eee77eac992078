//! Entries as people see them: all of them for `GET /revocations`, one in the log, what changed between two lists. Texts from
//! outside are quoted in the log, and subjects shown as the configuration wants.
use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    config::{revocation_entry::RevocationEntry, revocation_list::time_text, settings::SubjectForm},
    edge::{
        clock, report,
        revocations::{OWN, RevocationKeeper},
    },
    gate::{
        rejection::quoted,
        revocation::{Revocation, RevocationField, RevocationList},
        time::UnixTime,
    },
};

/// So many entries that came back to life are named in the log at most.
const NAMED_MAX: usize = 20;

impl RevocationKeeper {
    /// All entries that count now and where they come from, for `GET /revocations`. What has ended is not shown, though it
    /// may stay in memory and on disk until the next sweep.
    pub fn view(&self) -> Value {
        let now = clock::unix_time();
        let sources = self.sources();
        let entries = |kind: &'static str, list: &RevocationList| -> Vec<Value> {
            list.entries().iter().filter(|entry| entry.is_in_force(now)).map(|entry| view_of(entry, kind)).collect()
        };
        let mut all = entries(OWN, &sources.own);
        let own_count = all.len();
        let mut places = vec![json!({
            "source": OWN,
            "name": self.store.as_ref().ok().map(|store| store.own_path().display().to_string()),
            "entries": own_count,
            "last_error": self.store.as_ref().err(),
        })];
        if let Some(operators) = &sources.operators {
            let listed = operators.list.as_ref().map(|list| entries(operators.kind, list));
            let listed_count = listed.as_ref().map(Vec::len);
            all.extend(listed.into_iter().flatten());
            places.push(json!({
                "source": operators.kind,
                "name": operators.name,
                "entries": listed_count,
                "last_success": operators.last_success.map(clock::rfc3339),
                "last_error": operators.last_error,
            }));
        }
        json!({ "entries": all, "sources": places })
    }

    /// Says what a list brings, and what it no longer ends.
    pub(super) fn tell_change(
        &self,
        name: &str,
        before: Option<&RevocationList>,
        list: &RevocationList,
        now: UnixTime,
    ) {
        let before = before.map_or(&[][..], RevocationList::entries);
        let known: HashSet<_> = before.iter().map(Revocation::effect).collect();
        let kept: HashSet<_> = list.entries().iter().map(Revocation::effect).collect();
        let new = kept.difference(&known).count();
        log::info!("revocations: {name} has {} entries in force, {new} of them new", list.entries().len());
        let names = |entry: &&Revocation| {
            entry
                .text(RevocationField::Issuer)
                .is_some_and(|name| !self.issuers.load().iter().any(|known| &**known == name))
        };
        let foreign = list.entries().iter().filter(names).count();
        if foreign > 0 {
            log::info!("revocations: {foreign} entries of {name} name issuers that are not configured here");
        }
        let gone: Vec<&Revocation> =
            before.iter().filter(|entry| entry.is_in_force(now) && !kept.contains(&entry.effect())).collect();
        for entry in gone.iter().take(NAMED_MAX) {
            log::warn!("revocations: no longer in {name}: {}", self.shown(entry));
        }
        if gone.len() > NAMED_MAX {
            log::warn!("revocations: and {} more are no longer in {name}", gone.len() - NAMED_MAX);
        }
    }

    /// An entry as the log may show it.
    pub fn shown(&self, entry: &Revocation) -> String {
        line(entry, self.subject)
    }
}

/// An entry as the admin address shows it; `source` is the kind of its source.
pub(in crate::edge) fn view_of(entry: &Revocation, source: &str) -> Value {
    let mut view = json!({ "id": entry.id(), "source": source, "reason": entry.rejection().label() });
    if let (Value::Object(view), Ok(Value::Object(said))) =
        (&mut view, serde_json::to_value(RevocationEntry::from(entry)))
    {
        view.extend(said);
    }
    view
}

/// One line.
fn line(entry: &Revocation, subject: SubjectForm) -> String {
    let mut parts: Vec<String> = Vec::new();
    for field in RevocationField::ALL {
        let Some(text) = entry.text(field) else { continue };
        let shown = match field {
            RevocationField::Sub => report::shown_subject(subject, text).map(|text| quoted(&text)),
            RevocationField::Issuer
            | RevocationField::Jti
            | RevocationField::Sid
            | RevocationField::Kid
            | RevocationField::Client => Some(quoted(text)),
        };
        parts.push(format!("{} {}", field.name(), shown.unwrap_or_else(|| "(not shown)".to_owned())));
    }
    for (name, time) in [("issued before", entry.issued_before()), ("until", entry.until())] {
        parts.extend(time.map(|time| format!("{name} {}", time_text(time).unwrap_or_default())));
    }
    format!("{} ({})", entry.id(), parts.join(", "))
}

//! An entry as the log shows it: texts from outside in quotes, subjects as the configuration wants them shown.
use crate::{
    config::{revocation_list::time_text, settings::SubjectForm},
    edge::report,
    gate::{
        rejection::quoted,
        revocation::{Revocation, RevocationField},
    },
};

/// One line.
pub(super) fn entry(entry: &Revocation, subject: SubjectForm) -> String {
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

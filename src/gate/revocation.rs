//! Revocation: entries that end tokens before they expire. An entry matches a token when every field that it names does.
//!
//! A list of any size is asked in the time of one table lookup for each combination of fields that its entries name, and
//! without allocation: it is asked for every request.
mod list;

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;

pub use crate::gate::revocation::list::RevocationList;
use crate::gate::{
    rejection::{Refusal, Rejection},
    time::UnixTime,
};

/// Bytes of a text that an entry compares, at most: nothing longer fits into a token of the usual size.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of a note, at most.
pub const NOTE_BYTES_MAX: usize = 1024;
/// How many fields there are that hold a text.
const FIELDS: usize = 6;

/// A field of an entry that is compared with a text of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevocationField {
    /// The issuer's name in the configuration.
    Issuer,
    /// The token's identifier (RFC 7519 §4.1.7).
    Jti,
    /// The subject, as the issuer's configuration places it, or the claim `sub` (RFC 7519 §4.1.2).
    Sub,
    /// The session (OpenID Connect Front-Channel Logout 1.0 §3).
    Sid,
    /// The key that signed it.
    Kid,
    /// The client, as the issuer's configuration places it.
    Client,
}

impl RevocationField {
    /// Every field.
    pub const ALL: [Self; FIELDS] = [Self::Issuer, Self::Jti, Self::Sub, Self::Sid, Self::Kid, Self::Client];

    /// What entries call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Jti => "jti",
            Self::Sub => "sub",
            Self::Sid => "sid",
            Self::Kid => "kid",
            Self::Client => "client",
        }
    }

    const fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// Why something is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationFault {
    /// It names nothing to compare, so that it would match every token.
    NamesNothing,
    /// The text of a field is empty: no token has such a one.
    TextEmpty(RevocationField),
    /// The text of a field is longer than [`TEXT_BYTES_MAX`].
    TextTooLong(RevocationField),
    /// The note is longer than [`NOTE_BYTES_MAX`].
    NoteTooLong,
}

impl fmt::Display for RevocationFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamesNothing => formatter.write_str(
                "the entry names nothing to compare (issuer, jti, sub, sid, kid, client, issued_before): it would end \
                 every token",
            ),
            Self::TextEmpty(field) => write!(formatter, "`{}` must not be empty", field.name()),
            Self::TextTooLong(field) => write!(formatter, "`{}` is longer than {TEXT_BYTES_MAX} bytes", field.name()),
            Self::NoteTooLong => write!(formatter, "`note` is longer than {NOTE_BYTES_MAX} bytes"),
        }
    }
}

/// What an entry says, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RevocationDraft {
    /// The texts to compare, in the order of [`RevocationField::ALL`].
    pub texts: [Option<Box<str>>; FIELDS],
    /// Matches tokens that were issued before this, and those that do not say when.
    pub issued_before: Option<UnixTime>,
    /// When the entry ceases to count.
    pub until: Option<UnixTime>,
    /// What people want to remember of it.
    pub note: Option<Box<str>>,
}

/// One entry. It names one thing at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    draft: RevocationDraft,
}

/// What an entry says, the note aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RevocationEffect<'r> {
    texts: &'r [Option<Box<str>>; FIELDS],
    issued_before: Option<UnixTime>,
    until: Option<UnixTime>,
}

/// What of a token entries are compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenTraits<'t> {
    /// The texts, in the order of [`RevocationField::ALL`].
    pub texts: [Option<&'t str>; FIELDS],
    /// The claim `sub`, where it is not the subject.
    pub other_subject: Option<&'t str>,
    /// When it was issued, if it says so.
    pub issued_at: Option<UnixTime>,
}

impl Revocation {
    /// An entry that says this.
    ///
    /// # Errors
    /// A [`RevocationFault`].
    pub fn new(draft: RevocationDraft) -> Result<Self, RevocationFault> {
        for (field, text) in RevocationField::ALL.into_iter().zip(&draft.texts) {
            match text.as_deref().map(str::len) {
                Some(0) => return Err(RevocationFault::TextEmpty(field)),
                Some(bytes) if bytes > TEXT_BYTES_MAX => return Err(RevocationFault::TextTooLong(field)),
                Some(_) | None => {}
            }
        }
        if draft.note.as_deref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
            return Err(RevocationFault::NoteTooLong);
        }
        if draft.issued_before.is_none() && draft.texts.iter().all(Option::is_none) {
            return Err(RevocationFault::NamesNothing);
        }
        Ok(Self { draft })
    }

    /// The text of a field, where the entry names it.
    pub fn text(&self, field: RevocationField) -> Option<&str> {
        self.draft.texts.get(field as usize)?.as_deref()
    }

    /// Matches tokens that were issued before this, and those that do not say when.
    pub const fn issued_before(&self) -> Option<UnixTime> {
        self.draft.issued_before
    }

    /// When it ceases to count.
    pub const fn until(&self) -> Option<UnixTime> {
        self.draft.until
    }

    /// What people want to remember of it.
    pub fn note(&self) -> Option<&str> {
        self.draft.note.as_deref()
    }

    /// What it does: equal for entries that end the same tokens for the same time.
    pub const fn effect(&self) -> RevocationEffect<'_> {
        let RevocationDraft { texts, issued_before, until, note: _ } = &self.draft;
        RevocationEffect { texts, issued_before: *issued_before, until: *until }
    }

    /// A name that follows from what it says, the note aside: the same entry has it everywhere.
    pub fn id(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |text: Option<&[u8]>| {
            // The length first, so that no text can pass for two.
            context.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
            context.update(text.unwrap_or_default());
        };
        for text in &self.draft.texts {
            add(text.as_deref().map(str::as_bytes));
        }
        for time in [self.draft.issued_before, self.draft.until] {
            add(time.map(|time| time.milliseconds().to_be_bytes()).as_ref().map(<[u8; 8]>::as_slice));
        }
        context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether it still counts.
    pub fn is_in_force(&self, now: UnixTime) -> bool {
        self.draft.until.is_none_or(|until| now < until)
    }

    /// Whether it bans a subject: no other token of the same user could help.
    pub fn bans_subject(&self) -> bool {
        self.text(RevocationField::Sub).is_some() && self.draft.issued_before.is_none()
    }

    /// What a token that it matches is refused for.
    pub fn rejection(&self) -> Rejection {
        if self.bans_subject() { Rejection::SubjectRevoked } else { Rejection::TokenRevoked }
    }

    /// Whether every field that it names is the token's.
    pub fn matches(&self, token: &TokenTraits<'_>) -> bool {
        let is_met = |(position, (wanted, found)): (usize, (&Option<Box<str>>, &Option<&str>))| {
            wanted.as_deref().is_none_or(|wanted| {
                *found == Some(wanted)
                    || (position == RevocationField::Sub as usize && token.other_subject == Some(wanted))
            })
        };
        self.draft.texts.iter().zip(&token.texts).enumerate().all(is_met)
            && self.draft.issued_before.is_none_or(|limit| token.issued_at.is_none_or(|issued_at| issued_at < limit))
    }
}

/// All that is in force: the lists of every source.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    lists: Vec<(Box<str>, Arc<RevocationList>)>,
    missing: Option<Box<str>>,
}

impl Revocations {
    /// The union of these lists, each with what people call its source. `missing` is a source whose list was never had:
    /// as long as there is one, no token counts.
    pub const fn new(lists: Vec<(Box<str>, Arc<RevocationList>)>, missing: Option<Box<str>>) -> Self {
        Self { lists, missing }
    }

    /// Whether the list of every source is there.
    pub const fn are_complete(&self) -> bool {
        self.missing.is_none()
    }

    /// The lists.
    pub fn lists(&self) -> impl Iterator<Item = (&str, &Arc<RevocationList>)> {
        self.lists.iter().map(|(name, list)| (name.as_ref(), list))
    }

    /// Judges a token.
    ///
    /// # Errors
    /// [`Rejection::SubjectRevoked`] when an entry bans its subject, else [`Rejection::TokenRevoked`] when one ends it,
    /// else [`Rejection::RevocationsUnavailable`] when a list is missing.
    pub fn check(&self, token: &TokenTraits<'_>, now: UnixTime) -> Result<(), Refusal> {
        let mut found: Option<(&str, &Revocation)> = None;
        for (name, list) in &self.lists {
            let Some(entry) = list.find(token, now) else { continue };
            if found.is_none_or(|(_, earlier)| entry.bans_subject() && !earlier.bans_subject()) {
                found = Some((name, entry));
            }
        }
        match found {
            None => match &self.missing {
                Some(source) => Err(Refusal::new(Rejection::RevocationsUnavailable)
                    .because(format!("the list of {source} could not be had since the start"))),
                None => Ok(()),
            },
            Some((name, entry)) => {
                let fields = RevocationField::ALL.into_iter().filter(|field| entry.text(*field).is_some());
                let before = entry.issued_before().map(|_| "issued_before");
                let named: Vec<&str> = fields.map(RevocationField::name).chain(before).collect();
                let detail = format!("entry {} of {name}, which names {}", entry.id(), named.join(", "));
                Err(Refusal::new(entry.rejection()).because(detail))
            }
        }
    }
}

#[cfg(test)]
mod tests;

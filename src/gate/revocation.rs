//! Revocation: entries that end tokens before they expire. An entry matches a token when every field that it names does.
//!
//! A list of any size is asked in the time of one table lookup for each combination of fields that its entries name, and
//! without allocation: it is asked for every request.
use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, Hasher as _},
    sync::Arc,
};

use aws_lc_rs::digest;
use foldhash::fast::FixedState;

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

    /// What it says, the note aside: equal for entries that end the same tokens for the same time.
    pub const fn effect(&self) -> (&[Option<Box<str>>], Option<UnixTime>, Option<UnixTime>) {
        (&self.draft.texts, self.draft.issued_before, self.draft.until)
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

    fn mask(&self) -> u8 {
        RevocationField::ALL.into_iter().filter(|field| self.text(*field).is_some()).map(RevocationField::bit).sum()
    }

    /// The order within entries that name the same texts: what ends more comes first.
    fn by_effect(&self, other: &Self) -> Ordering {
        let effect = |entry: &Self| (entry.draft.issued_before.is_some(), Reverse(entry.draft.issued_before));
        let duration = |entry: &Self| (entry.draft.until.is_some(), Reverse(entry.draft.until));
        effect(self).cmp(&effect(other)).then_with(|| duration(self).cmp(&duration(other)))
    }
}

/// The entries of one source, indexed.
#[derive(Debug, Default)]
pub struct RevocationList {
    entries: Vec<Revocation>,
    groups: Vec<Group>,
    /// When the first of them ceases to count.
    next_end: Option<UnixTime>,
}

/// The entries that name the same fields.
#[derive(Debug)]
struct Group {
    mask: u8,
    /// Hash of the texts -> where the entries with it begin in `order`, and how many there are.
    runs: HashMap<u64, (u32, u32), FixedState>,
    /// Positions of entries.
    order: Vec<u32>,
}

impl RevocationList {
    /// A list of these entries.
    pub fn new(entries: Vec<Revocation>) -> Self {
        let hashed = |(position, entry): (u32, &Revocation)| {
            let mask = entry.mask();
            let texts = RevocationField::ALL.map(|field| entry.text(field));
            (mask, hash(mask, &texts, None).unwrap_or_default(), position)
        };
        let mut sorted: Vec<(u8, u64, u32)> = (0..).zip(&entries).map(hashed).collect();
        let at = |position: u32| entries.get(position as usize);
        sorted.sort_unstable_by(|one, other| {
            let texts = || at(one.2).map(|entry| &entry.draft.texts).cmp(&at(other.2).map(|entry| &entry.draft.texts));
            let effect = || at(one.2).zip(at(other.2)).map_or(Ordering::Equal, |(one, other)| one.by_effect(other));
            (one.0, one.1).cmp(&(other.0, other.1)).then_with(texts).then_with(effect)
        });
        let mut groups: Vec<Group> = Vec::new();
        let mut last: Option<&Revocation> = None;
        for (mask, hash, position) in sorted {
            let Some(entry) = at(position) else { continue };
            // What the entry before it ends already, and for longer, need not be looked at.
            if last.is_some_and(|last| last.draft.texts == entry.draft.texts && last.outlasts(entry)) {
                continue;
            }
            last = Some(entry);
            if groups.last().is_none_or(|group| group.mask != mask) {
                groups.push(Group { mask, runs: HashMap::default(), order: Vec::new() });
            }
            if let Some(group) = groups.last_mut() {
                let begin = u32::try_from(group.order.len()).unwrap_or(u32::MAX);
                group.runs.entry(hash).or_insert((begin, 0)).1 += 1;
                group.order.push(position);
            }
        }
        let next_end = entries.iter().filter_map(Revocation::until).min();
        Self { entries, groups, next_end }
    }

    /// The entries, in the order of the source.
    pub fn entries(&self) -> &[Revocation] {
        &self.entries
    }

    /// The entries alone.
    pub fn into_entries(self) -> Vec<Revocation> {
        self.entries
    }

    /// Whether an entry has ceased to count since the list was made.
    pub fn has_ended_entries(&self, now: UnixTime) -> bool {
        self.next_end.is_some_and(|end| end <= now)
    }

    /// The list without the entries that have ceased to count.
    #[must_use]
    pub fn without_ended(&self, now: UnixTime) -> Self {
        Self::new(self.entries.iter().filter(|entry| entry.is_in_force(now)).cloned().collect())
    }

    /// An entry that ends this token now; one that bans its subject before all others.
    pub fn find(&self, token: &TokenTraits<'_>, now: UnixTime) -> Option<&Revocation> {
        let mut found = None;
        for group in &self.groups {
            let other = token.other_subject.filter(|_| group.mask & RevocationField::Sub.bit() != 0);
            for subject in std::iter::once(None).chain(other.map(Some)) {
                match self.find_in(group, token, subject, now) {
                    Some(entry) if entry.bans_subject() => return Some(entry),
                    Some(entry) => found = found.or(Some(entry)),
                    None => {}
                }
            }
        }
        found
    }

    fn find_in(
        &self,
        group: &Group,
        token: &TokenTraits<'_>,
        subject: Option<&str>,
        now: UnixTime,
    ) -> Option<&Revocation> {
        let (begin, count) = *group.runs.get(&hash(group.mask, &token.texts, subject)?)?;
        let run = group.order.get(begin as usize..(begin as usize).saturating_add(count as usize))?;
        let mut entries = run.iter().filter_map(|position| self.entries.get(*position as usize));
        entries.find(|entry| entry.is_in_force(now) && entry.matches(token))
    }
}

impl Revocation {
    /// Whether it counts for as long as `other` does.
    fn outlasts(&self, other: &Self) -> bool {
        match (self.draft.until, other.draft.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own >= others,
        }
    }
}

/// A hash of the texts that `mask` names, with `subject` in place of the usual one; nothing when one is missing.
///
/// The seed is fixed: only the operators' own entries are put into the tables.
fn hash(mask: u8, texts: &[Option<&str>; FIELDS], subject: Option<&str>) -> Option<u64> {
    let mut hasher = FixedState::default().build_hasher();
    for (field, text) in RevocationField::ALL.into_iter().zip(texts) {
        if mask & field.bit() != 0 {
            let text = if field == RevocationField::Sub { subject.or(*text) } else { *text };
            let text = text?;
            hasher.write_usize(text.len());
            hasher.write(text.as_bytes());
        }
    }
    Some(hasher.finish())
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

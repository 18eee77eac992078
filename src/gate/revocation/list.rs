//! The index of a list: a table for each combination of fields that its entries name.
use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _},
};

use foldhash::fast::FixedState;

use crate::gate::{
    revocation::{FIELDS, Revocation, RevocationField, TokenTraits},
    time::UnixTime,
};

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
    fn mask(&self) -> u8 {
        RevocationField::ALL.into_iter().filter(|field| self.text(*field).is_some()).map(RevocationField::bit).sum()
    }

    /// The order within entries that name the same texts: what ends more comes first.
    fn by_effect(&self, other: &Self) -> Ordering {
        let effect = |entry: &Self| (entry.draft.issued_before.is_some(), Reverse(entry.draft.issued_before));
        let duration = |entry: &Self| (entry.draft.until.is_some(), Reverse(entry.draft.until));
        effect(self).cmp(&effect(other)).then_with(|| duration(self).cmp(&duration(other)))
    }

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

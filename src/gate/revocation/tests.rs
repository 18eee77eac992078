//! The index against the rule itself: an entry matches when every field that it names does.
use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(seconds)
}

fn entry(texts: [Option<&str>; FIELDS], issued_before: Option<i64>, until: Option<i64>) -> Revocation {
    Revocation::new(RevocationDraft {
        texts: texts.map(|text| text.map(Box::from)),
        issued_before: issued_before.map(at),
        until: until.map(at),
        note: None,
    })
    .unwrap()
}

/// What the contract says, word by word, without any index.
fn naive(entries: &[Revocation], token: &TokenTraits<'_>, now: UnixTime) -> Option<Rejection> {
    let is_met = |entry: &Revocation| {
        let texts = RevocationField::ALL.into_iter().enumerate().all(|(position, field)| match entry.text(field) {
            None => true,
            wanted if field == RevocationField::Sub => wanted == token.texts[position] || wanted == token.other_subject,
            wanted => wanted == token.texts[position],
        });
        let time = match (entry.issued_before(), token.issued_at) {
            (None, _) | (Some(_), None) => true,
            (Some(limit), Some(issued_at)) => issued_at < limit,
        };
        texts && time && entry.until().is_none_or(|until| now < until)
    };
    let matching: Vec<&Revocation> = entries.iter().filter(|entry| is_met(entry)).collect();
    let bans = |entry: &&&Revocation| entry.text(RevocationField::Sub).is_some() && entry.issued_before().is_none();
    match (matching.iter().find(bans), matching.first()) {
        (Some(_), _) => Some(Rejection::SubjectRevoked),
        (None, Some(_)) => Some(Rejection::TokenRevoked),
        (None, None) => None,
    }
}

fn found(lists: &[Vec<Revocation>], token: &TokenTraits<'_>, now: UnixTime) -> Option<Rejection> {
    let named = |entries: &Vec<Revocation>| (Box::from("list"), Arc::new(RevocationList::new(entries.clone())));
    let union = Revocations::new(lists.iter().map(named).collect(), None);
    union.check(token, now).err().map(|refusal| refusal.rejection())
}

fn text() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![3 => Just(None), 2 => Just(Some("a")), 1 => Just(Some("b")), 1 => Just(Some("ab"))]
}

fn texts() -> impl Strategy<Value = [Option<&'static str>; FIELDS]> {
    [text(), text(), text(), text(), text(), text()]
}

fn time() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![2 => Just(None), 3 => (0_i64..6).prop_map(Some)]
}

fn entries() -> impl Strategy<Value = Vec<Revocation>> {
    let one = (texts(), time(), time()).prop_filter_map("names something", |(texts, issued_before, until)| {
        let names = issued_before.is_some() || texts.iter().any(Option::is_some);
        names.then(|| entry(texts, issued_before, until))
    });
    prop::collection::vec(one, 0..40)
}

fn token() -> impl Strategy<Value = TokenTraits<'static>> {
    (texts(), text(), time()).prop_map(|(texts, other_subject, issued_at)| TokenTraits {
        texts,
        other_subject,
        issued_at: issued_at.map(at),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_index_finds_what_the_rule_says(
        lists in prop::collection::vec(entries(), 1..4),
        tokens in prop::collection::vec(token(), 1..20),
        now in 0_i64..7,
    ) {
        let all: Vec<Revocation> = lists.iter().flatten().cloned().collect();
        for token in &tokens {
            prop_assert_eq!(found(&lists, token, at(now)), naive(&all, token, at(now)), "{:?}", token);
        }
    }

    #[test]
    fn what_has_ended_can_be_dropped_without_a_difference(entries in entries(), token in token(), now in 0_i64..7) {
        let list = RevocationList::new(entries);
        let shorter = list.without_ended(at(now));
        prop_assert!(!shorter.has_ended_entries(at(now)));
        prop_assert_eq!(list.has_ended_entries(at(now)), shorter.entries().len() < list.entries().len());
        let rejection = |list: &RevocationList| list.find(&token, at(now)).map(Revocation::rejection);
        prop_assert_eq!(rejection(&list), rejection(&shorter));
    }

    #[test]
    fn a_longer_list_never_lets_more_through(entries in entries(), more in entries(), token in token(), now in 0_i64..7) {
        if found(std::slice::from_ref(&entries), &token, at(now)).is_some() {
            prop_assert!(found(&[[entries, more].concat()], &token, at(now)).is_some());
        }
    }
}

#[test]
fn every_field_and_every_combination_matches_what_it_names_and_nothing_else() {
    let own = ["main", "j1", "u1", "s1", "k1", "c1"];
    let token = TokenTraits { texts: own.map(Some), other_subject: None, issued_at: Some(at(100)) };
    for mask in 1..1_usize << FIELDS {
        let named = |position: usize| mask & 1 << position != 0;
        let texts: [Option<&str>; FIELDS] = std::array::from_fn(|position| named(position).then(|| own[position]));
        let bans = texts[RevocationField::Sub as usize].is_some();
        let expected = Some(if bans { Rejection::SubjectRevoked } else { Rejection::TokenRevoked });
        assert_eq!(found(&[vec![entry(texts, None, None)]], &token, at(0)), expected, "{texts:?}");
        for (issued_before, is_ended) in [(99, false), (100, false), (101, true)] {
            let expected = is_ended.then_some(Rejection::TokenRevoked);
            let list = vec![entry(texts, Some(issued_before), None)];
            assert_eq!(found(&[list], &token, at(0)), expected, "{texts:?} before {issued_before}");
        }
        for position in (0..FIELDS).filter(|position| named(*position)) {
            let mut other = token;
            for found_text in [None, Some("other")] {
                other.texts[position] = found_text;
                assert_eq!(found(&[vec![entry(texts, None, None)]], &other, at(0)), None, "{texts:?} {position}");
            }
        }
    }
}

#[test]
fn a_token_that_does_not_say_when_it_was_issued_was_issued_before_any_moment() {
    let list = [vec![entry([None; FIELDS], Some(5), None)]];
    assert_eq!(found(&list, &TokenTraits::default(), at(0)), Some(Rejection::TokenRevoked));
    let dated = |seconds| TokenTraits { issued_at: Some(at(seconds)), ..TokenTraits::default() };
    assert_eq!(found(&list, &dated(4), at(0)), Some(Rejection::TokenRevoked));
    assert_eq!(found(&list, &dated(5), at(0)), None);
}

#[test]
fn without_the_list_of_a_source_no_token_counts_and_what_is_known_is_said_first() {
    let own = Arc::new(RevocationList::new(vec![entry([None, None, Some("u1"), None, None, None], None, None)]));
    let revocations = Revocations::new(vec![("own".into(), own)], Some("https://lists.test/".into()));
    let rejection = |subject| {
        let texts = [None, None, Some(subject), None, None, None];
        revocations.check(&TokenTraits { texts, ..TokenTraits::default() }, at(0)).unwrap_err().rejection()
    };
    assert_eq!(rejection("u1"), Rejection::SubjectRevoked);
    assert_eq!(rejection("u2"), Rejection::RevocationsUnavailable);
    assert!(!revocations.are_complete() && Revocations::default().are_complete());
}

#[test]
fn an_entry_that_names_nothing_or_too_much_is_none() {
    let draft = RevocationDraft::default;
    let with = |text: &str| RevocationDraft { texts: [None, Some(text.into()), None, None, None, None], ..draft() };
    let noted = |bytes: usize| RevocationDraft { note: Some("n".repeat(bytes).into()), ..with("j") };
    let rows = [
        (draft(), Some(RevocationFault::NamesNothing)),
        (
            RevocationDraft { until: Some(at(1)), note: Some("x".into()), ..draft() },
            Some(RevocationFault::NamesNothing),
        ),
        (RevocationDraft { issued_before: Some(at(1)), ..draft() }, None),
        (with(""), Some(RevocationFault::TextEmpty(RevocationField::Jti))),
        (with(&"j".repeat(TEXT_BYTES_MAX)), None),
        (with(&"j".repeat(TEXT_BYTES_MAX + 1)), Some(RevocationFault::TextTooLong(RevocationField::Jti))),
        (noted(NOTE_BYTES_MAX), None),
        (noted(NOTE_BYTES_MAX + 1), Some(RevocationFault::NoteTooLong)),
    ];
    for (draft, expected) in rows {
        assert_eq!(Revocation::new(draft.clone()).err(), expected, "{draft:?}");
    }
}

#[test]
fn an_id_follows_from_what_an_entry_ends_and_from_nothing_else() {
    let one = entry([None, Some("ab"), Some("c"), None, None, None], Some(1), None);
    let noted = Revocation::new(RevocationDraft { note: Some("x".into()), ..one.draft.clone() }).unwrap();
    assert_eq!(one.id(), noted.id());
    assert_eq!(one.id().len(), 16);
    for other in [
        entry([None, Some("a"), Some("bc"), None, None, None], Some(1), None),
        entry([None, Some("ab"), None, Some("c"), None, None], Some(1), None),
        entry([None, Some("ab"), Some("c"), None, None, None], None, Some(1)),
        entry([None, Some("ab"), Some("c"), None, None, None], Some(1), Some(1)),
    ] {
        assert_ne!(one.id(), other.id(), "{other:?}");
    }
}

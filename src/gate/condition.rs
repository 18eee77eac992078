//! What rules ask of claims: conditions on single claims, each tried once for a token, when its facts are drawn.
//!
//! A condition depends on token and configuration alone, so that whether it holds is a fact: one bit, whatever the length
//! of the claim. What follows from it is judged on every request (`policy.rs`). A claim of another JSON type than the
//! condition speaks of never meets it; nothing is converted.
use std::fmt;

use crate::gate::{
    issuer::{ClaimPath, Issuer},
    json::{Json, Object},
};

/// A value that a claim is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number. A claim equals it when it is the same number, however it is written: `1`, `1.0`, `1e0`.
    Number(u64),
    /// A string, compared byte for byte.
    Text(Box<str>),
}

/// What is asked of one claim. `null` is as if the claim were absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimTest {
    /// The claim is one of these, or is an array that holds one of these.
    IsOrContains(Box<[Literal]>),
    /// The claim is one of these.
    Is(Box<[Literal]>),
    /// The claim is an array that holds one of these.
    Contains(Box<[Literal]>),
    /// The claim is there, or is not. It is neither where something that is no object stands on the way to it.
    Exists(bool),
    /// The claim is a string that begins so.
    Prefix(Box<str>),
    /// The claim is a string that ends so.
    Suffix(Box<str>),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// On a claim.
    Claim {
        /// Where it is.
        place: ClaimPath,
        /// What is asked of it.
        test: ClaimTest,
    },
    /// The issuer's audience claim, a string or an array of strings, names this (RFC 7519 §4.1.3).
    Audience(Box<str>),
}

/// Every condition of one configuration, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    conditions: Vec<Condition>,
}

/// A condition and its place among those of its configuration, made by [`Conditions::clause`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    place: usize,
    condition: Condition,
}

/// Which conditions of a configuration a token meets: one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionsMet {
    words: Box<[u64]>,
}

/// Where a path leads in the claims.
enum Found<'c, 't> {
    /// To a value that is not `null`.
    Value(&'c Json<'t>),
    /// To nothing.
    Nothing,
    /// To something that is no object, before its end.
    Dead,
}

impl Conditions {
    /// A clause that asks for this condition.
    pub fn clause(&mut self, condition: Condition) -> Clause {
        let known = self.conditions.iter().position(|known| *known == condition);
        let place = known.unwrap_or_else(|| {
            self.conditions.push(condition.clone());
            self.conditions.len() - 1
        });
        Clause { place, condition }
    }

    /// Every condition.
    pub fn all(&self) -> impl Iterator<Item = &Condition> {
        self.conditions.iter()
    }

    /// Tries every condition on the claims of a token of `issuer`.
    pub fn met_by(&self, claims: &Object<'_>, issuer: &Issuer) -> ConditionsMet {
        let word = |conditions: &[Condition]| {
            let bits = conditions.iter().enumerate();
            bits.fold(0, |word, (bit, condition)| word | (u64::from(condition.is_met_by(claims, issuer)) << bit))
        };
        ConditionsMet { words: self.conditions.chunks(64).map(word).collect() }
    }
}

impl Clause {
    /// What it asks.
    pub const fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl ConditionsMet {
    /// Whether the clause is met. One of another configuration is not.
    pub fn meets(&self, clause: &Clause) -> bool {
        self.words.get(clause.place / 64).is_some_and(|word| word & (1 << (clause.place % 64)) != 0)
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

impl Condition {
    /// Whether the claims of a token of `issuer` meet it.
    pub fn is_met_by(&self, claims: &Object<'_>, issuer: &Issuer) -> bool {
        match self {
            Self::Claim { place, test } => test.is_met_by(&find(claims, place)),
            Self::Audience(audience) => match claims.get(&issuer.audience_claim) {
                Some(Json::String(named)) => **named == **audience,
                Some(Json::List(named)) => {
                    let is_text = |element: &Json<'_>| element.as_str().is_some();
                    named.iter().all(is_text) && named.iter().any(|element| element.as_str() == Some(audience))
                }
                Some(Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::Object(_)) | None => false,
            },
        }
    }
}

impl ClaimTest {
    fn is_met_by(&self, found: &Found<'_, '_>) -> bool {
        let value = match (self, found) {
            (Self::Exists(wanted), Found::Value(_)) => return *wanted,
            (Self::Exists(wanted), Found::Nothing) => return !*wanted,
            (_, Found::Value(value)) => *value,
            (_, Found::Nothing | Found::Dead) => return false,
        };
        let is_one_of = |literals: &[Literal], value: &Json<'_>| literals.iter().any(|literal| literal.is(value));
        let holds = |literals: &[Literal]| match value {
            Json::List(elements) => elements.iter().any(|element| is_one_of(literals, element)),
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::String(_) | Json::Object(_) => false,
        };
        match self {
            Self::IsOrContains(literals) => is_one_of(literals, value) || holds(literals),
            Self::Is(literals) => is_one_of(literals, value),
            Self::Contains(literals) => holds(literals),
            Self::Exists(_) => false,
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(&**prefix)),
            Self::Suffix(suffix) => value.as_str().is_some_and(|text| text.ends_with(&**suffix)),
        }
    }
}

impl Literal {
    /// The largest number below which binary fractions hold every whole number exactly: beyond, a claim that was written
    /// with a point or an exponent may have been another number.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

    fn is(&self, value: &Json<'_>) -> bool {
        match (self, value) {
            (Self::Boolean(wanted), Json::Bool(found)) => wanted == found,
            (Self::Number(wanted), Json::Integer(found)) => i128::from(*wanted) == *found,
            #[expect(clippy::cast_precision_loss, reason = "exact where the claim is below the bound")]
            #[expect(clippy::float_cmp, reason = "the same number is meant")]
            (Self::Number(wanted), Json::Float(found)) => *found < Self::EXACT_MAX && *wanted as f64 == *found,
            (Self::Text(wanted), Json::String(found)) => **wanted == **found,
            (Self::Boolean(_) | Self::Number(_) | Self::Text(_), _) => false,
        }
    }
}

fn find<'c, 't>(claims: &'c Object<'t>, place: &ClaimPath) -> Found<'c, 't> {
    let mut object = claims;
    let mut names = place.names().iter().peekable();
    while let Some(name) = names.next() {
        match object.get(name) {
            None | Some(Json::Null) => return Found::Nothing,
            Some(value) if names.peek().is_none() => return Found::Value(value),
            Some(Json::Object(inner)) => object = inner,
            Some(Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::String(_) | Json::List(_)) => {
                return Found::Dead;
            }
        }
    }
    Found::Nothing
}

impl fmt::Display for Literal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(formatter, "{value}"),
            Self::Number(value) => write!(formatter, "{value}"),
            Self::Text(value) => formatter.write_str(value),
        }
    }
}

/// Names the claim, and what is wanted of it: words of the configuration alone.
impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_of = |literals: &[Literal]| {
            let shown: Vec<String> = literals.iter().map(Literal::to_string).collect();
            if let [only] = shown.as_slice() { only.clone() } else { format!("one of {}", shown.join(", ")) }
        };
        let (place, test) = match self {
            Self::Claim { place, test } => (place, test),
            Self::Audience(audience) => return write!(formatter, "the audience {audience}"),
        };
        match test {
            ClaimTest::IsOrContains(literals) => write!(formatter, "{place} is or contains {}", one_of(literals)),
            ClaimTest::Is(literals) => write!(formatter, "{place} is {}", one_of(literals)),
            ClaimTest::Contains(literals) => write!(formatter, "{place} contains {}", one_of(literals)),
            ClaimTest::Exists(true) => write!(formatter, "{place} is there"),
            ClaimTest::Exists(false) => write!(formatter, "{place} is not there"),
            ClaimTest::Prefix(prefix) => write!(formatter, "{place} begins with {prefix}"),
            ClaimTest::Suffix(suffix) => write!(formatter, "{place} ends with {suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"verified": true, "level": 3, "point": 3.0, "large": 9007199254740993.0, "plan": "pro",
        "groups": ["ops", 7, true, null, ["inner"]], "empty": [], "nothing": null, "text": "true", "digits": "3",
        "org": {"tier": "gold", "flags": {"beta": false}}, "https://a.test/role": "admin", "a.b": "dotted"}"#;

    fn place(path: &str) -> ClaimPath {
        ClaimPath::new(path.split('>')).unwrap()
    }

    #[track_caller]
    fn check(path: &str, test: ClaimTest, expected: bool) {
        let claims = Object::parse(CLAIMS.as_bytes()).unwrap();
        assert_eq!(test.is_met_by(&find(&claims, &place(path))), expected, "{path} {test:?}");
    }

    fn texts(texts: &[&str]) -> Box<[Literal]> {
        texts.iter().map(|text| Literal::Text((*text).into())).collect()
    }

    fn one(literal: Literal) -> Box<[Literal]> {
        Box::new([literal])
    }

    #[test]
    fn a_value_is_equal_in_kind_and_content() {
        use ClaimTest::{Contains, Is, IsOrContains};
        let (yes, three) = (|| one(Literal::Boolean(true)), || one(Literal::Number(3)));
        for (path, literals, is, contains) in [
            ("verified", yes(), true, false),
            ("text", yes(), false, false),
            ("text", texts(&["true"]), true, false),
            ("verified", texts(&["true"]), false, false),
            ("level", three(), true, false),
            ("point", three(), true, false),
            ("digits", three(), false, false),
            ("level", texts(&["3"]), false, false),
            ("large", one(Literal::Number(9_007_199_254_740_992)), false, false),
            ("plan", texts(&["team", "pro"]), true, false),
            ("plan", texts(&["Pro", "pro ", "pr", ""]), false, false),
            ("groups", texts(&["ops"]), false, true),
            ("groups", texts(&["dev", "ops"]), false, true),
            ("groups", one(Literal::Number(7)), false, true),
            ("groups", yes(), false, true),
            ("groups", texts(&["7", "inner", "null", "op"]), false, false),
            ("empty", texts(&["ops"]), false, false),
            ("org>tier", texts(&["gold"]), true, false),
            ("org>flags>beta", one(Literal::Boolean(false)), true, false),
            ("org", texts(&["tier", "gold"]), false, false),
            ("plan>tier", texts(&["gold"]), false, false),
            ("nothing", yes(), false, false),
            ("absent", yes(), false, false),
            ("https://a.test/role", texts(&["admin"]), true, false),
            ("a.b", texts(&["dotted"]), true, false),
            ("a>b", texts(&["dotted"]), false, false),
        ] {
            check(path, Is(literals.clone()), is);
            check(path, Contains(literals.clone()), contains);
            check(path, IsOrContains(literals), is || contains);
        }
    }

    #[test]
    fn what_is_there_is_there_and_what_cannot_be_reached_is_neither() {
        for (path, there, absent) in [
            ("plan", true, false),
            ("empty", true, false),
            ("org>flags", true, false),
            ("nothing", false, true),
            ("nothing>below", false, true),
            ("absent", false, true),
            ("absent>below", false, true),
            ("org>absent", false, true),
            ("plan>below", false, false),
            ("groups>0", false, false),
        ] {
            check(path, ClaimTest::Exists(true), there);
            check(path, ClaimTest::Exists(false), absent);
        }
    }

    #[test]
    fn only_strings_begin_and_end() {
        for (path, text, begins, ends) in [
            ("plan", "pr", true, false),
            ("plan", "pro", true, true),
            ("plan", "ro", false, true),
            ("plan", "prod", false, false),
            ("plan", "P", false, false),
            ("level", "3", false, false),
            ("groups", "ops", false, false),
            ("absent", "a", false, false),
        ] {
            check(path, ClaimTest::Prefix(text.into()), begins);
            check(path, ClaimTest::Suffix(text.into()), ends);
        }
    }

    #[test]
    fn each_condition_has_its_own_bit_however_many_there_are() {
        let mut conditions = Conditions::default();
        let claim = |name: &str| Condition::Claim { place: place(name), test: ClaimTest::Exists(true) };
        let clauses: Vec<Clause> = (0..200).map(|number| conditions.clause(claim(&format!("c{number}")))).collect();
        let again = conditions.clause(claim("c199"));
        assert_eq!(Some(&again), clauses.last());
        let issuer = crate::gate::issuer::Issuer::plain("main", "https://a.test");
        for number in [0, 1, 63, 64, 127, 128, 199] {
            let text = format!("{{\"c{number}\": 1}}");
            let met = conditions.met_by(&Object::parse(text.as_bytes()).unwrap(), &issuer);
            for (other, clause) in clauses.iter().enumerate() {
                assert_eq!(met.meets(clause), other == number, "{number} {other}");
            }
        }
        assert!(!ConditionsMet::default().meets(&again));
        assert_eq!(conditions.met_by(&Object::default(), &issuer).bytes(), 32);
        assert_eq!(Conditions::default().met_by(&Object::default(), &issuer).bytes(), 0);
    }
}

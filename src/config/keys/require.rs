//! The key table: what an identity must have, on routes and for issuers.
use crate::config::keys::issuer::CLAIM_PATH;
use crate::config::keys::top::{DAY, SOME_TEXTS, seconds};
use crate::config::keys::{Key, Shape};

/// `require`.
pub const KEYS: &[Key] = &[
    Key::optional("scopes", REQUIRED_NAMES, "scopes, each of them, or {any: […]}"),
    Key::optional("roles", REQUIRED_NAMES, "roles, each of them, or {any: […]}"),
    Key::optional(
        "claims",
        Shape::Either(&[
            Shape::Named(&Shape::Either(&[Shape::Text, Shape::Boolean, NUMBER, SOME_LITERALS])),
            Shape::List { of: &Shape::Mapping(CLAIM), least: 1 },
        ]),
        "claim to the value that it is or, as a list, contains; a list of values: one of these; or a list of \
         conditions in their long form",
    ),
    Key::optional("audience", Shape::Text, "an audience that the token must name, besides one of its issuer's"),
    Key::optional(
        "principal",
        Shape::Choice(&["user", "client"]),
        "client: the token is a client's own (its subject is its client); user: it is not",
    ),
    Key::optional("acr", SOME_TEXTS, "accepted values of the claim `acr`: how the user authenticated"),
    Key::optional(
        "max_age",
        seconds(1, 365 * DAY),
        "longest time since the user authenticated (the claim `auth_time`)",
    ),
];

const REQUIRED_NAMES: Shape = Shape::Either(&[SOME_TEXTS, Shape::Mapping(ANY)]);
const NUMBER: Shape = Shape::Whole { least: 0, most: u64::MAX };
const LITERAL: Shape = Shape::Either(&[Shape::Text, Shape::Boolean, NUMBER]);
const SOME_LITERALS: Shape = Shape::List { of: &LITERAL, least: 1 };

/// `require.scopes` and `roles` in their long form.
pub const ANY: &[Key] = &[Key::required("any", SOME_TEXTS, "one of these is enough")];

/// `require.claims[]`: the claim and one condition.
pub const CLAIM: &[Key] = &[
    Key::required("claim", CLAIM_PATH, "a claim, or a list of names for a nested one"),
    Key::optional("equals", LITERAL, "it is this value"),
    Key::optional("in", SOME_LITERALS, "it is one of these values"),
    Key::optional("contains", LITERAL, "it is a list that holds this value"),
    Key::optional("contains_any", SOME_LITERALS, "it is a list that holds one of these values"),
    Key::optional("exists", Shape::Boolean, "it is there; false: it is not"),
    Key::optional("prefix", Shape::Text, "it is a string that begins so"),
    Key::optional("suffix", Shape::Text, "it is a string that ends so"),
];

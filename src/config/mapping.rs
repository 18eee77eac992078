//! Reading mappings: which keys may be there, which must, and what to say about the others. The keys themselves come
//! from whoever reads.
use crate::config::error::{ConfigError, Problems};
use crate::config::field::{Field, one_of};
use crate::config::suggest::closest;
use crate::config::tree::Value;

/// Up to this many keys are listed when an unknown one is found.
const LISTED_KEYS_MAX: usize = 8;

/// The keys that a mapping may have.
#[derive(Clone, Copy, Debug)]
pub struct AllowedKeys<'k> {
    /// Keys that are read.
    pub supported: &'k [&'k str],
    /// Whether keys that start with `x-` are left alone; they hold anchors.
    pub extensions: bool,
}

/// The members of a mapping whose keys are known.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    field: Field<'a>,
    members: Vec<Field<'a>>,
}

impl<'a> Field<'a> {
    /// A mapping of known keys. Unknown keys are reported and left out.
    pub fn mapping(&self, allowed: AllowedKeys<'_>, problems: &mut Problems) -> Option<Fields<'a>> {
        let mut members = self.entries(problems)?;
        members.retain(|member| {
            let name = member.name();
            if allowed.supported.contains(&name) {
                return true;
            }
            if !(allowed.extensions && name.starts_with("x-")) {
                problems.add(refusal(member, allowed));
            }
            false
        });
        Some(Fields { field: self.clone(), members })
    }

    /// A mapping of names that the user chooses: each value with its key.
    pub fn entries(&self, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        match &self.node().value {
            Value::Mapping(entries) => {
                Some(entries.iter().map(|entry| self.member(&entry.key, &entry.value)).collect())
            }
            Value::Scalar(_) | Value::Sequence(_) => {
                problems.add(self.mismatch("a mapping"));
                None
            }
        }
    }
}

fn refusal(member: &Field<'_>, allowed: AllowedKeys<'_>) -> ConfigError {
    let name = member.name();
    let meant = closest(name, allowed.supported.iter().copied()).map(|key| format!("did you mean `{key}`?"));
    let listed = (1..=LISTED_KEYS_MAX).contains(&allowed.supported.len()).then(|| {
        let keys: Vec<String> = allowed.supported.iter().map(|key| format!("`{key}`")).collect();
        format!("known here: {}", keys.join(", "))
    });
    let hint = [meant, listed].into_iter().flatten().collect::<Vec<String>>().join(" ");
    let problem = member.key_error(format!("unknown key `{name}`"));
    if hint.is_empty() { problem } else { problem.with_hint(hint) }
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    pub fn field(&self) -> &Field<'a> {
        &self.field
    }

    /// The value of a key, if the key is there. `key` must be among the supported ones.
    pub fn optional(&self, key: &str) -> Option<Field<'a>> {
        self.members.iter().find(|member| member.name() == key).cloned()
    }

    /// The value of a key that must be there.
    pub fn required(&self, key: &str, problems: &mut Problems) -> Option<Field<'a>> {
        let found = self.optional(key);
        if found.is_none() {
            let path = self.field.path().key(key);
            problems.add(ConfigError::error(self.field.key_position(), &path, format!("`{key}` is missing")));
        }
        found
    }

    /// The value of the one key that is there of several that exclude each other; none and several are errors.
    pub fn exactly_one_of(&self, keys: &[&str], problems: &mut Problems) -> Option<Field<'a>> {
        let mut given = self.members.iter().filter(|member| keys.contains(&member.name()));
        let Some(first) = given.next() else {
            problems.add(self.field.key_error(format!("{} is missing", one_of(keys))));
            return None;
        };
        for other in given {
            let problem = other.key_error(format!("`{}` cannot stand beside `{}`", other.name(), first.name()));
            problems.add(problem.with_hint(format!("exactly one of {}", one_of(keys))));
        }
        Some(first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::parse;

    const ALLOWED: AllowedKeys<'_> =
        AllowedKeys { supported: &["issuer", "algorithms", "jwks_url", "jwks_file", "secret_file"], extensions: false };

    #[test]
    fn every_key_that_does_not_belong_is_reported_with_what_would_be_right() {
        let mut problems = Problems::new();
        let text = b"x-a: 1\nmain:\n  algoritms: [RS256]\n  x-b: 1\n  Issuer: a\n  issuer: b\n";
        let node = parse("a.yaml", text, &mut problems).expect("valid YAML");
        let top = AllowedKeys { supported: &["main"], extensions: true };
        let main = Field::root(&node).mapping(top, &mut problems).and_then(|top| top.required("main", &mut problems));
        let main = main.and_then(|main| main.mapping(ALLOWED, &mut problems)).expect("a mapping");
        assert_eq!(main.optional("issuer").and_then(|field| field.string(&mut problems)), Some("b"));
        assert!(main.optional("algorithms").is_none());
        assert!(main.required("secret_file", &mut problems).is_none());
        insta::assert_snapshot!(problems.render(), @r"
        a.yaml:2:1: `secret_file` is missing
          2 | main:
            | ^^^^
            = key: main.secret_file

        a.yaml:3:3: unknown key `algoritms`
          3 |   algoritms: [RS256]
            |   ^^^^^^^^^
            = key: main.algoritms
            = hint: did you mean `algorithms`? known here: `issuer`, `algorithms`, `jwks_url`, `jwks_file`, `secret_file`

        a.yaml:4:3: unknown key `x-b`
          4 |   x-b: 1
            |   ^^^
            = key: main.x-b
            = hint: known here: `issuer`, `algorithms`, `jwks_url`, `jwks_file`, `secret_file`

        a.yaml:5:3: unknown key `Issuer`
          5 |   Issuer: a
            |   ^^^^^^
            = key: main.Issuer
            = hint: did you mean `issuer`? known here: `issuer`, `algorithms`, `jwks_url`, `jwks_file`, `secret_file`
        ");
    }

    #[test]
    fn of_keys_that_exclude_each_other_exactly_one_must_be_there() {
        let sources = ["jwks_url", "jwks_file", "secret_file"];
        let rows: [(&str, &[&str]); 3] = [
            ("{issuer: x}", &["`jwks_url`, `jwks_file` or `secret_file` is missing"]),
            ("{issuer: x, jwks_file: a}", &[]),
            (
                "{jwks_file: a, jwks_url: b, secret_file: c}",
                &["`jwks_url` cannot stand beside `jwks_file`", "`secret_file` cannot stand beside `jwks_file`"],
            ),
        ];
        for (text, expected) in rows {
            let mut problems = Problems::new();
            let node = parse("a.yaml", text.as_bytes(), &mut problems).expect("valid YAML");
            let fields = Field::root(&node).mapping(ALLOWED, &mut problems).expect("a mapping");
            let found = fields.exactly_one_of(&sources, &mut problems);
            assert_eq!(found.map(|field| field.name()), text.contains("jwks_file").then_some("jwks_file"));
            let messages: Vec<&str> = problems.sorted().iter().map(|problem| problem.message.as_str()).collect();
            assert_eq!(messages, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_mapping_is_said_to_be_none() {
        for (text, message) in [
            ("a: [1]", "`a` must be a mapping, not a list"),
            ("a: x", "`a` must be a mapping, not `x`"),
            ("a:", "`a` must be a mapping, but has no value"),
        ] {
            let mut problems = Problems::new();
            let node = parse("a.yaml", text.as_bytes(), &mut problems).expect("valid YAML");
            let fields = Field::root(&node).entries(&mut problems).expect("a mapping");
            assert!(fields[0].mapping(ALLOWED, &mut problems).is_none());
            assert_eq!(problems.sorted()[0].message, message);
        }
        let mut problems = Problems::new();
        let node = parse("a.yaml", b"[1]", &mut problems).expect("valid YAML");
        assert!(Field::root(&node).mapping(ALLOWED, &mut problems).is_none());
        assert_eq!(problems.sorted()[0].message, "the document must be a mapping, not a list");
    }
}

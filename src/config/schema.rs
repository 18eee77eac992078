//! The JSON Schema (2020-12) of the configuration, made of the key table: for editors and for checks before a start.
//! It is as strict as a schema can be; parsing is stricter still, and knows files and references.
use serde_json::{Map, Value, json};

use crate::config::keys::{Key, Presence, Shape, top};
use crate::config::quantity::{duration_text, size_text};

/// A duration as `quantity` reads it.
const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
/// A size as `quantity` reads it.
const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB|KB|MB|GB)$";

/// The schema of the whole document.
pub fn schema() -> Value {
    let mut schema = mapping(top::KEYS);
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "portcullis configuration".into());
    schema.insert(
        "patternProperties".to_owned(),
        json!({"^x-": {"description": "left alone: a place for YAML anchors"}}),
    );
    schema.insert(
        "$defs".to_owned(),
        json!({
            "variable": {"description": "a value with ${NAME}", "type": "string", "pattern": "\\$\\{"},
            "none": {"description": "absence", "enum": ["none", "off", "false", false]},
        }),
    );
    Value::Object(schema)
}

fn mapping(keys: &'static [Key]) -> Map<String, Value> {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> =
        keys.iter().filter(|key| key.presence == Presence::Required).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

fn property(key: &'static Key) -> Value {
    let mut schema = of_shape(&key.shape);
    if let Some(schema) = schema.as_object_mut() {
        let bounds = bounds(&key.shape).map(|bounds| format!("; {bounds}")).unwrap_or_default();
        let fate = key.deprecation.map(|deprecation| format!(" ({})", deprecation.sentence())).unwrap_or_default();
        schema.insert("description".to_owned(), format!("{}{bounds}{fate}", key.about).into());
        if key.deprecation.is_some() {
            schema.insert("deprecated".to_owned(), true.into());
        }
        if key.default.is_some() {
            schema.insert("default".to_owned(), key.default_json());
        }
    }
    schema
}

fn of_shape(shape: &'static Shape) -> Value {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Pattern(pattern) => or_variable(json!({"type": "string", "pattern": pattern})),
        Shape::Boolean => or_variable(json!({"type": "boolean"})),
        Shape::Choice(words) => or_variable(json!({"enum": spellings(words)})),
        Shape::Whole { least, most } => or_variable(json!({"type": "integer", "minimum": least, "maximum": most})),
        Shape::Duration { .. } => or_variable(json!({"type": "string", "pattern": DURATION, "minLength": 2})),
        Shape::Size { .. } => or_variable(json!({"type": "string", "pattern": SIZE})),
        Shape::OrNone(of) => json!({"anyOf": [of_shape(of), {"$ref": "#/$defs/none"}]}),
        Shape::List { of, least } => json!({"type": "array", "items": of_shape(of), "minItems": least}),
        Shape::Mapping(keys) => Value::Object(mapping(keys)),
        Shape::OneOf(keys) => {
            let mut schema = mapping(keys);
            schema.insert("minProperties".to_owned(), 1.into());
            schema.insert("maxProperties".to_owned(), 1.into());
            Value::Object(schema)
        }
        Shape::Named(of) => json!({"type": "object", "additionalProperties": of_shape(of)}),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(of_shape).collect::<Vec<Value>>()}),
    }
}

fn or_variable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"$ref": "#/$defs/variable"}]})
}

/// The words, and what else is read as one of them.
fn spellings(words: &[&str]) -> Vec<Value> {
    let mut spellings: Vec<Value> = words.iter().map(|word| Value::from(*word)).collect();
    if words.contains(&"off") || words.contains(&"none") {
        spellings.extend(["off", "none"].into_iter().filter(|word| !words.contains(word)).map(Value::from));
        spellings.push(false.into());
    }
    spellings
}

/// Bounds in the units in which they are written.
fn bounds(shape: &Shape) -> Option<String> {
    match shape {
        Shape::Duration { least, most } => Some(format!("from {} to {}", duration_text(*least), duration_text(*most))),
        Shape::Size { least, most } => Some(format!("from {} to {}", size_text(*least), size_text(*most))),
        Shape::Whole { least, most } => Some(format!("from {least} to {most}")),
        Shape::OrNone(of) => bounds(of).map(|bounds| format!("{bounds}, or none")),
        Shape::Text
        | Shape::Pattern(_)
        | Shape::Boolean
        | Shape::Choice(_)
        | Shape::List { .. }
        | Shape::Mapping(_)
        | Shape::OneOf(_)
        | Shape::Named(_)
        | Shape::Either(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Problems;
    use crate::config::keys::Deprecation;
    use crate::config::tree::Reading;
    use crate::config::yaml;

    /// The sample configuration, as it is shipped.
    const SAMPLE: &str = include_str!("../../conf/portcullis.yaml");

    /// Whether `value` fits `schema`: the keywords that are used, but for `pattern`, of which only that it is there.
    fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
        let Some(schema) = schema.as_object() else { return schema.as_bool().unwrap() };
        schema.iter().all(|(keyword, wanted)| match keyword.as_str() {
            "$ref" => fits(root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap(), value, root),
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64() || value.is_i64(),
                other => panic!("{other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "anyOf" => wanted.as_array().unwrap().iter().any(|schema| fits(schema, value, root)),
            "minimum" => value.as_u64().is_none_or(|number| number >= wanted.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|number| number <= wanted.as_u64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= wanted.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|keys| keys.len() as u64 >= wanted.as_u64().unwrap()),
            "maxProperties" => value.as_object().is_none_or(|keys| keys.len() as u64 <= wanted.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(wanted, item, root))),
            "required" => value.as_object().is_none_or(|keys| {
                wanted.as_array().unwrap().iter().all(|name| keys.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|keys| {
                let known = wanted.as_object().unwrap();
                keys.iter().all(|(name, value)| known.get(name).is_none_or(|schema| fits(schema, value, root)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|keys| {
                let is_known = |name: &String| {
                    schema.get("properties").is_some_and(|known| known.get(name).is_some())
                        || schema.contains_key("patternProperties") && name.starts_with("x-")
                };
                keys.iter().filter(|(name, _)| !is_known(name)).all(|(_, value)| fits(wanted, value, root))
            }),
            // A pattern of `variable` must not make every text fit.
            "pattern" => value.as_str().is_none_or(|text| wanted != "\\$\\{" || text.contains("${")),
            "$schema" | "$defs" | "title" | "description" | "default" | "patternProperties" => true,
            other => panic!("{other} is not understood here"),
        })
    }

    fn accepts(text: &str) -> bool {
        let mut problems = Problems::new();
        let value = yaml::parse("a.yaml", text.as_bytes(), &mut problems).unwrap().to_json(Reading::Written);
        assert!(problems.is_empty(), "{}", problems.render());
        fits(&schema(), &value, &schema())
    }

    #[test]
    fn the_schema_accepts_the_sample_configuration() {
        assert!(accepts(SAMPLE));
    }

    #[test]
    fn the_schema_is_strict() {
        let base = "listeners: [{address: '127.0.0.1:80'}]\nroutes: [{path: /, respond: {status: 200}, auth: none}]\n";
        assert!(accepts(base));
        for more in [
            "x-anchors: {any: thing}",
            "server: {threads: 4}",
            "server: {threads: '${THREADS}'}",
            "limits: {body_bytes: none}",
            "limits: {body_bytes: false}",
            "log: {access: off}",
            "log: {access: false}",
            "token: {sources: [{cookie: a, insecure_cookie_name: true}]}",
            "token: {sources: [{websocket_protocol: bearer}]}",
            "admin: {address: off}",
            "identity: {headers: {X-A: a, X-B: [a, b], X-C: {from: subject}, X-D: {claim: [a, b], required: true}}}",
        ] {
            assert!(accepts(&format!("{base}{more}\n")), "{more}");
        }
        for more in [
            "sevrer: {}",
            "server: {treads: 4}",
            "server: {threads: four}",
            "server: {threads: 4000}",
            "server: {upgrade_socket: 5}",
            "log: {access: xml}",
            "token: {sources: []}",
            "token: {sources: [{cooky: a}]}",
            "upstreams: {a: {}}",
            "upstreams: {a: {servers: []}}",
            "issuers: {a: {issuer: b}}",
            "revocation: {file: 5}",
            "revocation: {files: a}",
        ] {
            assert!(!accepts(&format!("{base}{more}\n")), "{more}");
        }
        assert!(!accepts("routes: []\n"));
    }

    #[test]
    fn descriptions_name_bounds_and_defaults() {
        let schema = schema();
        let leeway = schema.pointer("/properties/issuers/additionalProperties/properties/leeway").unwrap();
        assert_eq!(leeway["default"], "30s");
        assert_eq!(leeway["description"], "how far the clocks of issuer and gateway may differ; from 0s to 5m");
    }

    #[test]
    fn a_key_that_is_to_go_says_so_to_editors() {
        let stays = Key::optional("a", Shape::Text, "stays");
        let goes = Key::optional("b", Shape::Text, "goes").deprecated(Deprecation {
            since: "1.4",
            gone_in: "2.0",
            instead: "`a`",
        });
        let keys: &'static [Key] = Box::leak(Box::new([stays, goes]));
        let schema = Value::Object(mapping(keys));
        assert_eq!(schema.pointer("/properties/a/deprecated"), None);
        assert_eq!(schema.pointer("/properties/b/deprecated"), Some(&json!(true)));
        let told = "goes (deprecated since 1.4 and gone in 2.0; instead: `a`)";
        assert_eq!(schema.pointer("/properties/b/description"), Some(&json!(told)));
    }
}

//! `require`, of routes, of issuers and on trial: what an identity must have.
use crate::config::error::ConfigError;
use crate::config::field::Field;
use crate::config::keys::require::{ANY, CLAIM, KEYS};
use crate::config::parse::context::Context;
use crate::config::parse::issuers::claim_path;
use crate::config::parse::section::{Section, refuse_empty};
use crate::config::scalar::ScalarKind;
use crate::config::tree::Value;
use crate::gate::condition::{ClaimTest, Condition, Literal};
use crate::gate::issuer::ClaimPath;
use crate::gate::policy::{Names, Principal, Requirement, StepUp};

/// Where the mapping of a claim's short form has its own name for a claim.
const LONG_FORM: &str = "`claims: [{claim: NAME, …: …}]`, with a list of names for a nested claim";

/// Reads `require` of a section; nothing is required where it is absent.
pub(in crate::config) fn read(section: &Section<'_>, context: &mut Context<'_>) -> Requirement {
    let Some(field) = section.optional("require") else { return Requirement::default() };
    let section = Section::read_optional(Some(field.clone()), KEYS, &mut context.problems);
    if matches!(&field.node().value, Value::Mapping(entries) if entries.is_empty()) {
        context.problems.add(field.error("`require` must not be empty"));
    }
    let scopes = section.optional("scopes").and_then(|field| names(&field, context));
    let roles = section.optional("roles").and_then(|field| names(&field, context));
    for (field, text) in scopes.iter().flat_map(|(_, texts)| texts) {
        // RFC 6749 §3.3: what else could never be a scope, and could not be said in a challenge.
        check_token(field, text, "scope", context);
    }
    let names = |found: Option<(bool, Vec<(Field<'_>, &str)>)>| {
        found.map(|(is_any, texts)| {
            let names = texts.into_iter().map(|(_, text)| Box::from(text)).collect();
            if is_any { Names::Any(names) } else { Names::All(names) }
        })
    };
    let audience = section.optional("audience").and_then(|field| field.string(&mut context.problems));
    let claims = section.optional("claims").map(|field| claims(&field, context)).unwrap_or_default();
    let principals = [("user", Principal::User), ("client", Principal::Client)];
    let principal = section.optional("principal").and_then(|field| field.choice(&principals, &mut context.problems));
    let step_up = step_up(&section, context);
    Requirement {
        audience: audience.map(|audience| context.conditions.clause(Condition::Audience(audience.into()))),
        principal,
        scopes: names(scopes),
        roles: names(roles),
        claims: claims.into_iter().map(|condition| context.conditions.clause(condition)).collect(),
        step_up,
    }
}

/// A list of which each is needed, or `{any: […]}`; says whether it is the latter.
fn names<'a>(field: &Field<'a>, context: &mut Context<'_>) -> Option<(bool, Vec<(Field<'a>, &'a str)>)> {
    if let Value::Mapping(_) = field.node().value {
        let section = Section::read(field, ANY, &mut context.problems)?;
        section.required("any", &mut context.problems)?;
        return Some((true, section.texts("any", &mut context.problems)?));
    }
    refuse_empty(field, &mut context.problems);
    Some((false, field.strings(&mut context.problems)?))
}

/// A word of a list that is separated by spaces and stands between quotes.
fn check_token(field: &Field<'_>, text: &str, what: &str, context: &mut Context<'_>) {
    if text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
        return;
    }
    let problem = field.error(format!("{} is no {what}: visible ASCII without spaces, `\"` and `\\`", field.found()));
    let several = text.contains(' ') && !field.is_from_variable();
    context.problems.add(if several {
        problem.with_hint(format!("write a list: one {what} an element"))
    } else {
        problem
    });
}

fn step_up(section: &Section<'_>, context: &mut Context<'_>) -> Option<StepUp> {
    let values = section.texts("acr", &mut context.problems);
    for (field, text) in values.iter().flatten() {
        check_token(field, text, "acr value", context);
    }
    let max_age = section.duration_or_none("max_age", &mut context.problems);
    if let (Some(max_age), Some(field)) = (max_age, section.optional("max_age"))
        && max_age.subsec_nanos() != 0
    {
        context.problems.add(field.error("`max_age` must be whole seconds"));
    }
    let values: Vec<&str> = values.into_iter().flatten().map(|(_, text)| text).collect();
    if values.is_empty() && max_age.is_none() {
        return None;
    }
    let acr = (!values.is_empty()).then(|| Condition::Claim {
        place: ClaimPath::top("acr"),
        test: ClaimTest::Is(values.iter().map(|value| Literal::Text((*value).into())).collect()),
    });
    Some(StepUp {
        acr: acr.map(|condition| context.conditions.clause(condition)),
        acr_values: values.join(" ").into(),
        max_age,
    })
}

/// `{claim: value}` and `{claim: [values]}`, or a list of claims in their long form.
fn claims(field: &Field<'_>, context: &mut Context<'_>) -> Vec<Condition> {
    let conditions: Vec<Option<Condition>> = match &field.node().value {
        Value::Mapping(_) => {
            let entries = field.entries(&mut context.problems).unwrap_or_default();
            if entries.is_empty() {
                context.problems.add(field.error("`claims` must not be empty"));
            }
            entries.iter().map(|entry| short(entry, context)).collect()
        }
        Value::Sequence(_) => {
            refuse_empty(field, &mut context.problems);
            let elements = field.list(&mut context.problems).unwrap_or_default();
            elements.iter().map(|element| long(element, context)).collect()
        }
        Value::Scalar(_) => {
            let problem = field.mismatch("a mapping of claims to their values");
            context
                .problems
                .add(problem.with_hint(format!("as in `claims: {{email_verified: true}}`; or {LONG_FORM}")));
            Vec::new()
        }
    };
    conditions.into_iter().flatten().collect()
}

fn short(entry: &Field<'_>, context: &mut Context<'_>) -> Option<Condition> {
    if let Value::Mapping(_) = entry.node().value {
        let problem = entry.mismatch("a value, or a list of values of which one is enough");
        context.problems.add(problem.with_hint(format!("the long form is {LONG_FORM}")));
        return None;
    }
    if entry.name().is_empty() {
        context.problems.add(entry.key_error("the name of a claim must not be empty"));
        return None;
    }
    let values = literals(entry, context)?;
    Some(Condition::Claim { place: ClaimPath::top(entry.name()), test: ClaimTest::IsOrContains(values) })
}

fn long(element: &Field<'_>, context: &mut Context<'_>) -> Option<Condition> {
    let section = Section::read(element, CLAIM, &mut context.problems)?;
    section.required("claim", &mut context.problems);
    let place = claim_path(&section, "claim", context);
    let tests = ["equals", "in", "contains", "contains_any", "exists", "prefix", "suffix"];
    let field = section.exactly_one_of(&tests, &mut context.problems)?;
    let one = |context: &mut Context<'_>| literal(&field, context).map(|literal| Box::from([literal]));
    let text = |context: &mut Context<'_>| field.string(&mut context.problems).map(Box::from);
    let test = match field.name() {
        "equals" => ClaimTest::Is(one(context)?),
        "in" => ClaimTest::Is(list_of_literals(&field, context)?),
        "contains" => ClaimTest::Contains(one(context)?),
        "contains_any" => ClaimTest::Contains(list_of_literals(&field, context)?),
        "exists" => ClaimTest::Exists(field.boolean(&mut context.problems)?),
        "prefix" => ClaimTest::Prefix(text(context)?),
        _ => ClaimTest::Suffix(text(context)?),
    };
    Some(Condition::Claim { place: place?, test })
}

/// A value, or a list of several.
fn literals(field: &Field<'_>, context: &mut Context<'_>) -> Option<Box<[Literal]>> {
    match &field.node().value {
        Value::Sequence(_) => list_of_literals(field, context),
        Value::Scalar(_) | Value::Mapping(_) => literal(field, context).map(|literal| Box::from([literal])),
    }
}

fn list_of_literals(field: &Field<'_>, context: &mut Context<'_>) -> Option<Box<[Literal]>> {
    refuse_empty(field, &mut context.problems);
    let elements = field.list(&mut context.problems)?;
    elements.iter().map(|element| literal(element, context)).collect()
}

/// A text, `true` or `false`, or a whole number: what a claim can be equal to without doubt.
fn literal(field: &Field<'_>, context: &mut Context<'_>) -> Option<Literal> {
    const EXPECTED: &str = "a string, `true`, `false` or a whole number";
    let Some(scalar) = field.node().scalar() else {
        context.problems.add(field.mismatch(EXPECTED));
        return None;
    };
    let problem: ConfigError = match scalar.kind() {
        ScalarKind::Boolean(value) => return Some(Literal::Boolean(value)),
        ScalarKind::String => return field.string(&mut context.problems).map(|text| Literal::Text(text.into())),
        ScalarKind::Integer(number) => match u64::try_from(number) {
            Ok(number) => return Some(Literal::Number(number)),
            Err(_) => field.mismatch(&format!("{EXPECTED} from 0 to {}", u64::MAX)),
        },
        ScalarKind::Float(_) => field.mismatch(EXPECTED),
        ScalarKind::Null => field
            .mismatch(EXPECTED)
            .with_hint("that a claim must not be there is `claims: [{claim: NAME, exists: false}]`"),
    };
    context.problems.add(problem);
    None
}

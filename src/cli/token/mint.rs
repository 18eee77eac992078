//! `portcullis token mint`: signs a token with a local key, for tests. It makes what it is asked to, good or bad, and
//! writes nothing but the token.
use std::{io::Write, path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgGroup, Args, ValueHint};
use serde_json::{Map, Value};

use crate::{
    cli::{
        CommandError, ExitStatus, input, moment,
        token::{
            algorithm_parser,
            claims::{self, Claim},
            signing_key::SigningKey,
        },
    },
    config::quantity,
    gate::{algorithm::Algorithm, time::UnixTime},
};

const EXAMPLES: &str = "\
Examples:
  portcullis token mint --key key.pem --issuer https://auth.example.com/ \\
      --audience https://api.example.com --subject alice --scope orders:read
  portcullis token mint --key key.json --claims-file claims.yaml
  portcullis token mint --secret-file hmac.key --subject alice \\
      --claim 'realm_access.roles=[\"admin\"]' --claim email_verified=true
  portcullis token mint --key key.pem --at 2020-01-01T00:00:00Z     expired
  portcullis token mint --key key.pem --claim sub=null --lifetime none  bad

  curl -H \"Authorization: Bearer $(portcullis token mint --key key.pem ...)\" ...

--claim goes over the other options, these go over the file. A value that is
JSON is taken as JSON, anything else as text: --claim id=7 is a number,
--claim 'id=\"7\"' a text. Dots nest: a.b=1 is b in a, unless the name is a URI;
`\\.` is a dot of the name.";

/// Time from `iat` to `exp` unless another is asked for.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);

/// Signs a token with a local private key, for tests, and prints it
#[derive(Args)]
#[command(
    after_help = EXAMPLES,
    group(ArgGroup::new("signing_key").required(true).args(["key", "secret_file"]))
)]
pub struct MintArguments {
    /// Private key: PEM (PKCS #8, PKCS #1, SEC1), JWK (RSA, EC, OKP, oct), or a JWK set with --kid; `-` reads standard
    /// input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// Shared secret for HS256, HS384 or HS512; one final newline is not part of it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// Algorithm of the signature; needed only where several fit the key (RSA, long secrets)
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm_parser())]
    algorithm: Option<Algorithm>,
    /// Names the key in the token's header [default: that of the JWK, else none]
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
    /// Type of the token in its header, such as at+jwt or JWT; `none` leaves it out
    #[arg(long = "type", value_name = "TYPE", default_value = "at+jwt")]
    token_type: String,
    /// Claim iss
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Claim aud; several times for an array
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// Claim sub
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Claim scope; several scopes are separated by spaces, or the option is repeated
    #[arg(long, value_name = "SCOPES")]
    scope: Vec<String>,
    /// Claim roles, an array; once for each role
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Any claim, JSON or text
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<Claim>,
    /// More claims: a YAML or JSON file with a mapping
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    claims_file: Option<PathBuf>,
    /// Time from iat to exp; `none` leaves both out [default: 5m, unless the file has them]
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<Lifetime>,
    /// Claim nbf: a time in RFC 3339, or a duration after iat
    #[arg(long, value_name = "TIME")]
    not_before: Option<NotBefore>,
    /// When the token is issued, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<UnixTime>,
}

/// How long a token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Limited(Duration),
    /// Without `iat` and `exp`.
    Unstated,
}

impl FromStr for Lifetime {
    type Err = quantity::QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::Unstated) } else { quantity::parse_duration(text).map(Self::Limited) }
    }
}

/// When a token begins to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotBefore {
    Time(UnixTime),
    After(Duration),
}

impl FromStr for NotBefore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (moment::parse(text), quantity::parse_duration(text)) {
            (Ok(time), _) => Ok(Self::Time(time)),
            (Err(_), Ok(distance)) => Ok(Self::After(distance)),
            (Err(time), Err(_)) => Err(format!("{time}, nor a duration such as 10s")),
        }
    }
}

/// Makes the token and writes it.
///
/// # Errors
/// [`CommandError::Failed`] where the key or a claim cannot be used, with the file and the reason.
pub fn run(arguments: &MintArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let key = signing_key(arguments)?;
    let algorithm = key.choose(arguments.algorithm).map_err(|error| match &arguments.key {
        Some(path) => CommandError::Failed(format!("{}: {error}", path.display())),
        None => CommandError::failed(error),
    })?;
    let claims = claims(arguments, arguments.at.unwrap_or_else(moment::now))?;
    let mut header = Map::new();
    if arguments.token_type != "none" {
        header.insert("typ".to_owned(), arguments.token_type.as_str().into());
    }
    if let Some(kid) = arguments.kid.as_deref().or(key.kid()) {
        header.insert("kid".to_owned(), kid.into());
    }
    let token = key.token(algorithm, header, &claims).map_err(CommandError::failed)?;
    writeln!(output, "{token}")?;
    Ok(ExitStatus::Ok)
}

fn signing_key(arguments: &MintArguments) -> Result<SigningKey, CommandError> {
    if let Some(path) = &arguments.key {
        let key = SigningKey::parse(&input::read(path)?, arguments.kid.as_deref());
        return key.map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())));
    }
    let Some(path) = &arguments.secret_file else {
        return Err(CommandError::Usage("one of --key and --secret-file is needed".to_owned()));
    };
    let mut secret = input::read(path)?;
    if secret.ends_with(b"\n") {
        secret.pop();
        if secret.ends_with(b"\r") {
            secret.pop();
        }
    }
    Ok(SigningKey::from_secret(secret))
}

fn claims(arguments: &MintArguments, at: UnixTime) -> Result<Map<String, Value>, CommandError> {
    let mut claims = match &arguments.claims_file {
        None => Map::new(),
        Some(path) => {
            let failed = |error: &dyn std::fmt::Display| CommandError::Failed(format!("{}: {error}", path.display()));
            let content = input::read(path)?;
            let text = std::str::from_utf8(&content).map_err(|_| failed(&"it is not UTF-8 text"))?;
            claims::parse_file(text).map_err(|error| failed(&error))?
        }
    };
    put_times(&mut claims, arguments, at);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    };
    put("iss", arguments.issuer.clone().map(Value::String));
    put("sub", arguments.subject.clone().map(Value::String));
    put(
        "aud",
        match arguments.audience.as_slice() {
            [] => None,
            [only] => Some(only.clone().into()),
            several => Some(several.to_vec().into()),
        },
    );
    put("scope", (!arguments.scope.is_empty()).then(|| arguments.scope.join(" ").into()));
    put("roles", (!arguments.role.is_empty()).then(|| arguments.role.clone().into()));
    for claim in &arguments.claim {
        claims::put(&mut claims, claim).map_err(CommandError::failed)?;
    }
    Ok(claims)
}

fn put_times(claims: &mut Map<String, Value>, arguments: &MintArguments, at: UnixTime) {
    let expires = |lifetime: Duration| at.plus(lifetime).seconds().into();
    match arguments.lifetime {
        // What the file says stays: it may be a test of times.
        None => {
            claims.entry("iat").or_insert_with(|| at.seconds().into());
            claims.entry("exp").or_insert_with(|| expires(LIFETIME_DEFAULT));
        }
        Some(Lifetime::Limited(lifetime)) => {
            claims.insert("iat".to_owned(), at.seconds().into());
            claims.insert("exp".to_owned(), expires(lifetime));
        }
        Some(Lifetime::Unstated) => {
            claims.remove("iat");
            claims.remove("exp");
        }
    }
    if let Some(not_before) = arguments.not_before {
        let time = match not_before {
            NotBefore::Time(time) => time,
            NotBefore::After(distance) => at.plus(distance),
        };
        claims.insert("nbf".to_owned(), time.seconds().into());
    }
}

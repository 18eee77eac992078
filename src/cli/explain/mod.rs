//! `portcullis explain`: why one request is let pass or refused, step by step. It decides nothing: the gateway's own code is
//! asked, here or in the running instance.
pub(in crate::cli) mod text;

use std::{
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Args, ValueHint};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{
    cli::{
        CommandError, ExitStatus, Format,
        admin_client::{AdminAddress, InstanceArguments, Question as AdminQuestion},
        config_file::ConfigFile,
        explain::text::Style,
        input, moment,
        token::inspect,
    },
    config::{load::Secrets, quantity, terminal},
    edge::explain::{Elsewhere, Explanation, GivenKeys, Outcome, Presented, Question, Rehearsal},
    gate::{json::Object, rejection::Rejection, time::UnixTime},
};

const EXAMPLES: &str = "\
Examples:
  portcullis explain -c portcullis.yaml https://api.example.com/orders
  portcullis explain --token-file t.jwt -X DELETE https://a.example.com/orders/7
  portcullis explain --claims '{\"sub\": \"u1\", \"roles\": [\"staff\"]}' \\
    --issuer main https://api.example.com/orders
  portcullis explain --running --token-file t.jwt https://api.example.com/orders

Exit code 0 when the request passes, 1 when it is refused, 2 when it cannot be
one, 78 when the configuration is wrong. The token is never shown.";

/// The longest explanation that an instance answers with.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Says what becomes of one request, and why: every step, as the gateway makes it
///
/// Keys come from the configuration's files, from --jwks, from the last good set in the state directory, or are fetched;
/// it says which. With --running the running instance is asked, with the keys and revocations that it has.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("vouching").args(["token", "token_file", "claims"])))]
pub struct ExplainArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// URL of the request, or its path alone
    #[arg(value_name = "URL")]
    url: String,
    /// Method of the request
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Header field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The token; other users of this machine can see it while the command runs
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token; `-` reads standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Claims as a JSON object, or @FILE, taken as if --issuer had signed them
    #[arg(long, value_name = "JSON", requires = "issuer")]
    claims: Option<String>,
    /// Whose claims they are: an issuer's name in the configuration
    #[arg(long, value_name = "NAME", requires = "claims")]
    issuer: Option<String>,
    /// When the request is judged (RFC 3339); now unless given
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    at: Option<UnixTime>,
    /// Address of the client; not known unless given
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Name of the listener; unless given the one at the URL's port, else the first
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Key set (JWKS) in place of the issuers' keys
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "running")]
    jwks: Option<PathBuf>,
    /// Fetch nothing
    #[arg(long, conflicts_with = "running")]
    offline: bool,
    /// Do not read secret files (where they are not available)
    #[arg(long, conflicts_with = "running")]
    without_secrets: bool,
    /// Ask the running instance
    #[arg(long)]
    running: bool,
    /// Admin address of the running instance, host:port or unix:/path; without it the configuration says where
    #[arg(long, value_name = "ADDRESS", requires = "running")]
    admin: Option<AdminAddress>,
    /// File with the bearer token of the admin address; without it that of the configuration
    #[arg(long, value_name = "FILE", requires = "running", value_hint = ValueHint::FilePath)]
    admin_token_file: Option<PathBuf>,
    /// Longest time to wait for the running instance
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = quantity::parse_duration)]
    timeout: Duration,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Explains.
///
/// # Errors
/// [`CommandError::Usage`] for what can be no request, [`CommandError::BadConfiguration`], [`CommandError::Failed`].
pub fn run(arguments: &ExplainArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let question = arguments.question()?;
    let explanation = if arguments.running { arguments.ask(&question)? } else { arguments.rehearse(&question)? };
    match arguments.format {
        Format::Json => {
            let shown = serde_json::to_value(&explanation).map_err(CommandError::failed)?;
            writeln!(output, "{shown:#}")?;
        }
        Format::Text => write!(output, "{}", text::render(&explanation, Style::of_standard_output()))?,
    }
    Ok(ExitStatus::from_success(explanation.verdict.outcome != Outcome::Refuse))
}

impl ExplainArguments {
    fn question(&self) -> Result<Question, CommandError> {
        let mut question = Question::new(self.url.clone(), self.at.unwrap_or_else(moment::now));
        question.method.clone_from(&self.method);
        question.address = self.address;
        question.listener.clone_from(&self.listener);
        for header in &self.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                CommandError::Usage("a header field is written NAME: VALUE, and one has no colon".to_owned())
            })?;
            question.add_header(name, value).map_err(CommandError::Usage)?;
        }
        question.presented = match (&self.token, &self.token_file, &self.claims, &self.issuer) {
            (Some(token), ..) => presented(token),
            (None, Some(path), ..) => {
                let content = input::read(path)?;
                let text = std::str::from_utf8(&content)
                    .map_err(|_| CommandError::Failed(format!("{} holds no token: not UTF-8", path.display())))?;
                presented(text)
            }
            (None, None, Some(claims), Some(issuer)) => {
                Presented::Claims { claims: claims_of(claims)?, issuer: issuer.clone() }
            }
            (None, None, _, _) => Presented::Nothing,
        };
        Ok(question)
    }

    /// With the configuration alone.
    fn rehearse(&self, question: &Question) -> Result<Explanation, CommandError> {
        let secrets = if self.without_secrets { Secrets::Skip } else { Secrets::Read };
        let loaded = self.config.load(secrets)?;
        let Some(config) = loaded.config else {
            return Err(CommandError::BadConfiguration(loaded.problems.render()));
        };
        let elsewhere = if self.offline { Elsewhere::Kept } else { Elsewhere::Everything };
        let given = self.jwks.as_deref().map(given_keys).transpose()?;
        let rehearsal = Rehearsal::new(config, given, elsewhere, question.at).map_err(CommandError::failed)?;
        rehearsal.explain(question).map_err(CommandError::Usage)
    }

    /// With what the running instance has.
    fn ask(&self, question: &Question) -> Result<Explanation, CommandError> {
        let (config, admin) = (self.config.clone(), self.admin.clone());
        let instance = InstanceArguments::new(config, admin, self.admin_token_file.clone(), self.timeout);
        let instance = instance.find_for_reading()?;
        let body = Zeroizing::new(json_of(question).to_string());
        let asked = AdminQuestion {
            method: "POST",
            body: Some(&body),
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..AdminQuestion::get("/explain")
        };
        let answer = instance.ask(asked)?;
        if answer.status == 200 {
            return serde_json::from_str(&answer.body).map_err(|_| {
                CommandError::Failed(format!("{} answers with something else than expected", instance.address()))
            });
        }
        let said: Vec<String> = answer.body.lines().map(terminal::printable).collect();
        let said = format!("{} does not explain (status {}): {}", instance.address(), answer.status, said.join(" "));
        Err(if answer.status == Rejection::RequestMalformed.row().status {
            CommandError::Usage(said)
        } else {
            CommandError::Failed(said)
        })
    }
}

/// The key set in a file.
pub(in crate::cli) fn given_keys(path: &Path) -> Result<GivenKeys, CommandError> {
    Ok(GivenKeys { path: path.to_owned(), text: input::read(path)?.to_vec() })
}

pub(in crate::cli) fn presented(text: &str) -> Presented {
    Presented::Token(Zeroizing::new(inspect::without_scheme(text).to_owned()))
}

/// Claims from the command line, or from the file that is named there.
fn claims_of(text: &str) -> Result<Map<String, Value>, CommandError> {
    let content = match text.strip_prefix('@') {
        Some(path) => input::read(Path::new(path))?,
        None => Zeroizing::new(text.as_bytes().to_vec()),
    };
    // Read as the gate reads, which takes no name twice.
    Object::parse(&content).map_err(|fault| CommandError::Usage(format!("--claims: {fault}")))?;
    serde_json::from_slice(&content).map_err(|_| CommandError::Usage("--claims: not a JSON object".to_owned()))
}

/// The question as `POST /explain` takes it.
fn json_of(question: &Question) -> Value {
    let mut headers = Map::new();
    for name in question.headers.keys() {
        let values = question.headers.get_all(name).iter();
        let values: Vec<String> = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        headers.insert(name.to_string(), json!(values));
    }
    let (token, claims, issuer) = match &question.presented {
        Presented::Nothing => (None, None, None),
        Presented::Token(token) => (Some(token.as_str()), None, None),
        Presented::Claims { claims, issuer } => (None, Some(claims), Some(issuer)),
    };
    json!({
        "method": question.method,
        "url": question.url,
        "headers": headers,
        "token": token,
        "claims": claims,
        "issuer": issuer,
        "at": question.at.to_string(),
        "address": question.address,
        "listener": question.listener,
    })
}

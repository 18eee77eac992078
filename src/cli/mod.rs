//! The command line: what may be typed, one file a verb, and the exit codes. It uses every floor and decides nothing
//! about requests.
//!
//! A verb takes its arguments and a place for its results; what goes wrong comes back as a [`CommandError`] and is
//! written to standard error here, once. No verb ends the process or writes to standard error by itself; one that has
//! something to say besides its result is given a place for that too.
#![expect(
    clippy::disallowed_methods,
    reason = "a command reads the clock, the environment and files and hands them down as values, as the edge does"
)]

pub mod admin_client;
pub mod ca;
pub mod config_file;
pub mod demo;
pub mod diff;
pub mod explain;
pub mod generate;
pub mod healthcheck;
pub mod init;
pub mod input;
pub mod logging;
pub mod moment;
pub mod new_file;
pub mod policy_test;
pub mod reload;
pub mod revoke;
pub mod run;
pub mod schema;
pub mod token;
pub mod upgrade;
pub mod validate;

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It did what it was asked to, and what it was asked about is fine.
    Ok = 0,
    /// It could not, or what it was asked about is not fine.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// The configuration is wrong (`EX_CONFIG` of sysexits.h).
    BadConfiguration = 78,
}

impl ExitStatus {
    /// The status of something that can only succeed or fail.
    pub const fn from_success(succeeded: bool) -> Self {
        if succeeded { Self::Ok } else { Self::Failed }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command did not do what it was asked to; the text goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Arguments that do not go together.
    Usage(String),
    /// The configuration is wrong; the text has every error, a line or more for each.
    BadConfiguration(String),
    /// Anything else.
    Failed(String),
    /// Standard output could not be written.
    Output(io::ErrorKind),
}

impl CommandError {
    /// A failure in the words of `error`.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// The exit status that goes with it.
    pub const fn status(&self) -> ExitStatus {
        match self {
            Self::Usage(_) => ExitStatus::Usage,
            Self::BadConfiguration(_) => ExitStatus::BadConfiguration,
            // Whoever closed the pipe (`| head`) has read enough: nothing failed.
            Self::Output(io::ErrorKind::BrokenPipe) => ExitStatus::Ok,
            Self::Failed(_) | Self::Output(_) => ExitStatus::Failed,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::BadConfiguration(text) | Self::Failed(text) => formatter.write_str(text),
            Self::Output(kind) => write!(formatter, "cannot write to standard output: {kind}"),
        }
    }
}

impl std::error::Error for CommandError {}

/// For the results of a command only: whatever else can fail says what it was about.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Output(error.kind())
    }
}

/// Form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON object
    Json,
}

const EXAMPLES: &str = "\
Examples:
  portcullis demo                              try it, without file or network
  portcullis init --discovery https://id.example.com/    a config to begin with
  portcullis validate -c portcullis.yaml       every error of a config
  portcullis explain --token-file t.jwt https://api.example.com/   why not?
  portcullis run -c portcullis.yaml            the gateway
  portcullis healthcheck --admin 127.0.0.1:9400

Exit codes: 0 ok, 1 failed, 2 usage, 78 bad configuration.
Errors go to standard error, results to standard output.";

/// Checks the JWT of every request once, at the entrance, and tells the services behind it who is calling
///
/// A request with a token comes in; portcullis verifies it, decides by route whether this identity may pass, removes
/// every identity header that the client sent, writes its own (X-User-ID, X-User-Roles, ...) and forwards. Services
/// behind it never see a token and need no code for authentication.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version = generate::version(),
    after_help = EXAMPLES,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::RunArguments),
    Validate(validate::ValidateArguments),
    Explain(Box<explain::ExplainArguments>),
    Test(policy_test::TestArguments),
    Diff(diff::DiffArguments),
    Init(init::InitArguments),
    Demo(demo::DemoArguments),
    Token(token::TokenArguments),
    Ca(ca::CaArguments),
    Healthcheck(healthcheck::HealthcheckArguments),
    Reload(reload::ReloadArguments),
    Upgrade(upgrade::UpgradeArguments),
    Revoke(Box<revoke::RevokeArguments>),
    Unrevoke(revoke::UnrevokeArguments),
    Revocations(revoke::RevocationsArguments),
    Schema(schema::SchemaArguments),
    Completions(generate::CompletionsArguments),
    Man(generate::ManArguments),
}

impl Verb {
    fn perform(&self, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
        match self {
            Self::Run(arguments) => run::run(arguments, output),
            Self::Validate(arguments) => validate::run(arguments, output),
            Self::Explain(arguments) => explain::run(arguments, output),
            Self::Test(arguments) => policy_test::run(arguments, output),
            Self::Diff(arguments) => diff::run(arguments, output),
            Self::Init(arguments) => init::run(arguments, output, &mut io::stderr()),
            Self::Demo(arguments) => demo::run(arguments, output),
            Self::Token(arguments) => token::run(arguments, output),
            Self::Ca(arguments) => ca::run(arguments, output),
            Self::Healthcheck(arguments) => healthcheck::run(arguments, output),
            Self::Reload(arguments) => reload::run(arguments, output),
            Self::Upgrade(arguments) => upgrade::run(arguments, output),
            Self::Revoke(arguments) => revoke::revoke(arguments, output),
            Self::Unrevoke(arguments) => revoke::unrevoke(arguments, output),
            Self::Revocations(arguments) => revoke::revocations(arguments, output),
            Self::Schema(arguments) => schema::run(arguments, output),
            Self::Completions(arguments) => generate::completions(arguments, output),
            Self::Man(arguments) => generate::man(arguments, output),
        }
    }
}

/// Does what `arguments` ask for; the first is the name of the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitStatus {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Whatever is not written here is what nobody wanted to read any more: no failure.
            let _ = if holds_token(&arguments) {
                write!(io::stderr(), "{}", without_tokens(error.to_string(), &arguments))
            } else {
                error.print()
            };
            return if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Ok };
        }
    };
    // Not locked for the time of the command: the gateway's log writes there too.
    let mut output = io::stdout();
    let result = cli.verb.perform(&mut output).and_then(|status| {
        output.flush()?;
        Ok(status)
    });
    // What was logged before is read before.
    log::logger().flush();
    result.unwrap_or_else(|error| {
        if error.status() != ExitStatus::Ok {
            // Not `eprintln!`, which panics where nobody listens.
            // The errors of a configuration begin with their places, as editors expect.
            let prefix = if error.status() == ExitStatus::BadConfiguration { "" } else { "error: " };
            let _ = writeln!(io::stderr(), "{prefix}{}", without_tokens(error.to_string(), &arguments));
        }
        error.status()
    })
}

fn holds_token(arguments: &[OsString]) -> bool {
    tokens(arguments).next().is_some()
}

/// What looks like a token among the arguments: typed in the wrong place, it would be repeated in an error.
fn tokens(arguments: &[OsString]) -> impl Iterator<Item = &str> {
    let is_token = |text: &&str| text.starts_with("ey") && text.contains('.');
    arguments.iter().filter_map(|argument| argument.to_str()).flat_map(|text| text.split(['=', ' '])).filter(is_token)
}

fn without_tokens(text: String, arguments: &[OsString]) -> String {
    tokens(arguments).fold(text, |text, token| text.replace(token, "[token]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_of_the_contract_is_understood() {
        for line in [
            "portcullis run",
            "portcullis run -c gateway.yaml",
            "portcullis run --config -",
            "portcullis validate --without-secrets --format json",
            "portcullis explain -c gateway.yaml https://a.test/",
            "portcullis explain -X POST --token-file - -H Origin:https://a.test --at 2026-11-23T09:30:00Z /orders",
            "portcullis explain --claims {} --issuer main --offline --address 10.0.0.1 --listener web /",
            "portcullis explain --running --admin 127.0.0.1:9400 --admin-token-file t --format json /",
            "portcullis diff old.yaml new.yaml",
            "portcullis diff - new.yaml --format json",
            "portcullis test policy-tests.yaml",
            "portcullis test -c gateway.yaml --require-coverage --format junit --jwks keys.json a.yaml b.yaml",
            "portcullis test --require-coverage=both --verbose a.yaml",
            "portcullis test --only admin --explain a.yaml",
            "portcullis init --discovery https://auth.example.com/",
            "portcullis init --discovery https://a.test --token-file - --output a.yaml --ca-file ca.pem --insecure-http",
            "portcullis demo --check",
            "portcullis demo --listen 127.0.0.1:8081 --admin 127.0.0.1:9401",
            "portcullis token mint --key key.pem",
            "portcullis token inspect -",
            "portcullis token keygen --private key.pem",
            "portcullis ca init --directory ca --years 5",
            "portcullis ca issue gateway --gateway",
            "portcullis ca issue orders --dns orders.internal,orders.test --ip 10.0.0.7 --ip fd00::7 --days 7",
            "portcullis ca issue orders --output tls --group-readable --replace",
            "portcullis ca renew --all",
            "portcullis ca renew orders payments --force",
            "portcullis ca show",
            "portcullis ca show orders --format json --at 2026-11-23T09:30:00Z",
            "portcullis healthcheck --admin unix:/run/portcullis/admin.sock",
            "portcullis reload",
            "portcullis reload --admin unix:/run/portcullis/admin.sock",
            "portcullis upgrade",
            "portcullis upgrade --admin unix:/run/portcullis/admin.sock",
            "portcullis revoke --issuer main --sub u1 --note left",
            "portcullis revoke --sid s1 --for 24h --admin 127.0.0.1:9400 --token-file write.token",
            "portcullis unrevoke 0123456789abcdef",
            "portcullis revocations --format json",
            "portcullis schema",
            "portcullis completions bash",
            "portcullis man --directory man",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "portcullis reload extra",
            "portcullis upgrade extra",
            "portcullis run extra",
            "portcullis explain",
            "portcullis explain --claims {} /",
            "portcullis explain --token a --token-file b /",
            "portcullis explain --admin 127.0.0.1:9400 /",
            "portcullis diff old.yaml",
            "portcullis test",
            "portcullis test --only admin --require-coverage a.yaml",
            "portcullis token",
            "portcullis validate --format xml",
            "portcullis ca",
            "portcullis ca renew",
            "portcullis ca renew --all orders",
            "portcullis ca issue",
            "portcullis ca issue Orders",
            "portcullis ca issue orders --days 0",
            "portcullis ca issue orders --days 398",
            "portcullis ca issue gateway --gateway --dns orders",
            "portcullis ca issue orders --group-readable",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_token_that_stood_in_the_wrong_place() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        for line in [
            format!("portcullis {token}"),
            format!("portcullis token {token}"),
            format!("portcullis token inspect --token={token}"),
            format!("portcullis token inspect --format {token}"),
            format!("portcullis healthcheck --admin={token}"),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(holds_token(&arguments), "{line}");
            let error = Cli::try_parse_from(&arguments).err().unwrap().to_string();
            let shown = without_tokens(error, &arguments);
            assert!(!shown.contains("eyJ") && !shown.contains("c2ln"), "{line}: {shown}");
        }
        assert!(!holds_token(&["portcullis".into(), "token".into(), "keygen".into()]));
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let closed = CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.status(), ExitStatus::Ok);
        let full = CommandError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.status(), ExitStatus::Failed);
    }

    #[test]
    fn every_command_has_examples_and_explains_its_options() {
        fn walk(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} does not say what it does");
            assert!(command.get_after_help().is_some(), "{name} has no examples");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} does not explain {}", argument.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn no_line_of_examples_is_wrapped_on_a_common_terminal() {
        fn walk(command: &clap::Command) {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in examples.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}

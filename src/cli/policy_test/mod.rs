//! `portcullis test`: requests that must pass and requests that must not, in a file beside the configuration. Each is decided
//! by the gateway's own code, as `explain` does it, without secrets, network or state: so it says the same everywhere.
mod comparison;
mod coverage;
mod junit;
mod report;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum, ValueHint};

use crate::{
    cli::{
        CommandError, ExitStatus,
        config_file::ConfigFile,
        explain::{given_keys, presented, text::Style},
        input, moment,
        policy_test::{comparison::Difference, coverage::Coverage},
    },
    config::{
        error::Problems,
        load::Secrets,
        policy_tests::{self, KnownNames, PolicyTest, Vouching},
        settings::Config,
    },
    edge::explain::{Elsewhere, Explanation, Presented, Question, Rehearsal, without_tokens},
    gate::time::UnixTime,
};

const EXAMPLES: &str = "\
Examples:
  portcullis test -c portcullis.yaml policy-tests.yaml
  portcullis test -c portcullis.yaml --require-coverage tests/*.yaml
  portcullis test --only 'may delete' --explain tests.yaml
  portcullis test -c portcullis.yaml --format junit tests.yaml > junit.xml

Exit code 0 when every case is as expected, 1 when not, 2 when a file holds no
such cases, 78 when the configuration is wrong.";

/// Tries a configuration with cases: which requests pass, and which do not
///
/// Needs no secrets, no network and no running instance, so that it runs in CI. Claims are taken as if their issuer had
/// signed them; the clock is what a case says.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TestArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Files with cases (YAML); `-` reads standard input
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Key set (JWKS) in place of the issuers' keys, for cases with a token
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    jwks: Option<PathBuf>,
    /// Try only cases whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Fail when there is a route that no case finds; `both`: or one with no case that passes or none that is denied
    #[arg(
        long,
        value_name = "LEVEL",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "found",
        conflicts_with = "only"
    )]
    require_coverage: Option<CoverageLevel>,
    /// Show cases that are as expected too
    #[arg(short, long)]
    verbose: bool,
    /// Explain every case that is not as expected, step by step
    #[arg(long)]
    explain: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: TestFormat,
}

/// Form of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON object
    Json,
    /// For CI servers: JUnit's XML
    Junit,
}

/// What is asked of all routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CoverageLevel {
    /// A case finds it
    Found,
    /// Of the routes that ask for something, one case passes and one is denied
    Both,
}

/// One case that was tried.
struct Tried {
    test: PolicyTest,
    explanation: Explanation,
    differences: Vec<Difference>,
}

impl Tried {
    fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// One file of cases.
struct TriedFile {
    name: String,
    cases: Vec<Tried>,
}

/// All that was tried.
struct Outcome {
    files: Vec<TriedFile>,
    coverage: Coverage,
    /// Why the routes are not covered as asked.
    uncovered: Vec<String>,
}

impl Outcome {
    fn cases(&self) -> impl Iterator<Item = &Tried> {
        self.files.iter().flat_map(|file| &file.cases)
    }

    fn is_good(&self) -> bool {
        self.cases().all(Tried::passed) && self.uncovered.is_empty()
    }
}

/// Tries.
///
/// # Errors
/// [`CommandError::BadConfiguration`], [`CommandError::Usage`] for files that hold no cases.
pub fn run(arguments: &TestArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let loaded = arguments.config.load(Secrets::Skip)?;
    let Some(config) = loaded.config else {
        return Err(CommandError::BadConfiguration(loaded.problems.render()));
    };
    let known = known_names(&config);
    let routes = coverage::routes(&config);
    let mut read = Vec::new();
    let mut problems = Problems::new();
    for path in &arguments.files {
        let name = path.display().to_string();
        let text = input::read(path).map_err(|error| CommandError::Usage(error.to_string()))?;
        if let Some(mut cases) = policy_tests::parse(&name, &text, &known, &mut problems) {
            cases.retain(|case| arguments.only.as_ref().is_none_or(|only| case.name.contains(only)));
            read.push((path.clone(), name, cases));
        }
    }
    if problems.has_errors() {
        return Err(CommandError::Usage(format!("these are no cases:\n{}", without_tokens(&problems.render()))));
    }
    if read.iter().all(|(.., cases)| cases.is_empty()) {
        return Err(CommandError::Usage("no case has a name with this in it".to_owned()));
    }
    let given = arguments.jwks.as_deref().map(given_keys).transpose()?;
    // Entries that have ended are asked about at moments before, too.
    let rehearsal = Rehearsal::new(config, given, Elsewhere::Nothing, UnixTime::from_seconds(0));
    let rehearsal = rehearsal.map_err(CommandError::failed)?;
    let mut files = Vec::new();
    for (path, name, cases) in read {
        let cases = cases.into_iter().map(|case| attempt(&rehearsal, &path, case));
        files.push(TriedFile { cases: cases.collect::<Result<_, _>>()?, name });
    }
    let coverage = Coverage::of(routes, files.iter().flat_map(|file| &file.cases));
    let uncovered = arguments.require_coverage.map(|level| coverage.lacks(level)).unwrap_or_default();
    let outcome = Outcome { files, coverage, uncovered };
    match arguments.format {
        TestFormat::Text => {
            let style = Style::of_standard_output();
            let choice = report::Choice { verbose: arguments.verbose, explain: arguments.explain };
            write!(output, "{}", report::text(&outcome, choice, style))?;
        }
        TestFormat::Json => writeln!(output, "{:#}", report::json(&outcome))?,
        TestFormat::Junit => write!(output, "{}", junit::document(&outcome))?,
    }
    Ok(ExitStatus::from_success(outcome.is_good()))
}

fn known_names(config: &Config) -> KnownNames {
    let ruleset = &config.live.ruleset;
    KnownNames {
        issuers: ruleset.issuers.iter().map(|issuer| issuer.name.clone()).collect(),
        routes: ruleset.routes.routes().iter().map(|route| route.name.clone()).collect(),
        listeners: config.startup.listeners.iter().map(|listener| listener.name.clone()).collect(),
        upstreams: config.live.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
    }
}

/// Tries one case.
fn attempt(rehearsal: &Rehearsal, file: &Path, test: PolicyTest) -> Result<Tried, CommandError> {
    let place = format!("{}:{}:{}", file.display(), test.line, test.column);
    let wrong =
        |fault: String| CommandError::Usage(format!("{place}: this cannot be tried: {}", without_tokens(&fault)));
    let mut question = Question::new(test.url.clone(), test.at.unwrap_or_else(moment::now));
    question.method.clone_from(&test.method);
    question.address = test.address;
    question.listener.clone_from(&test.listener);
    for (name, value) in &test.headers {
        question.add_header(name, value).map_err(wrong)?;
    }
    question.presented = match &test.vouching {
        Vouching::Nothing => Presented::Nothing,
        Vouching::Token(token) => presented(token),
        Vouching::TokenFile(name) => {
            let path = file.parent().unwrap_or(Path::new(".")).join(name);
            let content = input::read(&path).map_err(|error| wrong(error.to_string()))?;
            presented(std::str::from_utf8(&content).map_err(|_| wrong(format!("{} is not UTF-8", path.display())))?)
        }
        Vouching::Claims { claims, issuer } => Presented::Claims { claims: claims.clone(), issuer: issuer.clone() },
    };
    let explanation = rehearsal.explain(&question).map_err(wrong)?;
    let differences = comparison::differences(&test, &explanation);
    Ok(Tried { test, explanation, differences })
}

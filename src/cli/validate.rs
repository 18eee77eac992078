//! `portcullis validate`: everything that `run` would check, short of binding.
use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::{
    cli::{CommandError, ExitStatus, Format, config_file::ConfigFile},
    config::{load::Secrets, terminal},
    edge::preconditions,
};

const EXAMPLES: &str = "\
Examples:
  portcullis validate -c portcullis.yaml
  portcullis validate -c portcullis.yaml --without-secrets    in CI
  portcullis validate -c - --format json < portcullis.yaml

Exit code 0 when the configuration is good, warnings or not; 78 when not.";

/// Checks a configuration and shows every error in one run
///
/// Each error has file, line and column, the line itself and what would be right. Warnings follow: public routes,
/// insecure keys, routes shadowed by others.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ValidateArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Do not read secret files (where they are not available), and say which were left out
    #[arg(long)]
    without_secrets: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Checks, and writes what was found.
///
/// # Errors
/// [`CommandError::BadConfiguration`].
pub fn run(arguments: &ValidateArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let secrets = if arguments.without_secrets { Secrets::Skip } else { Secrets::Read };
    let loaded = arguments.config.load(secrets)?;
    let is_good = loaded.config.is_some();
    if let Some(config) = &loaded.config {
        preconditions::check_places(&config.startup).map_err(CommandError::failed)?;
    }
    match arguments.format {
        Format::Json => {
            let not_read: Vec<String> = loaded.skipped.iter().map(|skipped| skipped.written.clone()).collect();
            let result = json!({ "ok": is_good, "problems": loaded.problems.to_json(), "not_read": not_read });
            writeln!(output, "{result:#}")?;
        }
        Format::Text if is_good => {
            write!(output, "{}", loaded.problems.render())?;
            for skipped in &loaded.skipped {
                writeln!(output, "not read: {} ({})", terminal::printable(&skipped.written), skipped.path)?;
            }
            writeln!(output, "{}: ok", terminal::printable(&arguments.config.path.display().to_string()))?;
        }
        Format::Text => return Err(CommandError::BadConfiguration(loaded.problems.render())),
    }
    Ok(if is_good { ExitStatus::Ok } else { ExitStatus::BadConfiguration })
}

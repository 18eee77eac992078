//! `portcullis reload`: has the running instance read its configuration again, and says what came of it.
use std::io::Write;

use clap::Args;
use serde_json::Value;

use crate::{
    cli::{
        CommandError, ExitStatus,
        admin_client::{InstanceArguments, Question},
    },
    config::terminal,
};

const EXAMPLES: &str = "\
Examples:
  portcullis reload                            the instance of the config
  portcullis reload --admin unix:/run/portcullis/admin.sock

All or nothing: exit code 1 and every error when the file is wrong, and what
served goes on serving. SIGHUP asks for the same, without an answer.";

/// The longest answer that is read: all errors of a configuration.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Has the running instance read its configuration again: exit code 1 when it could not, and then nothing changed
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ReloadArguments {
    #[command(flatten)]
    instance: InstanceArguments,
}

/// Asks, and writes what came of it.
///
/// # Errors
/// [`CommandError::Failed`] when the configuration did not come into force.
pub fn run(arguments: &ReloadArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let instance = arguments.instance.find()?;
    let question = Question { method: "POST", answer_bytes_max: ANSWER_BYTES_MAX, ..Question::get("/reload") };
    let answer = instance.ask(question)?;
    let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.status == 200 {
        for warning in told.get("warnings").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            writeln!(output, "{}", terminal::printable_lines(warning))?;
        }
        writeln!(output, "reloaded: {}", instance.address())?;
        return Ok(ExitStatus::Ok);
    }
    let why = told.get("error").and_then(Value::as_str).unwrap_or(&answer.body);
    let said = terminal::printable_lines(why);
    Err(CommandError::Failed(format!("{} did not reload, and nothing was changed:\n{said}", instance.address())))
}

//! `portcullis upgrade`: has the running instance put another process in its place, and says what came of it.
use std::{io::Write, time::Duration};

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
  portcullis upgrade                           the instance of the config
  portcullis upgrade --admin unix:/run/portcullis/admin.sock

For a new binary, and for what `reload` cannot change (listeners). No
connection is refused and no request cut. All or nothing: exit code 1 when
the new process does not serve, and the old one goes on.";

/// The longest answer that is read: all errors of a configuration.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The instance itself gives up earlier.
const PATIENCE: Duration = Duration::from_secs(120);

/// Has the running instance start the program anew in its place and hand its sockets over: exit code 1 when it could not, and
/// then the old one serves on
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct UpgradeArguments {
    #[command(flatten)]
    instance: InstanceArguments,
}

/// Asks, and writes what came of it.
///
/// # Errors
/// [`CommandError::Failed`] when the process that served before serves on.
pub fn run(arguments: &UpgradeArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let instance = arguments.instance.find()?.patient(PATIENCE);
    let question = Question { method: "POST", answer_bytes_max: ANSWER_BYTES_MAX, ..Question::get("/upgrade") };
    let answer = instance.ask(question)?;
    let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let number = |name: &str| told.get(name).and_then(Value::as_u64);
    if answer.status == 200
        && let (Some(process), Some(before)) = (number("process"), number("before"))
    {
        let version = told.get("version").and_then(Value::as_str).unwrap_or("of unknown version");
        let version = terminal::printable(version).to_string();
        writeln!(output, "upgraded: process {process} (portcullis {version}) serves in the place of {before}")?;
        return Ok(ExitStatus::Ok);
    }
    let why = told.get("error").and_then(Value::as_str).unwrap_or(&answer.body);
    let said = terminal::printable_lines(why);
    Err(CommandError::Failed(format!("{} was not upgraded and serves as before:\n{said}", instance.address())))
}

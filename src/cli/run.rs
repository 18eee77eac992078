//! `portcullis run`: the gateway itself.
use std::io::Write;

use clap::Args;

use crate::{
    cli::{
        CommandError, ExitStatus,
        config_file::{ConfigFile, ConfigSource},
        logging,
    },
    config::load::Secrets,
    edge::{reload::Origin, server::Assembly, signals, upgrade::TakeOver},
};

const EXAMPLES: &str = "\
Examples:
  portcullis run                               /etc/portcullis/portcullis.yaml
  portcullis run -c ./portcullis.yaml
  render-config | portcullis run -c -

SIGTERM and SIGINT stop it: requests in flight finish, within
`server.grace_period`. RUST_LOG overrides `log.level`.";

/// Runs the gateway
///
/// The configuration is checked whole before anything is bound: a wrong one ends with exit code 78 and every error on
/// standard error, and nothing was started.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArguments {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs until it is told to stop.
///
/// # Errors
/// [`CommandError::BadConfiguration`]; [`CommandError::Failed`] where a socket cannot be bound.
pub fn run(arguments: &RunArguments, _output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    signals::survive_from_now_on();
    let take_over = TakeOver::from_environment().map_err(CommandError::failed)?;
    let assembled = assemble(arguments, take_over.clone());
    if let (Err(error), Some(take_over)) = (&assembled, &take_over) {
        take_over.fail(&error.to_string());
    }
    assembled?.run()
}

fn assemble(arguments: &RunArguments, take_over: Option<TakeOver>) -> Result<Assembly, CommandError> {
    let loaded = arguments.config.load(Secrets::Read)?;
    let Some(config) = loaded.config else {
        return Err(CommandError::BadConfiguration(loaded.problems.render()));
    };
    logging::start(config.startup.log.level);
    for problem in loaded.problems.sorted() {
        log::warn!("{}", loaded.problems.render_one(problem).lines().next().unwrap_or_default());
    }
    let path = match arguments.config.source() {
        // From where the process is now, wherever it may go.
        ConfigSource::File(path) => Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
        ConfigSource::StandardInput => None,
    };
    let origin = Origin { path, sha256: loaded.sha256, includes: loaded.includes };
    Assembly::new(config, origin, take_over).map_err(CommandError::failed)
}

//! `portcullis demo`: the whole product without a configuration and without a network.
use std::{io::Write, net::SocketAddr};

use clap::Args;

use crate::cli::{CommandError, ExitStatus};

const EXAMPLES: &str = "\
Examples:
  portcullis demo                              then paste the lines it prints
  portcullis demo --check                      runs those lines itself
  portcullis demo --listen 127.0.0.1:8081 --admin 127.0.0.1:9401";

/// Shows what it does: no configuration, no network
///
/// Starts an issuer with a fresh key (its key set served over HTTP), a service that answers with what it was sent, the
/// gateway before it and the admin page; prints ready-to-paste curl lines (allowed, missing token, expired, wrong role,
/// forged X-User-ID) and keeps running. Everything listens on loopback and nothing is written.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArguments {
    /// Run the printed lines, print a table of what came out and end: 0 when all is as it should be, else 1
    ///
    /// Uses free ports unless `--listen` and `--admin` say otherwise.
    #[arg(long)]
    check: bool,
    /// Address of the gateway [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the admin page [default: 127.0.0.1:9400]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// Runs until it is told to stop, or checks itself.
///
/// # Errors
/// [`CommandError::Failed`] where a socket cannot be bound.
pub fn run(arguments: &DemoArguments, _output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let DemoArguments { check, listen, admin } = arguments;
    Err(CommandError::Failed(format!("there is no demonstration yet (check {check}, {listen:?}, {admin:?})")))
}

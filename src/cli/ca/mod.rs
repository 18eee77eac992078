//! `portcullis ca`: a small certificate authority for mutual TLS between the gateway and the services behind it. The running
//! gateway never reads a key of it.
pub mod authority;
pub mod certificate;
pub mod delivery;
pub mod directory;
pub mod init;
pub mod issue;
pub mod name;
pub mod register;
pub mod renew;
pub mod show;

use std::io::{self, Write};

use clap::{Args, Subcommand};

use crate::cli::{CommandError, ExitStatus};

const EXAMPLES: &str = "\
Examples:
  portcullis ca init --directory ca
  portcullis ca issue gateway --gateway --directory ca
  portcullis ca issue orders --dns orders.internal --directory ca
  portcullis ca show --directory ca
  portcullis ca renew --all --directory ca

docs/mtls.md says what services do with the files.";

/// A certificate authority for mutual TLS between the gateway and services
#[derive(Args)]
#[command(
    after_help = EXAMPLES,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub struct CaArguments {
    #[command(subcommand)]
    verb: CaVerb,
}

#[derive(Subcommand)]
enum CaVerb {
    Init(init::InitArguments),
    Issue(issue::IssueArguments),
    Renew(renew::RenewArguments),
    Show(show::ShowArguments),
}

/// Does what the second verb says.
///
/// # Errors
/// See the verbs.
pub fn run(arguments: &CaArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    match &arguments.verb {
        CaVerb::Init(arguments) => init::run(arguments, output),
        CaVerb::Issue(arguments) => issue::run(arguments, output),
        CaVerb::Renew(arguments) => renew::run(arguments, output, &mut io::stderr()),
        CaVerb::Show(arguments) => show::run(arguments, output),
    }
}

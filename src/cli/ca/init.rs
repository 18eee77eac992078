//! `portcullis ca init`: makes the authorities, once.
use std::{io::Write, time::Duration};

use clap::Args;

use crate::cli::{
    CommandError, ExitStatus,
    ca::{
        authority::{self, Role, time_text},
        certificate::Certificate,
        directory::{Common, Directory, key_file},
    },
};

const EXAMPLES: &str = "\
Examples:
  portcullis ca init --directory ca
  sudo -u portcullis-ca portcullis ca init

Exit codes: 0 made, 1 there is something already or it cannot be written,
2 usage.";

/// Days of a year, as far as a certificate cares.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes a certificate authority: a root with an authority for services, and one for the gateway alone
///
/// Services trust the gateway's authority (clients.pem) and nothing else for clients, so that the certificate of one service
/// never opens another. The gateway trusts the root (ca.pem) for services. Keys are P-256 and stay in the directory.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArguments {
    #[command(flatten)]
    common: Common,
    /// How long the authorities are good
    #[arg(long, value_name = "YEARS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=30))]
    years: u32,
}

/// Makes the authorities and says which file goes where.
///
/// # Errors
/// [`CommandError::Failed`] where something is there already or cannot be written.
pub fn run(arguments: &InitArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let directory = &arguments.common.directory;
    let pairs = authority::make_all(arguments.common.now(), YEAR * arguments.years).map_err(CommandError::Failed)?;
    Directory::create(directory, &pairs)?;
    writeln!(output, "A certificate authority is in {}.", directory.display())?;
    for (role, pair) in Role::ALL.iter().zip(&pairs) {
        let certificate = Certificate::read_pem(&pair.chain).map_err(CommandError::Failed)?;
        writeln!(output)?;
        writeln!(output, "{}, until {}", certificate.common_name, time_text(certificate.not_after))?;
        writeln!(output, "  {:<22} {}", role.certificate_file(), purpose(*role))?;
        writeln!(output, "  {:<22} its private key; {}", key_file(*role).display(), use_of_key(*role))?;
        writeln!(output, "  SHA-256 {}", certificate.fingerprint)?;
    }
    writeln!(output, "\nNext: portcullis ca issue gateway --gateway, then portcullis ca issue NAME for each service.")?;
    Ok(ExitStatus::Ok)
}

const fn purpose(role: Role) -> &'static str {
    match role {
        Role::Root => "for the gateway: whom it believes to be a service",
        Role::Services => "goes along with every service's certificate by itself",
        Role::Gateway => "for services: whom they believe to be the gateway",
    }
}

const fn use_of_key(role: Role) -> &'static str {
    match role {
        Role::Root => "not needed any more: may be kept elsewhere",
        Role::Services | Role::Gateway => "signs and renews",
    }
}

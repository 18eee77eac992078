//! `portcullis ca renew`: new keys and certificates for what has lived two thirds of its life, on the terms it was issued on.
use std::io::Write;

use clap::{ArgGroup, Args};

use crate::{
    cli::{
        CommandError, ExitStatus,
        ca::{
            authority::{Role, time_text},
            delivery,
            directory::{Common, Directory},
            issue,
            name::ServiceName,
            register,
        },
    },
    gate::time::UnixTime,
};

const EXAMPLES: &str = "\
Examples:
  portcullis ca renew --all
  portcullis ca renew orders --force

systemd/portcullis-ca-renew.timer does the first once a day.

Exit codes: 0 all that was due is renewed, 1 something could not be renewed,
2 usage.";

/// Renews what has lived two thirds of its life, or whose files are missing or changed
///
/// Key and certificate are new, names and lifetime as before; the files are replaced all at once.
#[derive(Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("which").args(["names", "all"]).required(true))]
pub struct RenewArguments {
    /// What to renew
    #[arg(value_name = "NAME", value_parser = ServiceName::parse)]
    names: Vec<ServiceName>,
    /// Everything that was issued
    #[arg(long)]
    all: bool,
    /// Also what is not due yet
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Renews, one after the other; what goes wrong with one keeps no other from being renewed, and is told to `remarks`.
///
/// # Errors
/// [`CommandError::Failed`] where there is no authority.
pub fn run(
    arguments: &RenewArguments,
    output: &mut dyn Write,
    remarks: &mut dyn Write,
) -> Result<ExitStatus, CommandError> {
    let directory = Directory::open_for_changes(&arguments.common.directory)?;
    let now = arguments.common.now();
    let names = if arguments.all {
        register::names(directory.path()).map_err(CommandError::Failed)?
    } else {
        arguments.names.clone()
    };
    if names.is_empty() {
        writeln!(output, "nothing was issued yet")?;
    }
    let mut succeeded = true;
    for name in &names {
        match renew(&directory, name, arguments.force, now) {
            Ok(done) => writeln!(output, "{name}: {done}")?,
            Err(error) => {
                succeeded = false;
                // Whoever does not listen sees the exit code.
                let _ = writeln!(remarks, "error: {name}: NOT renewed: {error}");
            }
        }
    }
    for warning in ageing(&directory, now) {
        let _ = writeln!(remarks, "{warning}");
    }
    Ok(ExitStatus::from_success(succeeded))
}

fn renew(directory: &Directory, name: &ServiceName, force: bool, now: UnixTime) -> Result<String, String> {
    let entry = register::find(directory.path(), name)?.ok_or("nothing was issued under this name")?;
    let before = entry.certificate()?;
    let is_intact = delivery::is_intact(&entry.terms, name, &entry.chain);
    if !force && is_intact && now < before.renewal_time() && now >= before.not_before {
        let (until, from) = (time_text(before.not_after), time_text(before.renewal_time()));
        return Ok(format!("good until {until}, to be renewed from {from} on"));
    }
    let signer = directory.signer(entry.terms.profile.authority())?;
    let renewed = issue::issue(directory, &signer, name, &entry.terms, now)?;
    let why = if is_intact { "" } else { " (its files were missing or changed)" };
    Ok(format!("renewed until {}{why}", time_text(renewed.not_after)))
}

/// What is to be said of authorities that have lived two thirds of their own life.
fn ageing(directory: &Directory, now: UnixTime) -> Vec<String> {
    let remark = |role: Role| match directory.certificate(role) {
        Ok(certificate) if now >= certificate.renewal_time() => Some(format!(
            "warning: the authority {} ends at {}: docs/mtls.md says how to replace it",
            role.name(),
            time_text(certificate.not_after)
        )),
        Ok(_) => None,
        Err(error) => Some(format!("warning: {error}")),
    };
    Role::ALL.into_iter().filter_map(remark).collect()
}

//! `portcullis ca issue`: a key and a certificate for a service or for the gateway, ready to be used.
use std::{fs, io::Write, net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueHint};

use crate::{
    cli::{
        CommandError, ExitStatus,
        ca::{
            authority::{BACKDATED, Profile, Role, Signer, Wanted, time_text},
            certificate::Certificate,
            delivery::{self, Trusted},
            directory::{Common, Directory, delivered_files, trusted_by},
            name::{self, ServiceName},
            register::{self, DAYS_MAX, Entry, Terms},
        },
    },
    gate::time::UnixTime,
};

const EXAMPLES: &str = "\
Examples:
  portcullis ca issue gateway --gateway
  portcullis ca issue orders --dns orders.internal --ip 10.0.0.7
  portcullis ca issue orders --output /etc/orders/tls --group-readable

The files are in OUTPUT/NAME; renewing replaces them all at once.

Exit codes: 0 issued, 1 not issued, 2 usage.";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Makes a key and a certificate: for a service, or with --gateway for the gateway
///
/// A service is a server under NAME and the names and addresses given besides; the gateway is a client. The certificate is
/// valid from ten minutes ago, since clocks differ, and for 30 days unless --days says otherwise; `ca renew` makes a new one
/// after two thirds of that.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct IssueArguments {
    /// Name of the service: a host name, in lower case
    #[arg(value_parser = ServiceName::parse)]
    name: ServiceName,
    /// For the gateway, as a client of services
    #[arg(long, conflicts_with_all = ["dns", "ip"])]
    gateway: bool,
    /// Another host name under which the gateway reaches the service; may be repeated
    #[arg(long, value_name = "NAME", value_parser = name::dns_name, value_delimiter = ',')]
    dns: Vec<String>,
    /// An address under which the gateway reaches the service; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = name::address, value_delimiter = ',')]
    ip: Vec<IpAddr>,
    /// For how many days it is good
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    days: u32,
    /// Directory below which the folder NAME is put, also when it is renewed [default: DIRECTORY/issued]
    #[arg(long, short, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    output: Option<PathBuf>,
    /// Let the group of that directory read the key
    #[arg(long, requires = "output")]
    group_readable: bool,
    /// Take the place of what was issued under this name before
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    common: Common,
}

/// Issues what is asked for and says where it is.
///
/// # Errors
/// [`CommandError::Failed`] where the name is taken, the authority cannot sign, or the files cannot be written.
pub fn run(arguments: &IssueArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let directory = Directory::open_for_changes(&arguments.common.directory)?;
    let name = &arguments.name;
    let before = register::find(directory.path(), name).map_err(CommandError::Failed)?;
    if before.is_some() && !arguments.replace {
        return Err(CommandError::Failed(format!(
            "{name} is issued already: `portcullis ca renew {name} --force` renews it, --replace issues it with other names"
        )));
    }
    let terms = terms(arguments, &directory)?;
    delivery::check_place(&terms).map_err(CommandError::Failed)?;
    let role = terms.profile.authority();
    let signer = directory.signer(role).map_err(CommandError::Failed)?;
    let issued = issue(&directory, &signer, name, &terms, arguments.common.now()).map_err(CommandError::Failed)?;
    let minutes = BACKDATED.as_secs() / 60;
    writeln!(
        output,
        "{name} ({}): good until {}, and since {minutes} minutes ago, for clocks that are behind",
        terms.profile.name(),
        time_text(issued.not_after)
    )?;
    let trusted = trusted_by(terms.profile);
    writeln!(output, "In {}:", terms.place.join(name.as_str()).display())?;
    for (file, what) in delivered_files(trusted).iter().zip(meanings(trusted)) {
        writeln!(output, "  {file:<16} {what}")?;
    }
    Ok(ExitStatus::Ok)
}

/// Makes a pair on these terms, puts it at its place and into the register.
///
/// # Errors
/// Says what stands in the way, with its path.
pub fn issue(
    directory: &Directory,
    signer: &Signer,
    name: &ServiceName,
    terms: &Terms,
    now: UnixTime,
) -> Result<Certificate, String> {
    let wanted =
        Wanted { common_name: name.as_str(), dns_names: &terms.dns, addresses: &terms.ip, lifetime: DAY * terms.days };
    let pair = signer.sign(&wanted, now)?;
    let certificate = Certificate::read_pem(&pair.chain)?;
    let trusted = trusted_by(terms.profile);
    let trusted_pem = directory.certificate_pem(trusted)?;
    let trusted = Trusted { file: trusted.certificate_file(), pem: &trusted_pem };
    delivery::deliver(terms, name, &certificate.serial, &pair, &trusted)?;
    // After the files: where this is not reached, the next renewal does it all again.
    Entry { terms: terms.clone(), chain: pair.chain }.write(directory.path(), name)?;
    Ok(certificate)
}

fn terms(arguments: &IssueArguments, directory: &Directory) -> Result<Terms, CommandError> {
    let place = match &arguments.output {
        None => directory.issued(),
        // Absolute: it is renewed from elsewhere.
        Some(path) => {
            fs::canonicalize(path).map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?
        }
    };
    let mut dns = vec![arguments.name.as_str().to_owned()];
    for name in &arguments.dns {
        if !dns.contains(name) {
            dns.push(name.clone());
        }
    }
    let mut ip = arguments.ip.clone();
    ip.sort_unstable();
    ip.dedup();
    Ok(Terms {
        profile: if arguments.gateway { Profile::Gateway } else { Profile::Service },
        dns,
        ip,
        days: arguments.days,
        place,
        group_readable: arguments.group_readable,
    })
}

const fn meanings(trusted: Role) -> [&'static str; 3] {
    let of_trusted = match trusted {
        Role::Root | Role::Services => "what it trusts: services",
        Role::Gateway => "whom it lets in: the gateway alone",
    };
    ["the certificate, with what is sent along", "its private key", of_trusted]
}

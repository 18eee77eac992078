//! `portcullis ca show`: what there is and how long it is good. It reads no private key.
use std::{io::Write, path::PathBuf};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{
        CommandError, ExitStatus, Format,
        ca::{
            authority::{Role, time_text},
            certificate::Certificate,
            delivery,
            directory::{Common, Directory},
            name::ServiceName,
            register,
        },
        moment,
    },
    gate::time::UnixTime,
};

const EXAMPLES: &str = "\
Examples:
  portcullis ca show
  portcullis ca show orders --format json

Exit codes: 0 shown, 1 nothing of that name or something is damaged, 2 usage.";

const DAY_SECONDS: i64 = 24 * 3600;

/// Shows authorities and what they issued: names, how long it is good, who signed it, fingerprint
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArguments {
    /// Show this one alone
    #[arg(value_parser = ServiceName::parse)]
    name: Option<ServiceName>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct View {
    directory: PathBuf,
    authorities: Vec<Row>,
    certificates: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    subject: String,
    dns: Vec<String>,
    ip: Vec<String>,
    not_before: String,
    not_after: String,
    renewal_due: String,
    days_left: i64,
    state: State,
    issuer: String,
    serial: String,
    fingerprint_sha256: String,
    file: PathBuf,
    #[serde(skip)]
    names: String,
    #[serde(skip)]
    left: String,
}

#[derive(Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Good,
    NotYetGood,
    RenewalDue,
    FilesChanged,
    Expired,
}

/// Shows it.
///
/// # Errors
/// [`CommandError::Failed`] where there is no authority, nothing of that name, or something is damaged.
pub fn run(arguments: &ShowArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let directory = Directory::open(&arguments.common.directory)?;
    let view = view(&directory, arguments.name.as_ref(), arguments.common.now()).map_err(CommandError::Failed)?;
    match arguments.format {
        Format::Text => write_text(&view, output)?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&view).map_err(CommandError::failed)?;
            writeln!(output, "{text}")?;
        }
    }
    Ok(ExitStatus::Ok)
}

fn view(directory: &Directory, name: Option<&ServiceName>, now: UnixTime) -> Result<View, String> {
    let names = match name {
        Some(name) => vec![name.clone()],
        None => register::names(directory.path())?,
    };
    let mut authorities = Vec::new();
    if name.is_none() {
        for role in Role::ALL {
            let file = directory.path().join(role.certificate_file());
            authorities.push(row(role.name(), "authority", &directory.certificate(role)?, file, true, now));
        }
    }
    let mut certificates = Vec::new();
    for name in names {
        let entry = register::find(directory.path(), &name)?;
        let entry = entry.ok_or_else(|| format!("nothing was issued under the name {name}"))?;
        let file = entry.terms.place.join(name.as_str()).join(delivery::CERTIFICATE);
        let is_intact = delivery::is_intact(&entry.terms, &name, &entry.chain);
        let kind = entry.terms.profile.name();
        certificates.push(row(name.as_str(), kind, &entry.certificate()?, file, is_intact, now));
    }
    Ok(View { directory: directory.path().to_owned(), authorities, certificates })
}

fn row(
    name: &str,
    kind: &'static str,
    certificate: &Certificate,
    file: PathBuf,
    is_intact: bool,
    now: UnixTime,
) -> Row {
    let state = state(certificate, is_intact, now);
    let seconds_left = certificate.not_after.seconds().saturating_sub(now.seconds());
    let left =
        if state == State::Expired { "expired".to_owned() } else { moment::distance(certificate.not_after.since(now)) };
    Row {
        name: name.to_owned(),
        kind,
        subject: certificate.common_name.clone(),
        dns: certificate.dns_names.clone(),
        ip: certificate.addresses.iter().map(ToString::to_string).collect(),
        not_before: time_text(certificate.not_before),
        not_after: time_text(certificate.not_after),
        renewal_due: time_text(certificate.renewal_time()),
        days_left: seconds_left.div_euclid(DAY_SECONDS),
        state,
        issuer: certificate.issuer.clone(),
        serial: certificate.serial.clone(),
        fingerprint_sha256: certificate.fingerprint.clone(),
        file,
        names: certificate.names(),
        left,
    }
}

fn state(certificate: &Certificate, is_intact: bool, now: UnixTime) -> State {
    if now > certificate.not_after {
        State::Expired
    } else if now < certificate.not_before {
        State::NotYetGood
    } else if !is_intact {
        State::FilesChanged
    } else if now >= certificate.renewal_time() {
        State::RenewalDue
    } else {
        State::Good
    }
}

impl State {
    const fn text(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::NotYetGood => "not good yet",
            Self::RenewalDue => "to be renewed",
            Self::FilesChanged => "files missing or changed",
            Self::Expired => "EXPIRED",
        }
    }
}

fn write_text(view: &View, output: &mut dyn Write) -> std::io::Result<()> {
    let heads = ["NAME", "KIND", "NOT AFTER", "LEFT", "STATE"];
    let rows: Vec<&Row> = view.authorities.iter().chain(&view.certificates).collect();
    let cells = |row: &Row| {
        [row.name.clone(), row.kind.into(), row.not_after.clone(), row.left.clone(), row.state.text().into()]
    };
    let mut widths = heads.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(cells(row)) {
            *width = (*width).max(cell.len());
        }
    }
    let mut line = |cells: [String; 5]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(output, "{}", padded.join("  ").trim_end())
    };
    line(heads.map(str::to_owned))?;
    for row in &rows {
        line(cells(row))?;
    }
    for row in rows {
        writeln!(output, "\n{}", row.name)?;
        if !row.names.is_empty() {
            writeln!(output, "  names    {}", row.names)?;
        }
        writeln!(output, "  issuer   {}", row.issuer)?;
        writeln!(output, "  SHA-256  {}", row.fingerprint_sha256)?;
        writeln!(output, "  file     {}", row.file.display())?;
    }
    Ok(())
}

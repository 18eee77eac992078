//! `portcullis init`: a starting configuration from what an identity provider publishes, and from a sample of its tokens. It
//! overwrites nothing, prints no token, and writes nothing that `validate` would not accept.
mod configuration;
mod findings;
mod provider;
mod rehearsal;
mod sample;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use zeroize::Zeroizing;

use crate::{
    cli::{
        CommandError, ExitStatus,
        init::{
            configuration::Known,
            findings::Audience,
            provider::{Provider, Question},
            sample::Sample,
        },
        input, moment, new_file,
    },
    config::{
        load::{self, Secrets},
        settings::Config,
    },
    edge::world::World,
    gate::{rejection::Rejection, time::UnixTime},
};

const EXAMPLES: &str = "\
Examples:
  portcullis init --discovery https://auth.example.com/ > portcullis.yaml
  portcullis init --discovery https://id.example.com/realms/shop \\
      --token-file token --output portcullis.yaml

Without a sample token the audience is not known: a placeholder stands in its
place, and until you edit it every token is refused. docs/providers.md says
what Keycloak, Auth0, Cognito, Entra ID, Okta and Google put into tokens.

Exit codes: 0 written, 1 no metadata, no usable keys, a sample that does not
fit or a file that is there already, 2 usage.";

/// Writes a configuration to start from: keys and algorithms from an identity provider, the rest from a sample token
///
/// The provider's metadata is looked for as the gateway does it (OpenID Connect Discovery, then RFC 8414), and its keys are
/// fetched to see that they can be used. A sample token shows the audience and where roles, scopes and client are; its
/// signature is checked with those keys. It may have expired, and is never shown. What should be known besides is said on
/// standard error.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArguments {
    /// The issuer (`iss` of its tokens), or the URL of its metadata (.../.well-known/openid-configuration)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    discovery: String,
    /// File with a sample access token, `-` for standard input; `Bearer` before it is ignored
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// New file for the configuration; without it the configuration is printed
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// PEM certificates to trust for the provider instead of the system's; the configuration names them too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Ask the provider over http too: for tests and providers on this machine
    #[arg(long)]
    insecure_http: bool,
}

/// Asks the provider, reads the sample and writes the configuration; what people should know besides goes to `remarks`.
///
/// # Errors
/// [`CommandError::Usage`] for what is no URL of an issuer; [`CommandError::Failed`] where metadata, keys, sample or output
/// stand in the way.
pub fn run(
    arguments: &InitArguments,
    output: &mut dyn Write,
    remarks: &mut dyn Write,
) -> Result<ExitStatus, CommandError> {
    if let Some(path) = arguments.output.as_ref().filter(|path| path.symlink_metadata().is_ok()) {
        let message = format!("{} is there already, and nothing is overwritten", path.display());
        return Err(CommandError::Failed(message));
    }
    let authorities = arguments.ca_file.as_deref().map(provider::authorities).transpose()?;
    let token = arguments.token_file.as_deref().map(token_text).transpose()?;
    let provider = provider::ask(Question {
        url: &arguments.discovery,
        authorities_pem: authorities.as_ref().map(|(pem, _)| pem.as_slice()),
        insecure_http: arguments.insecure_http,
    })?;
    let now = moment::now();
    let read = |text: &Zeroizing<String>| sample::read(text, &provider.issuer, &provider.keys, now);
    let sample = token.as_ref().map(read).transpose()?;
    let text = Known {
        issuer: &provider.issuer,
        jwks_url: (!provider.is_discoverable).then_some(provider.jwks_uri.as_str()),
        algorithms: provider.algorithms(sample.as_ref().and_then(|sample| sample.proven_by)),
        ca_file: authorities.as_ref().map(|(_, path)| path.as_str()),
        insecure_http: arguments.insecure_http,
        sample: sample.as_ref(),
    }
    .text();
    let config = understood(&text)?;
    match &arguments.output {
        Some(path) => new_file::write(path, 0o644, text.as_bytes())?,
        None => output.write_all(text.as_bytes())?,
    }
    let mut all = all_remarks(&provider, sample.as_ref());
    if let (Some(token), Some(sample)) = (&token, &sample) {
        all.extend(rehearsed(token, sample, &config, &provider, now));
    }
    for remark in all {
        // Nobody who does not listen is worth a failure: the configuration is written.
        let _ = writeln!(remarks, "{remark}");
    }
    Ok(ExitStatus::Ok)
}

fn token_text(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let content = input::read(path)?;
    match std::str::from_utf8(&content) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(CommandError::Failed("the sample is not a JWT: it is not even text".to_owned())),
    }
}

/// What is written must be what the gateway takes.
fn understood(text: &str) -> Result<Config, CommandError> {
    let loaded = load::load_text("portcullis.yaml", text.as_bytes(), Path::new("."), &World, Secrets::Read);
    loaded.config.ok_or_else(|| {
        let problems = loaded.problems.render();
        CommandError::Failed(format!("what came of it is no valid configuration:\n{problems}"))
    })
}

/// What people should know, a line each.
fn all_remarks(provider: &Provider, sample: Option<&Sample>) -> Vec<String> {
    let mut remarks: Vec<String> =
        provider.skipped_keys().into_iter().map(|skipped| format!("note: {skipped}")).collect();
    let Some(sample) = sample else {
        remarks.push(
            "warning: the audience is not known without a sample token (--token-file): edit `audiences`, until then every \
             token is refused"
                .to_owned(),
        );
        return remarks;
    };
    if let Some(algorithm) = sample.proven_by {
        let is_expired = sample.expired_at.is_some();
        let expired = if is_expired { "; it has expired, which does not matter here" } else { "" };
        remarks.push(format!("note: the signature of the sample is verified ({algorithm}){expired}"));
    }
    if let Audience::Unknown(why) = sample.findings.audience {
        remarks.push(format!("warning: {why}. Edit `audiences`, until then every token is refused"));
    }
    remarks.extend(sample.warnings.iter().map(|warning| format!("warning: {warning}")));
    remarks
}

/// Whether the sample would pass, or would have while it was good; nothing where that cannot be said or has been said.
fn rehearsed(token: &str, sample: &Sample, config: &Config, provider: &Provider, now: UnixTime) -> Option<String> {
    sample.proven_by?;
    let moment = sample.expired_at.map_or(now, |expiry| UnixTime::from_seconds(expiry.seconds().saturating_sub(1)));
    let refusal = match rehearsal::judge(token, config, &provider.keys, moment) {
        Ok(()) => return Some("note: with this configuration portcullis takes the sample".to_owned()),
        Err(refusal) => refusal,
    };
    let detail = refusal.detail().unwrap_or_default();
    let is_of_audience = refusal.rejection() == Rejection::AudienceMismatch || detail == "no aud";
    if is_of_audience && matches!(sample.findings.audience, Audience::Unknown(_)) {
        return None;
    }
    Some(format!("warning: with this configuration portcullis refuses the sample as {}: {detail}", refusal.rejection()))
}

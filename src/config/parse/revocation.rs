//! `revocation`: where the operators' revocations come from.
use crate::config::bounds::LIST_BYTES_MAX;
use crate::config::field::Field;
use crate::config::keys::revocation::KEYS;
use crate::config::parse::context::Context;
use crate::config::parse::key_source::{ca_pem, url};
use crate::config::parse::section::Section;
use crate::config::revocation_list::{self, KnownIssuers};
use crate::config::settings::{RemoteRevocations, RevocationFile, RevocationSource};

/// The keys that say how a list is fetched.
const OF_FETCHING: [&str; 4] = ["refresh", "timeout", "ca_file", "insecure_http"];
/// What is said to whoever would fetch a list without encryption.
const WHY_HTTPS: &str =
    "revocations are fetched over https: whoever can change them on the way can bring revoked tokens back to life";

/// Reads the section; `issuers` are the names that entries of a file may have.
pub(in crate::config) fn read(
    top: &Section<'_>,
    issuers: &[Box<str>],
    context: &mut Context<'_>,
) -> Option<RevocationSource> {
    let field = top.optional("revocation")?;
    let section = Section::read(&field, KEYS, &mut context.problems)?;
    let source = section.exactly_one_of(&["file", "url"], &mut context.problems)?;
    if source.name() == "file" {
        section.refuse(&OF_FETCHING, "is for `url` alone", &mut context.problems);
        return file(&source, issuers, context).map(RevocationSource::File);
    }
    let insecure_http = section.boolean("insecure_http", &mut context.problems);
    let example = "a URL such as `https://config.example.com/revoked.json`";
    let url = url(&source, example, (insecure_http, WHY_HTTPS), context);
    let ca_pem = ca_pem(&section, context);
    let problems = &mut context.problems;
    let (refresh, timeout) = (section.duration("refresh", problems), section.duration("timeout", problems));
    Some(RevocationSource::Remote(RemoteRevocations { url: url?, refresh, timeout, ca_pem, insecure_http }))
}

fn file(field: &Field<'_>, issuers: &[Box<str>], context: &mut Context<'_>) -> Option<RevocationFile> {
    let (path, content) = context.public_file(field, LIST_BYTES_MAX)?;
    let name = path.display().to_string();
    let known = KnownIssuers::These(issuers);
    let entries = revocation_list::parse(&name, &content, known, &mut context.problems)?;
    Some(RevocationFile { path, entries })
}

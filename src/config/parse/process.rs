//! `server`, `limits`, `claims_cache` and `log`: what concerns the whole process.
use crate::config::error::Problems;
use crate::config::keys::top::{CLAIMS_CACHE, LIMITS, LOG, RATE, SERVER};
use crate::config::parse::context::Context;
use crate::config::parse::section::Section;
use crate::config::settings::{
    AccessFormat, CacheLimits, ClientAddressForm, ClientLimits, ClientTimeouts, ConnectionLimits, Log, LogOutput, Rate,
    Server, StateDirectory, SubjectForm,
};
use crate::gate::request::RequestLimits;

/// Reads `server`.
pub(in crate::config) fn server(top: &Section<'_>, context: &mut Context<'_>) -> Server {
    let section = top.section("server", SERVER, &mut context.problems);
    let state_directory = match section.optional("state_directory") {
        None => StateDirectory::Usual,
        Some(field) if field.is_off() => StateDirectory::Off,
        Some(field) => match field.string(&mut context.problems) {
            Some(written) => StateDirectory::At(context.path(written)),
            None => StateDirectory::Usual,
        },
    };
    let upgrade_socket = section.optional("upgrade_socket").and_then(|field| field.string(&mut context.problems));
    let upgrade_socket = upgrade_socket.map(|written| context.path(written));
    let grace_period = section.duration("grace_period", &mut context.problems);
    let drain_delay = section.duration("drain_delay", &mut context.problems);
    if let Some(field) = section.optional("drain_delay").filter(|_| drain_delay > grace_period) {
        context.problems.add(field.error("longer than `server.grace_period`, within which the process ends"));
    }
    Server {
        threads: Some(section.count("threads", &mut context.problems)).filter(|threads| *threads > 0),
        grace_period,
        drain_delay,
        state_directory,
        upgrade_socket,
        watches_files: section.choice(
            "reload",
            &[("on_request", false), ("watch", true)],
            false,
            &mut context.problems,
        ),
    }
}

/// Reads `limits`.
pub(in crate::config) fn limits(top: &Section<'_>, context: &mut Context<'_>) -> (RequestLimits, ClientLimits) {
    let problems = &mut context.problems;
    let section = top.section("limits", LIMITS, problems);
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let limits = RequestLimits {
        token_bytes: bytes(section.size("token_bytes", problems)),
        header_bytes: bytes(section.size("header_bytes", problems)),
        headers: section.count("headers", problems),
        uri_bytes: bytes(section.size("uri_bytes", problems)),
        body_bytes: section.size_or_none("body_bytes", problems),
    };
    let clients = ClientLimits {
        timeouts: ClientTimeouts {
            head: section.duration("header_timeout", problems),
            body: section.duration("body_timeout", problems),
            keepalive: section.duration("keepalive_timeout", problems),
        },
        connections: ConnectionLimits {
            total: section.count("connections", problems),
            per_address: section.count_or_none("connections_per_address", problems),
        },
        failed_authentications: rate(&section, "failed_authentications", problems),
    };
    (limits, clients)
}

/// Reads a number of events in a time, or nothing where there is no limit.
fn rate(section: &Section<'_>, name: &str, problems: &mut Problems) -> Option<Rate> {
    section.optional(name)?.unless_off(problems, |field, problems| {
        let section = Section::read(field, RATE, problems)?;
        let is_whole = section.required("requests", problems).is_some() & section.required("per", problems).is_some();
        let rate = Rate { events: section.whole("requests", problems), period: section.duration("per", problems) };
        is_whole.then_some(rate)
    })?
}

/// Reads `claims_cache`.
pub(in crate::config) fn claims_cache(top: &Section<'_>, context: &mut Context<'_>) -> CacheLimits {
    let section = top.section("claims_cache", CLAIMS_CACHE, &mut context.problems);
    CacheLimits {
        entries: section.count("entries", &mut context.problems),
        bytes: section.size("bytes", &mut context.problems),
    }
}

/// Reads `log`.
pub(in crate::config) fn log(top: &Section<'_>, context: &mut Context<'_>) -> Log {
    let section = top.section("log", LOG, &mut context.problems);
    let access = [("json", AccessFormat::Json), ("text", AccessFormat::Text), ("off", AccessFormat::Off)];
    let level = [
        ("off", log::LevelFilter::Off),
        ("error", log::LevelFilter::Error),
        ("warn", log::LevelFilter::Warn),
        ("info", log::LevelFilter::Info),
        ("debug", log::LevelFilter::Debug),
        ("trace", log::LevelFilter::Trace),
    ];
    let subject = [("plain", SubjectForm::Plain), ("hash", SubjectForm::Hash), ("off", SubjectForm::Off)];
    let client_ip = [
        ("full", ClientAddressForm::Full),
        ("truncated", ClientAddressForm::Truncated),
        ("off", ClientAddressForm::Off),
    ];
    let output = section.text("output", &mut context.problems);
    Log {
        access: section.choice("access", &access, AccessFormat::Json, &mut context.problems),
        output: match output.as_str() {
            "stdout" => LogOutput::Stdout,
            "stderr" => LogOutput::Stderr,
            file => LogOutput::File(context.path(file)),
        },
        level: section.choice("level", &level, log::LevelFilter::Info, &mut context.problems),
        subject: section.choice("subject", &subject, SubjectForm::Plain, &mut context.problems),
        client_ip: section.choice("client_ip", &client_ip, ClientAddressForm::Full, &mut context.problems),
    }
}

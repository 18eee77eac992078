//! The issuers on the status page: who has which keys, how old they are, and what comes next.
use maud::{Markup, html};

use crate::{
    edge::admin::{
        status::{
            facts::{IssuerFacts, KeyFacts},
            figures::{count, duration},
            page::{ago, state},
        },
        views::printable,
    },
    state::key_slot::{KeyStatus, RemoteStatus},
};

/// Keys that are shown at once; the others unfold.
const KEYS_SHOWN: usize = 4;

/// All issuers.
pub(super) fn issuers(issuers: &[IssuerFacts]) -> Markup {
    html! {
        section.card {
            h2 { "Issuers" }
            @if issuers.is_empty() { p.muted { "None: no route takes tokens." } }
            @else {
                table.stacked {
                    thead { tr { th { "Issuer" } th { "State" } th { "Keys" } th { "Fetched" } th { "Next refresh" } th { "Last error" } } }
                    tbody { @for issuer in issuers { (row(issuer)) } }
                }
            }
        }
    }
}

fn row(issuer: &IssuerFacts) -> Markup {
    let has_keys = issuer.keys.is_some();
    html! {
        tr {
            td data-label="Issuer" {
                div {
                    strong { (issuer.name) } @if issuer.is_required { " " span.tag { "required" } }
                    div.muted.small.address { (issuer.identifier) }
                }
            }
            td data-label="State" { (state(has_keys, if has_keys { "has keys" } else { "no keys" })) }
            td data-label="Keys" { (keys(issuer)) }
            @match &issuer.status {
                KeyStatus::Fixed => {
                    td data-label="Fetched" { "with the configuration" }
                    td data-label="Next refresh" { "–" }
                    (error(None))
                }
                KeyStatus::File { age, last_error, .. } => {
                    td data-label="Fetched" { "file, read " (ago(Some(*age))) }
                    td data-label="Next refresh" { "when it changes" }
                    (error(last_error.as_deref()))
                }
                KeyStatus::Remote(status) => (remote(status)),
            }
        }
    }
}

fn remote(status: &RemoteStatus) -> Markup {
    html! {
        td data-label="Fetched" {
            div {
                (ago(status.age)) @if status.is_restored { " " span.tag { "from disk" } }
                @if let Some(left) = status.stale_in { div.muted.small { "good for " (duration(left)) } }
            }
        }
        td data-label="Next refresh" {
            div {
                "in " (duration(status.next_attempt_in))
                @if status.failures > 0 { div.muted.small { "after " (count(u64::from(status.failures))) " failures" } }
            }
        }
        (error(status.last_error.as_deref().or(status.metadata_error.as_deref()).or(status.disk_error.as_deref())))
    }
}

fn error(error: Option<&str>) -> Markup {
    html! { td.wide data-label="Last error" { @if let Some(error) = error { span.trouble { (printable(error)) } } @else { span.muted { "none" } } } }
}

fn keys(issuer: &IssuerFacts) -> Markup {
    let keys = issuer.keys.as_deref().unwrap_or_default();
    let (shown, more) = keys.split_at(keys.len().min(KEYS_SHOWN));
    html! {
        div {
            @if keys.is_empty() { span.muted { "–" } }
            ul.keys { @for key in shown { (one(key)) } }
            @if !more.is_empty() {
                details id=(format!("keys-{}", issuer.name)) { summary { (more.len()) " more" } ul.keys { @for key in more { (one(key)) } } }
            }
            @if issuer.skipped > 0 { div.muted.small { (issuer.skipped) " that cannot be used" } }
        }
    }
}

fn one(key: &KeyFacts) -> Markup {
    html! { li { code { (key.kid.as_deref().unwrap_or("(no kid)")) } " " span.muted.small { (key.algorithms) } } }
}

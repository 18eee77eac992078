//! The page as HTML. Every value is escaped by `maud`, and what came from outside is plain ASCII before.
use std::time::{Duration, SystemTime};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    edge::{
        admin::{
            status::{
                attention::{Weight, attention},
                facts::{CertificateFacts, Facts, UpstreamFacts},
                figures::{bars, count, duration, milliseconds, percent, rate},
                issuers::issuers,
            },
            views::printable,
        },
        clock,
        rejections::RecentRejection,
    },
    state::{
        rejection_counts::{MINUTES, ReasonCount},
        traffic::{INTERVAL, Stretch, WINDOW},
    },
};

/// What the page looks like, and what refreshes it; the policy names them by their digests.
pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("script.js");

/// The mark of the product: a gate.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='none' \
                    stroke='%23427bd2' stroke-width='2' d='M2 15V7a6 6 0 0 1 12 0v8M6 3v10M10 3v10M2 8h12'/%3E%3C/svg%3E";

/// Minutes of the shorter of the two counts of refusals.
const SHORT_MINUTES: usize = 5;
/// Views that can be read besides.
const VIEWS: [&str; 9] = [
    "/metrics",
    "/readyz?verbose",
    "/livez",
    "/routes",
    "/issuers",
    "/upstreams",
    "/config",
    "/revocations",
    "/rejections",
];

/// The whole page.
pub(super) fn page(facts: &Facts) -> Markup {
    let verdict = if facts.is_ready() { "ready" } else { "NOT READY" };
    frame(
        &format!("{verdict} · portcullis"),
        html! {
            (self::verdict(facts))
            (needs_attention(facts))
            (tiles(facts))
            (issuers(&facts.issuers))
            div.pair {
                (reasons(&facts.reasons))
                div.column {
                    (upstreams(&facts.upstreams))
                    (certificates(&facts.certificates))
                }
            }
            (rejections(&facts.rejections))
            (configuration(facts))
        },
    )
}

/// What somebody gets who must first say a token: a place to type it in. It stays in the page's memory.
pub(super) fn sign_in() -> Markup {
    frame(
        "portcullis",
        html! {
            section.card.verdict {
                h1 { "A token is required" }
                p { "This address wants the bearer token for reads (" code { "admin.read_token_file" } ")." }
                form id="token" {
                    label for="secret" { "Token" }
                    input id="secret" type="password" autocomplete="off" required;
                    button type="submit" { "Show the status" }
                    p id="wrong" role="alert" {}
                }
                noscript { p { "Without JavaScript a browser cannot send it: reach this address through the unix socket or a tunnel to loopback, or use curl." } }
            }
        },
    )
}

fn frame(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href=(ICON);
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    img src=(ICON) alt="" width="28" height="28";
                    strong { "portcullis" }
                    span.muted { (env!("CARGO_PKG_VERSION")) }
                    span.space {}
                    span.muted id="pulse" { noscript { "Reload the page for newer figures" } }
                    button id="pause" type="button" hidden { "Pause" }
                }
                p id="stale" role="alert" hidden {}
                main { (content) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn verdict(facts: &Facts) -> Markup {
    let is_ready = facts.is_ready();
    let unmet: Vec<&str> =
        facts.conditions.iter().filter(|(_, is_met)| !is_met).map(|(name, _)| name.as_str()).collect();
    html! {
        section.card.verdict.good[is_ready].bad[!is_ready] {
            h1 { span.mark aria-hidden="true" { (if is_ready { "✓" } else { "✕" }) } (if is_ready { "Ready" } else { "Not ready" }) }
            p {
                @if is_ready { "Every condition is met: this host takes traffic." }
                @else if facts.is_draining { "This host is about to stop and finishes what it began." }
                @else { "Load balancers are told 503. Missing: " strong { (unmet.join(", ")) } "." }
            }
            ul.conditions {
                @for (name, is_met) in &facts.conditions {
                    li.unmet[!is_met] { span aria-hidden="true" { (if *is_met { "✓" } else { "✕" }) } " " (name) @if !is_met { span.hidden { " (not met)" } } }
                }
            }
            p.muted.small { "up " (duration(facts.uptime)) " · as of " (time(facts.at)) }
        }
    }
}

fn needs_attention(facts: &Facts) -> Markup {
    let found = attention(facts);
    html! {
        section.card {
            h2 { "Needs attention" }
            @if found.is_empty() { p.muted { "Nothing." } }
            ul.attention {
                @for (weight, what) in &found {
                    @let is_bad = *weight == Weight::Bad;
                    li.bad[is_bad].warning[!is_bad] { span.tag { (if is_bad { "bad" } else { "warning" }) } span.what { (what) } }
                }
            }
        }
    }
}

fn tile(label: &str, value: &str, chart: Option<&[f64]>, more: &str) -> Markup {
    html! {
        div.tile {
            dt { (label) }
            dd {
                span.value { (value) }
                @if let Some(chart) = chart { (bars(chart)) }
                span.muted.small { (more) }
            }
        }
    }
}

/// One figure of each reading of the last minutes, nothing for the time before the first.
fn series(facts: &Facts, figure: fn(&Stretch) -> f64) -> Vec<f64> {
    let places = (WINDOW.as_secs() / INTERVAL.as_secs()) as usize;
    let mut values = vec![0.0; places.saturating_sub(facts.stretches.len())];
    values.extend(facts.stretches.iter().map(figure));
    values
}

fn tiles(facts: &Facts) -> Markup {
    let counted = &facts.traffic.counted;
    let window = format!("last {}", duration(facts.traffic.length));
    let rates = series(facts, Stretch::requests_per_second);
    let errors = series(facts, |stretch| stretch.counted.server_errors as f64);
    let hits = series(facts, |stretch| stretch.counted.cache_hits as f64 / stretch.counted.cache_lookups.max(1) as f64);
    let refused: u64 = facts.reasons.iter().map(|reason| reason.last(MINUTES)).sum();
    let mut by_minute = [0.0; MINUTES];
    for reason in &facts.reasons {
        for (sum, count) in by_minute.iter_mut().zip(reason.minutes) {
            *sum += f64::from(count);
        }
    }
    let requests = format!("{} in the {window}", count(counted.requests));
    let failed = format!("{} in the {window}", count(counted.server_errors));
    let entries = format!("{window} · {} of {} tokens", count(facts.cache_entries), count(facts.cache_capacity));
    let (hit_share, error_share) =
        (percent(counted.cache_hits, counted.cache_lookups), percent(counted.server_errors, counted.requests));
    let now = |number: i64| count(number.try_into().unwrap_or(0));
    html! {
        dl.tiles {
            (tile("Requests a second", &rate(facts.traffic.requests_per_second()), Some(&rates), &requests))
            (tile("Answered with 5xx", &error_share, Some(&errors), &failed))
            (tile("Refused", &count(refused), Some(&by_minute), &format!("in the last {MINUTES} min")))
            @if facts.cache_capacity == 0 {
                (tile("Claims cache", "off", None, "every request costs a signature check"))
            } @else {
                (tile("Claims cache hits", &hit_share, Some(&hits), &entries))
            }
            (tile("In flight", &now(facts.in_flight), None, "requests now"))
            (tile("Connections", &now(facts.connections), None, &format!("of clients now · {} streams", count(facts.streams))))
        }
    }
}

fn reasons(reasons: &[ReasonCount]) -> Markup {
    html! {
        section.card {
            h2 { "Refused, by reason" }
            @if reasons.is_empty() { p.muted { "Nothing was refused in the last " (MINUTES) " minutes." } }
            @else {
                table.plain.reasons {
                    thead { tr { th { "Reason" } th.chart { span.hidden { "By minute" } } th.number { (SHORT_MINUTES) " min" } th.number { (MINUTES) " min" } } }
                    tbody {
                        @for reason in reasons {
                            @let row = reason.rejection.row();
                            tr {
                                td { code { (row.label) } " " span.muted.small { (row.status) } }
                                td.chart { (bars(&reason.minutes.map(f64::from))) }
                                td.number { (count(reason.last(SHORT_MINUTES))) }
                                td.number { (count(reason.last(MINUTES))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rejections(rejections: &[RecentRejection]) -> Markup {
    html! {
        section.card {
            h2 { "Last refusals" }
            @if rejections.is_empty() { p.muted { "None since the start." } }
            @else {
                table.stacked.refusals {
                    thead { tr { th { "Time" } th { "Reason" } th { "Route" } th { "Detail" } th { "Client" } th { "Request id" } } }
                    tbody {
                        @for rejection in rejections {
                            tr {
                                td data-label="Time" { (time(rejection.time)) }
                                td data-label="Reason" { code { (rejection.rejection.label()) } }
                                td data-label="Route" { (rejection.route) }
                                td.wide data-label="Detail" { (rejection.detail.as_deref().map_or_else(|| "–".to_owned(), printable)) }
                                td data-label="Client" { @if let Some(address) = rejection.client_ip { (address) } @else { "–" } }
                                td data-label="Request id" { code.id { (printable(&rejection.request_id)) } }
                            }
                        }
                    }
                }
                p.muted.small { "The last 200 are at " a href="rejections" { "/rejections" } "." }
            }
        }
    }
}

fn upstreams(upstreams: &[UpstreamFacts]) -> Markup {
    html! {
        section.card {
            h2 { "Upstreams" }
            @if upstreams.is_empty() { p.muted { "None: every route answers by itself." } }
            @else {
                table.plain {
                    thead { tr { th { "Upstream" } th.number { "Answers" } th.number { "Mean" } th.number { "Retries" } } }
                    tbody {
                        @for upstream in upstreams {
                            tr {
                                td {
                                    strong { (upstream.name) }
                                    ul.servers {
                                        @for server in &upstream.servers {
                                            li {
                                                (state(server.is_well, if server.is_well { "well" } else { "down" })) " " code { (server.name) }
                                                @if let Some(trouble) = &server.trouble { br; span.small.trouble { (trouble) } }
                                            }
                                        }
                                    }
                                }
                                td.number { (count(upstream.answers)) }
                                td.number { (upstream.mean.map_or_else(|| "–".to_owned(), milliseconds)) }
                                td.number { (count(upstream.retries)) }
                            }
                        }
                    }
                }
                p.muted.small { "Counted since the start; the mean is that of the wait for the head of an answer." }
            }
        }
    }
}

fn configuration(facts: &Facts) -> Markup {
    html! {
        section.card {
            h2 { "Configuration" }
            dl.facts {
                dt { "Last reload" }
                dd {
                    @match (facts.reload.asked_for, &facts.reload.failure) {
                        (None, _) => "none since the start",
                        (Some(at), None) => { (state(true, "taken")) " at " (time(at)) }
                        (Some(at), Some(failure)) => {
                            (state(false, "failed")) " at " (time(at)) ", the log has all of it" br; span.small.trouble { (failure) }
                        }
                    }
                }
                dt { "In force" }
                dd {
                    @if let Some(since) = facts.reload.in_force_since { "since " (time(since)) }
                    @if facts.reload.is_outdated { "; " (state(false, "the file is another now")) }
                }
                dt { "Routes" }
                dd { (count(facts.routes as u64)) }
                dt { "Public" }
                dd { @if facts.public_routes.is_empty() { "none" } @else { (facts.public_routes.join(", ")) } }
                dt { "On trial" }
                dd {
                    @if facts.observed_routes.is_empty() { "none" }
                    ul.servers {
                        @for route in &facts.observed_routes {
                            li { (route.name) ": " (if route.is_authentication { "authentication" } else { "rules" }) " would have refused " (count(route.would_refuse)) " since the start" }
                        }
                    }
                }
                dt { "Turned away" }
                dd {
                    @if facts.turned_away.is_empty() { "nobody for being too many" }
                    ul.servers { @for (what, times) in &facts.turned_away { li { (count(*times)) " " (what) } } }
                }
                dt { "Revocations" }
                dd { (count(facts.revocations)) " in force" }
            }
            nav aria-label="Views" { @for view in VIEWS { a href=(view.trim_start_matches('/')) { (view) } " " } }
        }
    }
}

fn certificates(certificates: &[CertificateFacts]) -> Markup {
    html! {
        section.card {
            h2 { "Certificates" }
            @if certificates.is_empty() { p.muted { "No listener has one." } }
            @else {
                table.plain {
                    thead { tr { th { "Certificate" } th { "Listener" } th { "Expires" } } }
                    tbody {
                        @for certificate in certificates {
                            tr {
                                td { (certificate.name) }
                                td { (certificate.listener) }
                                td {
                                    @match certificate.left {
                                        Some(left) => { "in " (duration(left)) }
                                        None => (state(false, "expired")),
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A word for a state, never told by its colour alone.
pub(super) fn state(is_good: bool, word: &str) -> Markup {
    html! { span.state.good[is_good].bad[!is_good] { span aria-hidden="true" { (if is_good { "●" } else { "▲" }) } " " (word) } }
}

/// A moment: the time of day in UTC, the day beside it.
fn time(at: SystemTime) -> Markup {
    let mut text = Vec::new();
    clock::append_rfc3339(&mut text, at);
    let text = String::from_utf8(text).unwrap_or_default();
    let (day, rest) = text.split_once('T').unwrap_or((&text, ""));
    let clock = rest.get(..8).unwrap_or(rest);
    html! { time datetime=(text) title=(day) { (clock) " UTC" } }
}

/// How long ago something was.
pub(super) fn ago(age: Option<Duration>) -> String {
    age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", duration(age)))
}

//! What holds for all routes: identity headers, what clients may not send, limits, proxies, revocation, the process.
use serde_json::Value;

use crate::config::difference::{Changes, Direction, Side};
use crate::config::settings::assertion::{AssertionKeyFile, AssertionSettings, PublishedKeyFile};
use crate::config::settings::{
    Admin, ClientLimits, ClientTimeouts, Config, ConnectionLimits, Live, Rate, RemoteRevocations, RevocationSource,
    Startup, Upstream,
};
use crate::gate::assertion::AssertionRule;
use crate::gate::assertion_key::PublishedKey;
use crate::gate::decide::Ruleset;
use crate::gate::extraction::IdentityHeader;
use crate::gate::provenance::TrustedProxies;
use crate::gate::request::RequestLimits;
use crate::gate::revocation::Revocation;

use Direction::{Looser, Neither, Stricter, Unclear};

/// Keys that begin with `insecure_` and of which nothing else speaks.
const INSECURE: [&str; 2] = ["insecure_merged_subjects", "insecure_cookie_name"];

/// Everything in which the two differ, besides listeners, routes and issuers.
pub(super) fn compare(old_side: Side<'_>, new_side: Side<'_>, changes: &mut Changes) {
    // Taken apart by name, so that nothing is left out.
    let Config { startup, live } = new_side.0;
    let Live { ruleset, keys: _, upstreams, revocation, trusted_proxies, drop_underscore_headers, document, assertion } =
        live;
    let old = &old_side.0.live;
    compare_ruleset(&old.ruleset, ruleset, changes);
    compare_upstreams(&old.upstreams, upstreams, changes);
    compare_revocation(old.revocation.as_ref(), revocation.as_ref(), changes);
    compare_proxies(&old.trusted_proxies, trusted_proxies, changes);
    compare_assertion(old.assertion.as_ref(), assertion.as_ref(), changes);
    if *drop_underscore_headers != old.drop_underscore_headers {
        let direction = if *drop_underscore_headers { Stricter } else { Looser };
        changes.add(direction, "headers", format!("names with an underscore are removed: {drop_underscore_headers}"));
    }
    for key in INSECURE {
        let (before, now) = (places(&old.document, key), places(document, key));
        changes.add_members(("insecure", key), (&before, &now), (Looser, Stricter), |place| {
            if place.is_empty() { "at the top".to_owned() } else { place.clone() }
        });
    }
    // Such values are secrets, and not read here.
    let (before, now) = (headers_from_files(&old.document), headers_from_files(document));
    changes.add_members(("headers", "values from files"), (&before, &now), (Neither, Neither), Clone::clone);
    compare_startup((&old_side.0.startup, &old.document), (startup, document), changes);
}

/// Which headers get a value from which file, and on which route.
fn headers_from_files(document: &Value) -> Vec<String> {
    let routes = document.get("routes").and_then(Value::as_array).into_iter().flatten();
    let name = |route: &Value| {
        ["name", "path_prefix", "path"].iter().find_map(|key| route.get(key)?.as_str()).unwrap_or_default().to_owned()
    };
    let all = routes.map(|route| (name(route), route));
    let defaults = document.get("route_defaults").map(|defaults| ("route_defaults".to_owned(), defaults));
    let set = all.chain(defaults).flat_map(|(name, route)| {
        ["request_headers", "response_headers"].map(|key| {
            let set = route.get(key).and_then(|headers| headers.get("set")?.as_object());
            (format!("{name} {key}"), set)
        })
    });
    set.flat_map(|(place, set)| {
        set.into_iter().flatten().filter_map(move |(header, value)| {
            let file = value.get("file")?.as_str()?;
            Some(format!("{header} of {place} from {file}"))
        })
    })
    .collect()
}

/// Where a key stands in a document with another value than `false`.
fn places(document: &Value, key: &str) -> Vec<String> {
    let below = |name: &str, value: &Value| -> Vec<String> {
        places(value, key)
            .into_iter()
            .map(|place| if place.is_empty() { name.to_owned() } else { format!("{name}.{place}") })
            .collect()
    };
    match document {
        Value::Object(members) => {
            let here = members.get(key).is_some_and(|value| *value != Value::Bool(false));
            let below = members.iter().flat_map(|(name, value)| below(name, value));
            here.then(String::new).into_iter().chain(below).collect()
        }
        // What has no name is what it says: its position says nothing.
        Value::Array(elements) => elements
            .iter()
            .flat_map(|element| {
                let name = element.get("name").and_then(Value::as_str);
                below(&name.map_or_else(|| element.to_string(), str::to_owned), element)
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn compare_ruleset(old: &Ruleset, new: &Ruleset, changes: &mut Changes) {
    let Ruleset {
        routes: _,
        issuers: _,
        identity_headers,
        conditions: _,
        firewall,
        limits,
        token_sources,
        realm,
        resource_metadata,
        // Compared with its keys.
        assertion: _,
    } = new;
    let place = "identity headers";
    for header in identity_headers {
        let IdentityHeader { name, source, required } = header;
        let Some(before) = old.identity_headers.iter().find(|other| other.name.eq_ignore_ascii_case(name)) else {
            let direction = if *required { Stricter } else { Neither };
            changes.add(direction, place, format!("{name} is new"));
            continue;
        };
        if *source != before.source {
            changes.add(Unclear, place, format!("{name} is made of something else"));
        }
        if *required != before.required {
            let direction = if *required { Stricter } else { Looser };
            changes.add(direction, place, format!("a token must have what {name} is made of: {required}"));
        }
    }
    let is_kept =
        |header: &IdentityHeader| identity_headers.iter().any(|other| other.name.eq_ignore_ascii_case(&header.name));
    for header in old.identity_headers.iter().filter(|header| !is_kept(header)) {
        let direction = if header.required { Looser } else { Neither };
        changes.add(direction, place, format!("{} is no longer written", header.name));
    }
    let place = "headers of clients";
    let (passing, removed) = (old.firewall.beyond(firewall), firewall.beyond(&old.firewall));
    if !passing.is_empty() {
        changes.add(Looser, place, format!("no longer removed, in whatever spelling: {}", passing.join(", ")));
    }
    if !removed.is_empty() {
        changes.add(Stricter, place, format!("removed, in whatever spelling: {}", removed.join(", ")));
    }
    let gone = old.token_sources.iter().filter(|source| !token_sources.contains(source)).count();
    if gone > 0 {
        changes.add(Looser, place, "tokens in a place where no route looks any more are forwarded as they are");
    }
    compare_limits(&old.limits, limits, changes);
    if *realm != old.realm {
        changes.add(Neither, "challenges", "another realm");
    }
    if *resource_metadata != old.resource_metadata {
        changes.add(Neither, "challenges", "clients are told of other authorization servers (resource)");
    }
}

fn compare_assertion(old: Option<&AssertionSettings>, new: Option<&AssertionSettings>, changes: &mut Changes) {
    let place = "assertion";
    let (old, new) = match (old, new) {
        (None, None) => return,
        (None, Some(_)) => return changes.add(Neither, place, "services are told by a signature who is calling"),
        // Whoever reads it refuses all; whoever reads it where there is one trusts headers alone.
        (Some(_), None) => {
            return changes.add(Unclear, place, "services are no longer told by a signature who is calling");
        }
        (Some(old), Some(new)) => (old, new),
    };
    let AssertionSettings { rule, key_file, published } = new;
    let AssertionRule { header, lifetime, algorithm, issuer, publish } = rule;
    if (header, algorithm, issuer) != (&old.rule.header, &old.rule.algorithm, &old.rule.issuer) {
        changes.add(Unclear, place, "it has another header, algorithm or issuer");
    }
    changes.add_limit((place, "lifetime"), (Some(old.rule.lifetime), Some(*lifetime)), |time| format!("{time:?}"));
    let key_path = |file: &Option<AssertionKeyFile>| file.as_ref().map(|file| file.path.clone());
    if key_path(key_file) != key_path(&old.key_file) {
        changes.add(Unclear, place, "it is signed with the key of another file");
    }
    let is_beside = |these: &[PublishedKeyFile], key: &PublishedKey| these.iter().any(|other| other.key == *key);
    let (added, removed) = (
        published.iter().filter(|file| !is_beside(&old.published, &file.key)).count(),
        old.published.iter().filter(|file| !is_beside(published, &file.key)).count(),
    );
    if added > 0 {
        changes.add(Looser, place, format!("{added} more keys are published as trustworthy"));
    }
    if removed > 0 {
        changes.add(Stricter, place, format!("{removed} keys are no longer published"));
    }
    if *publish != old.rule.publish {
        changes.add(Neither, place, format!("listeners publish its keys: {publish}"));
    }
}

fn compare_limits(old: &RequestLimits, new: &RequestLimits, changes: &mut Changes) {
    // Bodies are compared by route.
    let RequestLimits { token_bytes, header_bytes, headers, uri_bytes, body_bytes: _ } = new;
    let rows = [
        ("token_bytes", old.token_bytes, *token_bytes),
        ("header_bytes", old.header_bytes, *header_bytes),
        ("headers", old.headers, *headers),
        ("uri_bytes", old.uri_bytes, *uri_bytes),
    ];
    for (what, before, now) in rows {
        changes.add_limit(("limits", what), (Some(before), Some(now)), |limit| limit.to_string());
    }
}

fn compare_upstreams(old: &[Upstream], new: &[Upstream], changes: &mut Changes) {
    for upstream in new {
        let Some(before) = old.iter().find(|other| other.name == upstream.name) else { continue };
        let place = format!("upstream {}", upstream.name);
        match (&before.tls, &upstream.tls) {
            (Some(_), None) => changes.add(Looser, &place, "requests are sent to it without TLS"),
            (None, Some(_)) => changes.add(Stricter, &place, "requests are sent to it by TLS"),
            (before, now) if before != now => {
                changes.add(Unclear, &place, "other names or certificates are trusted, or shown to it (tls)");
            }
            (Some(_) | None, _) => {}
        }
        let rest = |upstream: &Upstream| Upstream { tls: None, ..upstream.clone() };
        if rest(before) != rest(upstream) {
            changes.add(Neither, &place, "other servers, or another way to reach them");
        }
    }
}

fn compare_revocation(old: Option<&RevocationSource>, new: Option<&RevocationSource>, changes: &mut Changes) {
    let place = "revocation";
    match (old, new) {
        (None, None) => {}
        (None, Some(_)) => changes.add(Stricter, place, "there is a list"),
        (Some(_), None) => changes.add(Looser, place, "there is no list any more"),
        (Some(RevocationSource::File(old)), Some(RevocationSource::File(new))) => {
            let beyond = |these: &[Revocation], those: &[Revocation]| {
                these.iter().filter(|this| !those.iter().any(|that| that.effect() == this.effect())).count()
            };
            let (gone, added) = (beyond(&old.entries, &new.entries), beyond(&new.entries, &old.entries));
            if gone > 0 {
                changes.add(Looser, place, format!("{gone} entries of the list are gone"));
            }
            if added > 0 {
                changes.add(Stricter, place, format!("{added} entries of the list are new"));
            }
            if old.path.file_name() != new.path.file_name() {
                changes.add(Neither, place, "the list is in another file");
            }
        }
        (Some(RevocationSource::Remote(old)), Some(RevocationSource::Remote(new))) => {
            let RemoteRevocations { url, refresh, timeout, ca_pem, insecure_http } = new;
            if *url != old.url || *ca_pem != old.ca_pem {
                changes.add(Unclear, place, "the list is fetched from elsewhere");
            }
            if *insecure_http != old.insecure_http {
                let direction = if *insecure_http { Looser } else { Stricter };
                changes.add(direction, place, format!("the list may be fetched without encryption: {insecure_http}"));
            }
            let seconds = |duration: std::time::Duration| format!("{} s", duration.as_secs());
            changes.add_limit((place, "time between two fetches"), (Some(old.refresh), Some(*refresh)), seconds);
            if *timeout != old.timeout {
                changes.add(Neither, place, "another timeout");
            }
        }
        (Some(_), Some(_)) => changes.add(Unclear, place, "the list comes from elsewhere"),
    }
}

fn compare_proxies(old: &TrustedProxies, new: &TrustedProxies, changes: &mut Changes) {
    let TrustedProxies { networks, by_unix_socket } = new;
    let place = "trusted_proxies";
    let added = networks.iter().filter(|network| !old.networks.iter().any(|wider| wider.covers(network)));
    let added: Vec<String> = added.map(ToString::to_string).collect();
    if !added.is_empty() {
        changes.add(Looser, place, format!("what {} say of clients is believed", added.join(", ")));
    }
    let removed = old.networks.iter().filter(|network| !networks.iter().any(|wider| wider.covers(network)));
    let removed: Vec<String> = removed.map(ToString::to_string).collect();
    if !removed.is_empty() {
        // Their own address is the client's now, which a rule may admit.
        changes.add(Unclear, place, format!("what {} say of clients is no longer believed", removed.join(", ")));
    }
    if *by_unix_socket != old.by_unix_socket {
        let direction = if *by_unix_socket { Looser } else { Unclear };
        changes.add(direction, place, format!("whoever comes by a unix socket is believed: {by_unix_socket}"));
    }
}

fn compare_startup(
    (old, old_document): (&Startup, &Value),
    (new, document): (&Startup, &Value),
    changes: &mut Changes,
) {
    let Startup { listeners: _, admin, server, log, claims_cache, clients } = new;
    compare_admin((&old.admin, old_document), (admin, document), changes);
    compare_clients(&old.clients, clients, changes);
    let others = [
        (*server != old.server, "server"),
        (*log != old.log, "log"),
        (*claims_cache != old.claims_cache, "claims_cache"),
    ];
    for (_, place) in others.iter().filter(|(is_other, _)| *is_other) {
        changes.add(Neither, place, "it is set otherwise");
    }
}

fn compare_admin((old, old_document): (&Admin, &Value), (new, document): (&Admin, &Value), changes: &mut Changes) {
    // Tokens are secrets, and not read here: whether there are some is in the document.
    let Admin { address, read_token: _, write_token: _, allowed_hosts } = new;
    let place = "admin";
    match (&old.address, address) {
        (None, Some(address)) => changes.add(Looser, place, format!("it listens on {address}")),
        (Some(_), None) => changes.add(Stricter, place, "it is off"),
        (Some(before), Some(now)) if before != now => {
            changes.add(Unclear, place, format!("it listens on {now}; before: {before}"));
        }
        (Some(_) | None, _) => {}
    }
    changes.add_members(
        (place, "allowed_hosts"),
        (&old.allowed_hosts, allowed_hosts),
        (Looser, Stricter),
        ToString::to_string,
    );
    // Without a token for changes TCP takes none; without one for reads, reads are free.
    for (key, added, removed) in [("read_token_file", Stricter, Looser), ("write_token_file", Looser, Stricter)] {
        let written = |document: &Value| document.pointer("/admin").and_then(|admin| admin.get(key)).cloned();
        match (written(old_document), written(document)) {
            (None, Some(_)) => changes.add(added, place, format!("{key} is new")),
            (Some(_), None) => changes.add(removed, place, format!("{key} is gone")),
            (before, now) if before != now => changes.add(Unclear, place, format!("{key} is another")),
            (Some(_) | None, _) => {}
        }
    }
}

fn compare_clients(old: &ClientLimits, new: &ClientLimits, changes: &mut Changes) {
    let ClientLimits { timeouts, connections, failed_authentications } = new;
    let ClientTimeouts { head, body, keepalive } = timeouts;
    let ConnectionLimits { total, per_address } = connections;
    let place = "limits";
    changes.add_limit((place, "connections"), (Some(old.connections.total), Some(*total)), |limit| limit.to_string());
    let limits = (old.connections.per_address, *per_address);
    changes.add_limit((place, "connections of one address"), limits, |limit| limit.to_string());
    let implies = |one: Option<Rate>, other: Option<Rate>| match (one, other) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(one), Some(other)) => one.events <= other.events && one.period >= other.period,
    };
    let (before, now) = (old.failed_authentications, *failed_authentications);
    if let Some(direction) = Direction::of(implies(now, before), implies(before, now)) {
        changes.add(direction, place, "failed authentications of one address");
    }
    if (*head, *body, *keepalive) != (old.timeouts.head, old.timeouts.body, old.timeouts.keepalive) {
        changes.add(Neither, place, "clients may take another time");
    }
}

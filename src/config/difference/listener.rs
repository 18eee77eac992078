//! Where requests come in. A listener is the same one while its name is.
use crate::config::difference::{Changes, Direction, Side};
use crate::config::settings::listener::{ClientCertificates, Listener, ListenerTls};

use Direction::{Looser, Neither, Stricter, Unclear};

/// Everything in which listeners differ; what they serve is compared elsewhere.
pub(super) fn compare(old: Side<'_>, new: Side<'_>, changes: &mut Changes) {
    let (before, now) = (&old.0.startup.listeners, &new.0.startup.listeners);
    let known = |listeners: &[Listener], name: &str| listeners.iter().any(|listener| *listener.name == *name);
    for listener in now {
        let place = format!("listener {}", listener.name);
        match before.iter().find(|other| other.name == listener.name) {
            Some(other) => compare_one(&place, other, listener, changes),
            None if listener.redirect.is_some() => changes.add(Neither, &place, "it is new, and redirects"),
            None => {
                let routes = new.ruleset().routes.routes();
                let id = new.listener(&listener.name);
                let served = routes.iter().filter(|route| id.is_some_and(|id| route.listeners.contains(&id)));
                let names: Vec<&str> = served.map(|route| route.name.as_ref()).collect();
                changes.add(Looser, &place, format!("it is new, and serves {}", names.join(", ")));
            }
        }
    }
    for listener in before.iter().filter(|listener| !known(now, &listener.name)) {
        changes.add(Stricter, &format!("listener {}", listener.name), "it is gone");
    }
}

fn compare_one(place: &str, old: &Listener, new: &Listener, changes: &mut Changes) {
    let Listener { name: _, address, tls, http2, proxy_protocol, redirect } = new;
    if *address != old.address {
        changes.add(Unclear, place, format!("it listens on {address}; before: {}", old.address));
    }
    match (&old.tls, tls) {
        (Some(before), Some(now)) => compare_tls(place, before, now, changes),
        (Some(_), None) => changes.add(Looser, place, "requests may come without TLS"),
        (None, Some(_)) => changes.add(Stricter, place, "requests come by TLS alone"),
        (None, None) => {}
    }
    if *proxy_protocol != old.proxy_protocol {
        changes.add(Unclear, place, "other peers say whom requests come from (proxy_protocol)");
    }
    match (old.redirect, redirect) {
        (Some(_), None) => changes.add(Looser, place, "it serves requests; before it sent them to https"),
        (None, Some(_)) => changes.add(Stricter, place, "it sends requests to https; before it served them"),
        (Some(before), Some(now)) if before != *now => changes.add(Neither, place, "it redirects to another port"),
        (Some(_) | None, _) => {}
    }
    if *http2 != old.http2 {
        changes.add(Neither, place, format!("http2 is {http2}"));
    }
}

fn compare_tls(place: &str, old: &ListenerTls, new: &ListenerTls, changes: &mut Changes) {
    let ListenerTls { certificates, clients } = new;
    if *certificates != old.certificates {
        changes.add(Neither, place, "other certificates");
    }
    match (&old.clients, clients) {
        (Some(before), Some(now)) => {
            let ClientCertificates { authorities, are_required } = now;
            if *authorities != before.authorities {
                changes.add(Unclear, place, "other authorities sign the certificates of clients");
            }
            if *are_required != before.are_required {
                let (direction, text) = if *are_required {
                    (Stricter, "clients need a certificate")
                } else {
                    (Looser, "clients need no certificate any more")
                };
                changes.add(direction, place, text);
            }
        }
        (Some(before), None) if before.are_required => {
            changes.add(Looser, place, "clients need no certificate any more");
        }
        (None, Some(now)) if now.are_required => changes.add(Stricter, place, "clients need a certificate"),
        (Some(_), None) | (None, Some(_)) => {
            changes.add(Neither, place, "clients may show a certificate, or no longer")
        }
        (None, None) => {}
    }
}

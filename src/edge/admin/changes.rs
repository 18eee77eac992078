//! What can be changed while the process runs, and the doing of it. Every request for a change is logged with who asked and
//! what became of it; no token is.
use std::{fmt, time::Duration};

use http::{Method, Response};
use pingora_core::protocols::{http::ServerSession, l4::socket::SocketAddr};
use serde_json::{Value, json};

use crate::{
    edge::{
        admin::{AdminApp, denied, json as answer, refusal, text, views},
        clock,
        issuer_keys::Refreshed,
        reload::ReloadError,
        upgrade::{UpgradeError, Upgraded},
    },
    gate::{
        issuer::IssuerId,
        rejection::{Rejection, quoted},
    },
    state::key_slot::KeySlot,
};

/// How long the answer to a refresh waits for the disk, and how often it is looked at meanwhile.
const DISK_PATIENCE: Duration = Duration::from_secs(2);
const DISK_LOOK: Duration = Duration::from_millis(5);

/// Something that can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// `POST /issuers/NAME/refresh`: the keys of this issuer are fetched, or read from their file, now.
    RefreshKeys(String),
    /// `POST /reload`: the configuration is read again.
    Reload,
    /// `POST /upgrade`: another process takes the place of this one.
    Upgrade,
    /// `POST /revocations`: an entry of this instance's own.
    Revoke,
    /// `DELETE /revocations/ID`: one of them is taken back.
    Unrevoke(String),
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefreshKeys(name) => write!(formatter, "a refresh of the keys of issuer {}", quoted(name)),
            Self::Reload => formatter.write_str("a reload of the configuration"),
            Self::Upgrade => formatter.write_str("an upgrade"),
            Self::Revoke => formatter.write_str("a revocation"),
            Self::Unrevoke(id) => write!(formatter, "the revocation {} to be taken back", quoted(id)),
        }
    }
}

impl Change {
    /// The change that a path names.
    pub(super) fn at(path: &str) -> Option<Self> {
        if path == "/reload" {
            return Some(Self::Reload);
        }
        if path == "/upgrade" {
            return Some(Self::Upgrade);
        }
        if path == "/revocations" {
            return Some(Self::Revoke);
        }
        if let Some(id) = path.strip_prefix("/revocations/") {
            return Some(Self::Unrevoke(decoded(id)));
        }
        let name = path.strip_prefix("/issuers/")?.strip_suffix("/refresh")?;
        (!name.contains('/')).then(|| Self::RefreshKeys(decoded(name)))
    }

    /// The method that asks for it.
    pub(super) const fn method(&self) -> Method {
        match self {
            Self::RefreshKeys(_) | Self::Reload | Self::Upgrade | Self::Revoke => Method::POST,
            Self::Unrevoke(_) => Method::DELETE,
        }
    }
}

impl AdminApp {
    /// Makes a change for whoever may ask for it.
    pub(super) async fn change(&self, session: &mut ServerSession, change: &Change) -> Response<Vec<u8>> {
        let who = asker(session);
        if let Err(denial) = self.access.may_change(session) {
            log::warn!("admin: {who} asked for {change} and was refused: {denial}");
            return denied(denial);
        }
        if *change != Change::Upgrade && self.upgrader.is_under_way() {
            log::warn!("admin: {who} asked for {change} and was refused: an upgrade is under way");
            let what = "Nothing was changed: an upgrade is under way; ask again\n";
            return text(Rejection::KeysUnavailable.row().status, what);
        }
        match change {
            Change::RefreshKeys(name) => self.refresh_keys(name, &who).await,
            Change::Reload => self.reload(&who).await,
            Change::Upgrade => self.upgrade(&who).await,
            Change::Revoke => self.revoke(session, &who).await,
            Change::Unrevoke(id) => self.unrevoke(id, &who).await,
        }
    }

    async fn reload(&self, who: &str) -> Response<Vec<u8>> {
        match self.reloader.reload(who).await {
            Ok(warnings) => answer(200, &json!({ "result": "success", "warnings": warnings })),
            Err(error) => {
                let rejection = match &error {
                    ReloadError::Keys(_)
                    | ReloadError::Revocations(_)
                    | ReloadError::Interrupted
                    | ReloadError::GivenWay => Rejection::KeysUnavailable,
                    ReloadError::NoFile
                    | ReloadError::Wrong(_)
                    | ReloadError::NeedsRestart(_)
                    | ReloadError::Upstream(_)
                    | ReloadError::AssertionKey(_) => Rejection::RequestMalformed,
                };
                answer(rejection.row().status, &json!({ "result": "failure", "error": error.to_string() }))
            }
        }
    }

    async fn upgrade(&self, who: &str) -> Response<Vec<u8>> {
        match self.upgrader.upgrade(who).await {
            Ok(Upgraded { process, version }) => {
                let before = std::process::id();
                answer(200, &json!({ "result": "success", "process": process, "version": version, "before": before }))
            }
            Err(error) => {
                let rejection = match &error {
                    UpgradeError::UnderWay | UpgradeError::Leaving => Rejection::KeysUnavailable,
                    UpgradeError::NoFile
                    | UpgradeError::Impossible(_)
                    | UpgradeError::Start(..)
                    | UpgradeError::Failed(_) => Rejection::RequestMalformed,
                };
                answer(rejection.row().status, &json!({ "result": "failure", "error": error.to_string() }))
            }
        }
    }

    async fn refresh_keys(&self, name: &str, who: &str) -> Response<Vec<u8>> {
        let installed = self.shared.installed.load_full();
        let issuers = &installed.gatekeeper.ruleset().issuers;
        let found = (0..).map(IssuerId).zip(issuers).find(|(_, issuer)| issuer.name.as_ref() == name);
        let Some((id, issuer)) = found else {
            log::warn!("admin: {who} asked for the keys of {} to be refreshed: there is no such issuer", quoted(name));
            return refusal(Rejection::RouteNotFound);
        };
        let refreshed = installed.waiters.refresh(id).await;
        let (status, result, error) = match refreshed {
            Refreshed::Done => (200, "success", None),
            Refreshed::Failed(error) => (Rejection::KeysUnavailable.row().status, "failure", Some(error)),
            Refreshed::NotFetched => {
                log::warn!("admin: {who} asked for the keys of issuer {name} to be refreshed: they are not fetched");
                let what = "The keys of this issuer were read with the configuration and change with it only\n";
                return text(Rejection::MethodNotAllowed.row().status, what);
            }
        };
        log::info!("admin: {who} had the keys of issuer {name} refreshed: {result}");
        let slot = installed.gatekeeper.slot(id);
        if let Some(slot) = slot {
            wait_for_the_disk(slot).await;
        }
        let mut view = slot.map_or_else(|| json!({}), |slot| views::issuer(issuer, slot));
        if let Value::Object(members) = &mut view {
            members.insert("result".to_owned(), json!(result));
            members.insert("error".to_owned(), json!(error.as_deref().map(views::printable)));
        }
        answer(status, &view)
    }
}

/// Waits until the disk has said whether the set is kept for the next start: after a theft that is what the operator must
/// know. The answer says so when it takes longer.
async fn wait_for_the_disk(slot: &KeySlot) {
    let until = clock::monotonic() + DISK_PATIENCE;
    while slot.is_being_kept() && clock::monotonic() < until {
        tokio::time::sleep(DISK_LOOK).await;
    }
}

/// Who asks, as far as the connection tells.
fn asker(session: &ServerSession) -> String {
    match session.client_addr() {
        Some(SocketAddr::Inet(address)) => address.to_string(),
        Some(SocketAddr::Unix(_)) | None => "somebody at the unix socket".to_owned(),
    }
}

/// A path segment with its percent-escapes read (RFC 3986 §2.1); what is no escape stays as it is, and names nobody.
fn decoded(segment: &str) -> String {
    let hex = |pair: &str| u8::from_str_radix(pair, 16).ok().filter(|_| pair.bytes().all(|b| b.is_ascii_hexdigit()));
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(hex) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_change_or_none() {
        let refresh = |name: &str| Some(Change::RefreshKeys(name.to_owned()));
        let rows = [
            ("/issuers/main/refresh", refresh("main")),
            ("/issuers/a%40b%2e/refresh", refresh("a@b.")),
            ("/issuers/a%4/refresh", refresh("a%4")),
            ("/issuers/a%+1/refresh", refresh("a%+1")),
            ("/issuers/%e9%ff/refresh", refresh("\u{fffd}\u{fffd}")),
            ("/issuers//refresh", refresh("")),
            ("/issuers/a/b/refresh", None),
            ("/issuers/main/refresh/", None),
            ("/issuers/main", None),
            ("/revocations", Some(Change::Revoke)),
            ("/revocations/0123", Some(Change::Unrevoke("0123".to_owned()))),
            ("/revocations/", Some(Change::Unrevoke(String::new()))),
            ("/reload", Some(Change::Reload)),
            ("/revocation", None),
            ("/issuers/refresh", None),
        ];
        for (path, expected) in rows {
            assert_eq!(Change::at(path), expected, "{path}");
        }
    }
}

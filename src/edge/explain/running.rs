//! `POST /explain`: explanations by the running instance, with its keys, its revocations and its configuration. They leave
//! no trace in it: no key is fetched, no token remembered, no failure counted.
use crate::{
    edge::{
        clock,
        explain::{Explanation, FoundKeys, KeyFinder, Question, Scene, explain},
        installed::Installed,
        proxy::Shared,
    },
    gate::issuer::IssuerId,
    state::key_slot::{KeySlot, KeyStatus},
};

/// The keys as they are.
struct RunningKeys<'a>(&'a Installed);

impl KeyFinder for RunningKeys<'_> {
    fn find(&self, issuer: IssuerId, kid: Option<&str>) -> FoundKeys {
        let Some(slot) = self.0.gatekeeper.slot(issuer) else {
            return FoundKeys { keys: None, origin: "there is no such issuer".to_owned() };
        };
        let keys = slot.keys();
        let is_missing = kid.is_some_and(|kid| keys.as_ref().is_some_and(|keys| !keys.publishes(kid)));
        let again =
            if slot.is_remote() && is_missing { "; a request with this kid has them fetched again first" } else { "" };
        FoundKeys { origin: format!("{}{again}", origin(slot)), keys }
    }
}

fn origin(slot: &KeySlot) -> String {
    match slot.status(clock::monotonic()) {
        KeyStatus::Fixed => "of the running instance, read with its configuration".to_owned(),
        KeyStatus::File { read, last_error, .. } => {
            let error =
                last_error.map_or_else(String::new, |error| format!("; as it is now it cannot be used: {error}"));
            format!("of the running instance, read from a file at {}{error}", clock::rfc3339(read))
        }
        KeyStatus::Remote(status) => {
            let error = status.last_error.map_or_else(String::new, |error| format!("; the last fetch failed: {error}"));
            match status.last_success {
                Some(time) if status.is_restored => {
                    format!("of the running instance, kept on disk since {}{error}", clock::rfc3339(time))
                }
                Some(time) => format!("of the running instance, fetched at {}{error}", clock::rfc3339(time)),
                None => format!("the running instance has none{error}"),
            }
        }
    }
}

/// Explains one request with what is in force.
///
/// # Errors
/// Says what about the question is wrong.
pub(in crate::edge) fn explain_running(shared: &Shared, question: &Question) -> Result<Explanation, String> {
    let installed = shared.installed.load_full();
    let scene = Scene {
        installed: &installed,
        listeners: &shared.listeners,
        keys: &RunningKeys(&installed),
        failed_authentications: shared.failed_authentications_rate,
        failures: shared.failed_authentications.as_ref(),
        notes: &[],
    };
    explain(&scene, question)
}

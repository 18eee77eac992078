//! When changed files are put in force: once they have settled, and the same content once.

/// What was seen of the files of a configuration.
#[derive(Debug, Default)]
pub(super) struct ChangeWatch {
    /// The digest at the last look; nothing inside where something could not be read.
    before: Option<Option<String>>,
    /// What was tried last and did not come into force, or is not known to.
    tried: Option<Option<String>>,
}

impl ChangeWatch {
    /// Takes what is there now, and says whether to put it in force. `is_same` when it is in force already.
    pub(super) fn look(&mut self, digest: Option<String>, is_same: bool) -> bool {
        let is_settled = self.before.as_ref() == Some(&digest);
        self.before = Some(digest.clone());
        if is_same {
            // The failure before is over only when it is known that this can be put in force.
            return self.tried.take().is_some_and(|tried| tried != digest);
        }
        if !is_settled || self.tried.as_ref() == Some(&digest) {
            return false;
        }
        self.tried = Some(digest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_settled_is_tried_once_and_what_is_in_force_again_ends_the_failure() {
        let mut watch = ChangeWatch::default();
        let rows = [
            // What is there, whether it is in force, whether to reload.
            (Some("a"), true, false),
            (Some("b"), false, false),
            (Some("c"), false, false),
            (Some("c"), false, true),
            // It came into force.
            (Some("c"), true, false),
            // For a moment it is gone, as while it is replaced.
            (None, false, false),
            (Some("d"), false, false),
            (Some("d"), false, true),
            // It did not come into force, and is not tried again.
            (Some("d"), false, false),
            (None, false, false),
            (None, false, true),
            (None, false, false),
            // Back to what serves.
            (Some("c"), true, true),
            (Some("c"), true, false),
            (Some("d"), false, false),
            (Some("d"), false, true),
        ];
        for (at, (digest, is_same, reloads)) in rows.into_iter().enumerate() {
            assert_eq!(watch.look(digest.map(str::to_owned), is_same), reloads, "row {at}");
        }
    }
}

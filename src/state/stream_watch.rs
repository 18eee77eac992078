//! One exchange that may go on for long: whether its token still counts, how long nothing came, how old it is.
//!
//! It is asked from time to time, and says when it wants to be asked again. To ask costs next to nothing while neither
//! revocations nor keys changed: both are swapped whole, so that it is enough to see that they are the same.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    gate::{
        claims::KnownToken,
        rejection::{Refusal, Rejection},
        route::StreamRule,
        time::UnixTime,
    },
    state::gatekeeper::{Gatekeeper, Seen},
};

/// How often a token is looked at again. A stream ends within five seconds of its token; the rest is for the farewell.
const CHECK_INTERVAL: Duration = Duration::from_secs(4);

/// Shortest time until the first look, which is also when a response counts as one that goes on.
const FIRST_CHECK_MIN: Duration = Duration::from_secs(1);

/// Why a stream was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// Its token expired, leeway included.
    TokenExpired,
    /// Its token was revoked.
    TokenRevoked,
    /// Its subject was banned.
    SubjectRevoked,
    /// The key that proved its token was withdrawn.
    KeyUnknown,
    /// The issuer has no keys any more: its last set became too old.
    KeysUnavailable,
    /// The revocations cannot be had.
    RevocationsUnavailable,
    /// Nothing came in either direction for too long.
    IdleTimeout,
    /// It lasted as long as it may.
    MaxAge,
    /// The client ended it.
    ClientClosed,
    /// The upstream ended it.
    UpstreamClosed,
    /// Something broke.
    Failed,
}

impl StreamEnd {
    /// Every end.
    pub const ALL: [Self; 11] = [
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::SubjectRevoked,
        Self::KeyUnknown,
        Self::KeysUnavailable,
        Self::RevocationsUnavailable,
        Self::IdleTimeout,
        Self::MaxAge,
        Self::ClientClosed,
        Self::UpstreamClosed,
        Self::Failed,
    ];

    /// The word of metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TokenExpired => Rejection::TokenExpired.label(),
            Self::TokenRevoked => Rejection::TokenRevoked.label(),
            Self::SubjectRevoked => Rejection::SubjectRevoked.label(),
            Self::KeyUnknown => Rejection::KeyUnknown.label(),
            Self::KeysUnavailable => Rejection::KeysUnavailable.label(),
            Self::RevocationsUnavailable => Rejection::RevocationsUnavailable.label(),
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::ClientClosed => "client_closed",
            Self::UpstreamClosed => "upstream_closed",
            Self::Failed => "failed",
        }
    }

    /// What the log says of it.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::TokenExpired => "the stream was ended: token_expired",
            Self::TokenRevoked => "the stream was ended: token_revoked",
            Self::SubjectRevoked => "the stream was ended: subject_revoked",
            Self::KeyUnknown => "the stream was ended: key_unknown",
            Self::KeysUnavailable => "the stream was ended: keys_unavailable",
            Self::RevocationsUnavailable => "the stream was ended: revocations_unavailable",
            Self::IdleTimeout => "the stream was ended: idle_timeout",
            Self::MaxAge => "the stream was ended: max_age",
            Self::ClientClosed => "the client ended the stream",
            Self::UpstreamClosed => "the upstream ended the stream",
            Self::Failed => "the stream failed",
        }
    }

    /// What a request would be refused for now; nothing where the token has no part in it.
    pub const fn rejection(self) -> Option<Rejection> {
        match self {
            Self::TokenExpired => Some(Rejection::TokenExpired),
            Self::TokenRevoked => Some(Rejection::TokenRevoked),
            Self::SubjectRevoked => Some(Rejection::SubjectRevoked),
            Self::KeyUnknown => Some(Rejection::KeyUnknown),
            Self::KeysUnavailable => Some(Rejection::KeysUnavailable),
            Self::RevocationsUnavailable => Some(Rejection::RevocationsUnavailable),
            Self::IdleTimeout | Self::MaxAge | Self::ClientClosed | Self::UpstreamClosed | Self::Failed => None,
        }
    }

    fn of(refusal: &Refusal) -> Self {
        let is_its = |end: &Self| end.rejection() == Some(refusal.rejection());
        Self::ALL.into_iter().find(is_its).unwrap_or(Self::Failed)
    }
}

/// What is to be known of an exchange while it goes on.
#[derive(Debug)]
pub struct StreamWatch {
    /// Whose end is its own; nothing where no token vouches for it, or where the route does not want that.
    token: Option<Arc<KnownToken>>,
    /// The keys and revocations by which the token counted last.
    seen: Seen,
    next_check: Option<Instant>,
    longest_silence: Option<Duration>,
    last_activity: Instant,
    ends_at: Option<Instant>,
}

impl StreamWatch {
    /// Watches an exchange that begins `now`. `phase`, from 0 to 255, is drawn by lot, so that streams whose tokens end
    /// together do not.
    pub fn new(rule: &StreamRule, token: Option<Arc<KnownToken>>, now: Instant, phase: u8) -> Self {
        let spread = CHECK_INTERVAL.saturating_sub(FIRST_CHECK_MIN) * u32::from(phase) / u32::from(u8::MAX);
        Self {
            token: token.filter(|_| rule.end_with_token),
            seen: Seen::default(),
            next_check: Some(now + FIRST_CHECK_MIN + spread),
            longest_silence: None,
            last_activity: now,
            ends_at: rule.max_age.and_then(|age| now.checked_add(age)),
        }
    }

    /// From now on nothing may come for so long at most.
    pub fn allow_silence(&mut self, longest: Option<Duration>, now: Instant) {
        self.longest_silence = longest;
        self.last_activity = now;
    }

    /// Something came.
    pub const fn note_activity(&mut self, now: Instant) {
        self.last_activity = now;
    }

    /// When it is to be asked again.
    pub fn due(&self) -> Option<Instant> {
        [self.next_check, self.silence_due(), self.ends_at].into_iter().flatten().min()
    }

    fn silence_due(&self) -> Option<Instant> {
        self.last_activity.checked_add(self.longest_silence?)
    }

    /// Whether the exchange is to end now, and why. `date` is the same moment by the wall clock.
    pub fn check(&mut self, gatekeeper: &Gatekeeper, now: Instant, date: UnixTime) -> Option<StreamEnd> {
        let has_passed = |due: Option<Instant>| due.is_some_and(|due| now >= due);
        if has_passed(self.next_check) {
            if let Some(token) = &self.token
                && let Err(refusal) = gatekeeper.recheck(token, &mut self.seen, date)
            {
                return Some(StreamEnd::of(&refusal));
            }
            self.next_check = self.token.is_some().then(|| now + CHECK_INTERVAL);
        }
        if has_passed(self.ends_at) {
            return Some(StreamEnd::MaxAge);
        }
        has_passed(self.silence_due()).then_some(StreamEnd::IdleTimeout)
    }
}

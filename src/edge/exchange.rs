//! One request and its response while they pass: what was decided, what was measured, what is to be told.
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    edge::{
        clock,
        installed::Installed,
        metrics::InFlight,
        upstream::{HealthSlot, Target},
    },
    gate::{
        rejection::Refusal,
        route::{Route, UpstreamId},
    },
    state::{gatekeeper::Judgement, rate_limiter::Tally, stream_watch::StreamEnd},
};

/// The state of one exchange. Dropped whatever way it ends, so that the gauge of requests in flight is always right.
#[derive(Debug)]
pub struct Exchange {
    /// The configuration that it began with.
    pub installed: Arc<Installed>,
    /// When its head was read, by the wall clock.
    pub started_at: SystemTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// Names it, inside and outside.
    pub identifiers: Identifiers,
    /// What the gatekeeper said; nothing before it was asked.
    pub judgement: Option<Judgement>,
    /// What limits on rates said of it.
    pub tally: Tally,
    /// Why it was refused, by the gatekeeper or later.
    pub refusal: Option<Refusal>,
    /// Bytes of the request's body so far.
    pub body_bytes: u64,
    /// The attempt to reach an upstream.
    pub attempt: Option<Attempt>,
    /// Longest wait for the head of the upstream's response; nothing once it is there, and where there is no limit.
    pub head_patience: Option<Duration>,
    /// Longest time between two reads from the upstream.
    pub read_timeout: Option<Duration>,
    /// Why it was over, if it was one that went on for long.
    pub stream_end: Option<StreamEnd>,
    /// Until the head of the upstream's response.
    pub upstream_duration: Option<Duration>,
    _in_flight: InFlight,
}

/// The attempts to reach an upstream so far.
#[derive(Debug)]
pub struct Attempt {
    /// The upstream.
    pub upstream: UpstreamId,
    /// The servers that were tried; the last one is being tried.
    pub tried: Vec<Target>,
    /// The server being tried, as the configuration has it.
    pub server: Arc<str>,
    /// The health of that server, which learns how the attempt ends.
    pub health: Arc<HealthSlot>,
    /// When the first attempt began.
    pub started: Instant,
}

impl Exchange {
    /// An exchange that begins now.
    pub fn begin(installed: Arc<Installed>, in_flight: InFlight) -> Self {
        Self {
            installed,
            started_at: clock::now(),
            started: clock::monotonic(),
            identifiers: Identifiers::random(),
            judgement: None,
            tally: Tally::default(),
            refusal: None,
            body_bytes: 0,
            attempt: None,
            head_patience: None,
            read_timeout: None,
            stream_end: None,
            upstream_duration: None,
            _in_flight: in_flight,
        }
    }

    /// The route, once it was found.
    pub fn route(&self) -> Option<&Route> {
        self.installed.gatekeeper.ruleset().routes.route(self.judgement.as_ref()?.route?)
    }
}

/// The names that an exchange is given: 128 random bits for itself and its trace, 64 for its place in the trace.
#[derive(Clone, Copy, Debug)]
pub struct Identifiers {
    request: [u8; 32],
    trace: [u8; 32],
    span: [u8; 16],
}

impl Identifiers {
    /// New names.
    pub fn random() -> Self {
        let mut bytes = [0; 40];
        // Without randomness identifiers would repeat, which confuses; it is no reason to refuse anybody.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            log::error!("the system gave no random bytes for a request id");
        }
        let mut identifiers = Self { request: [b'0'; 32], trace: [b'0'; 32], span: [b'0'; 16] };
        let (request, rest) = bytes.split_at(16);
        let (trace, span) = rest.split_at(16);
        write_hexadecimal(&mut identifiers.request, request);
        write_hexadecimal(&mut identifiers.trace, trace);
        write_hexadecimal(&mut identifiers.span, span);
        identifiers
    }

    /// The request id.
    pub fn request(&self) -> &str {
        std::str::from_utf8(&self.request).unwrap_or_default()
    }

    /// The trace id (W3C Trace Context).
    pub fn trace(&self) -> &str {
        std::str::from_utf8(&self.trace).unwrap_or_default()
    }

    /// A number that is as random as they are, for what is drawn by lot.
    pub fn lot(&self) -> u8 {
        let digits = self.request.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or_default()
    }

    /// The `traceparent` to forward: a new trace, not sampled, whose id is random.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-02", self.trace(), std::str::from_utf8(&self.span).unwrap_or_default())
    }
}

fn write_hexadecimal(digits: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (digit, nibble) in digits.iter_mut().zip(nibbles) {
        *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    }
}

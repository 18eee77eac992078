//! One request and its response while they pass: what was decided, what was measured, what is to be told.
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue};

use crate::{
    edge::{
        clock,
        guard::Line,
        installed::Installed,
        metrics::InFlight,
        upstream::{HealthSlot, Target},
    },
    gate::{
        provenance::{Peer, Provenance},
        rejection::Refusal,
        route::{Route, UpstreamId},
        trace::{self, REQUEST_ID_BYTES_MAX},
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
    /// Where it came from.
    pub provenance: Provenance,
    /// What other systems say of its trace, where they are believed.
    pub trace_state: Option<String>,
    /// What the gatekeeper said; nothing before it was asked.
    pub judgement: Option<Judgement>,
    /// The gateway's signed word on whose request it is, once it was made.
    pub assertion: Option<HeaderValue>,
    /// What limits on rates said of it.
    pub tally: Tally,
    /// Why it was refused, by the gatekeeper or later.
    pub refusal: Option<Refusal>,
    /// The status that its refusal has where it is not one of a call: that of the answer then says nothing.
    pub refused_call: Option<u16>,
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
    /// What its stream heeds, where it came by HTTP/2.
    pub line: Option<Arc<Line>>,
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
    /// Longest body of the request, in bytes; nothing where it may have any length.
    pub fn body_bytes_max(&self) -> Option<u64> {
        let ruleset = self.installed.gatekeeper.ruleset();
        let route = self.judgement.as_ref().and_then(|judgement| ruleset.routes.route(judgement.route?));
        route.map_or(ruleset.limits.body_bytes, |route| ruleset.body_bytes_max(route))
    }

    /// An exchange that begins now.
    pub fn begin(installed: Arc<Installed>, in_flight: InFlight) -> Self {
        Self {
            installed,
            started_at: clock::now(),
            started: clock::monotonic(),
            identifiers: Identifiers::random(),
            provenance: Provenance::default(),
            trace_state: None,
            judgement: None,
            assertion: None,
            tally: Tally::default(),
            refusal: None,
            refused_call: None,
            body_bytes: 0,
            attempt: None,
            head_patience: None,
            read_timeout: None,
            stream_end: None,
            upstream_duration: None,
            line: None,
            _in_flight: in_flight,
        }
    }

    /// Its head was read: it came by this peer, whose word is taken where it is trusted. Whether it can be read is said.
    ///
    /// # Errors
    /// What a trusted proxy says can be read in two ways.
    pub fn arrive(&mut self, peer: Peer, is_encrypted: bool, headers: &HeaderMap) -> Result<(), Refusal> {
        self.provenance = Provenance::direct(peer, is_encrypted);
        let trusted = &self.installed.trusted_proxies;
        if !trusted.trust(peer) {
            return Ok(());
        }
        self.identifiers.adopt(headers);
        self.trace_state = trace::context(headers).and_then(|context| context.state);
        self.provenance = Provenance::of(trusted, peer, is_encrypted, headers)?;
        Ok(())
    }

    /// The route, once it was found.
    pub fn route(&self) -> Option<&Route> {
        self.installed.gatekeeper.ruleset().routes.route(self.judgement.as_ref()?.route?)
    }
}

/// The names that an exchange is given: 128 random bits for itself and its trace, 64 for its place in the trace. What
/// trusted proxies gave it stays.
#[derive(Clone, Copy, Debug)]
pub struct Identifiers {
    request: [u8; REQUEST_ID_BYTES_MAX],
    request_bytes: usize,
    trace: [u8; 32],
    span: [u8; 16],
    flags: u8,
}

/// The trace id is random (W3C Trace Context §3.2.2.4), and the trace not sampled.
const RANDOM: u8 = 2;

impl Identifiers {
    /// New names.
    pub fn random() -> Self {
        let mut bytes = [0; 40];
        // Without randomness identifiers would repeat, which confuses; it is no reason to refuse anybody.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            log::error!("the system gave no random bytes for a request id");
        }
        let mut identifiers = Self {
            request: [b'0'; REQUEST_ID_BYTES_MAX],
            request_bytes: 32,
            trace: [b'0'; 32],
            span: [b'0'; 16],
            flags: RANDOM,
        };
        let (request, rest) = bytes.split_at(16);
        let (trace, span) = rest.split_at(16);
        write_hexadecimal(&mut identifiers.request, request);
        write_hexadecimal(&mut identifiers.trace, trace);
        write_hexadecimal(&mut identifiers.span, span);
        identifiers
    }

    /// Takes the names that the request already has.
    pub(in crate::edge) fn adopt(&mut self, headers: &HeaderMap) {
        if let Some(id) = trace::request_id(headers) {
            self.request.iter_mut().zip(id.bytes()).for_each(|(place, byte)| *place = byte);
            self.request_bytes = id.len().min(REQUEST_ID_BYTES_MAX);
        }
        if let Some(context) = trace::context(headers) {
            self.trace.iter_mut().zip(context.trace_id.bytes()).for_each(|(place, byte)| *place = byte);
            self.flags = context.flags;
        }
    }

    /// The request id.
    pub fn request(&self) -> &str {
        let bytes = self.request.get(..self.request_bytes).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The trace id (W3C Trace Context).
    pub fn trace(&self) -> &str {
        std::str::from_utf8(&self.trace).unwrap_or_default()
    }

    /// A random number, whoever named the request, for what is drawn by lot.
    pub fn lot(&self) -> u8 {
        let digits = self.span.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or_default()
    }

    /// The `traceparent` to forward: this request's place in its trace.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace(), std::str::from_utf8(&self.span).unwrap_or_default(), self.flags)
    }
}

fn write_hexadecimal(digits: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (digit, nibble) in digits.iter_mut().zip(nibbles) {
        *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    }
}

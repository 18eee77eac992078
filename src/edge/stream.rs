//! One exchange that may go on for long, as its connection sees it: when something is due, and what is counted of it.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    edge::{clock, installed::Installed, metrics::OpenStream},
    gate::{claims::KnownToken, route::RouteId},
    state::stream_watch::{StreamEnd, StreamWatch},
};

/// What is known of an exchange from when its request goes out.
#[derive(Debug)]
pub struct Stream {
    installed: Arc<Installed>,
    route: RouteId,
    watch: StreamWatch,
    /// Counts it, once it is one that goes on.
    open: Option<OpenStream>,
}

impl Stream {
    /// An exchange on this route, whose request goes out now. `token` vouches for it; `phase` is drawn by lot.
    pub fn begin(
        installed: &Arc<Installed>,
        route: RouteId,
        token: Option<&Arc<KnownToken>>,
        phase: u8,
    ) -> Option<Self> {
        let rule = &installed.gatekeeper.ruleset().routes.route(route)?.stream;
        let watch = StreamWatch::new(rule, token.cloned(), clock::monotonic(), phase);
        Some(Self { installed: Arc::clone(installed), route, watch, open: None })
    }

    /// It goes on: it is counted from now on.
    pub fn note_going_on(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.installed.route_metrics(Some(self.route)).open_stream());
        }
    }

    /// Whether it is counted.
    pub const fn goes_on(&self) -> bool {
        self.open.is_some()
    }

    /// From now on nothing may come for so long at most.
    pub fn allow_silence(&mut self, longest: Option<Duration>) {
        self.watch.allow_silence(longest, clock::monotonic());
    }

    /// Bytes came, in one direction or the other.
    pub fn note_activity(&mut self) {
        self.watch.note_activity(clock::monotonic());
    }

    /// When it is to be asked again.
    pub fn due(&self) -> Option<Instant> {
        self.watch.due()
    }

    /// Whether it is to end now, and why. That it is asked means that it goes on.
    pub fn check(&mut self) -> Option<StreamEnd> {
        self.note_going_on();
        self.watch.check(&self.installed.gatekeeper, clock::monotonic(), clock::unix_time())
    }

    /// It is over, for this reason: counts it, if it was counted before.
    pub fn close(mut self, end: StreamEnd) {
        if let Some(open) = self.open.take() {
            open.close(end);
        }
    }
}

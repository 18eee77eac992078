//! Rules, keys and memory together: one request in, one judgement out.
//!
//! It never waits: where keys have to be fetched first it says so, and is asked again.
mod recall;
mod recheck;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    gate::{
        claims::{Identity, KnownToken},
        cors::Cors,
        decide::{Admission, Decision, Passage, Ruleset, Trust},
        issuer::{Issuer, IssuerId},
        rejection::{Refusal, Rejection},
        request::Request,
        route::{Authentication, Route, RouteId},
        time::UnixTime,
        witness::{Fact, Nobody, Stage, Witness},
    },
    state::{
        claims_cache::{CacheUse, ClaimsCache},
        key_slot::KeySlot,
        rate_limiter::{Bearer, Meter, RateLimiter},
        revocation_slot::RevocationSlot,
    },
};

use self::recall::Known;
pub use self::recheck::Seen;

/// The rules of one configuration with the keys of its issuers and the shared memory of tokens.
#[derive(Debug)]
pub struct Gatekeeper {
    ruleset: Arc<Ruleset>,
    slots: Vec<Arc<KeySlot>>,
    cache: Arc<ClaimsCache>,
    /// By issuer: which configuration drew the facts of its tokens first that would still be drawn so.
    generations: Box<[u64]>,
    revocations: Arc<RevocationSlot>,
    rate_limiter: RateLimiter,
}

/// What has been done about an unknown key so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Nothing: a fetch may be waited for.
    MayWait,
    /// A fetch recent enough to settle the question was made.
    Fetched,
    /// No fetch could be made.
    NotFetched,
}

/// A decision, with what the log and the metrics want to know of how it came about.
#[derive(Debug)]
pub struct Judgement {
    /// The route, once it was found.
    pub route: Option<RouteId>,
    /// The issuer, once the token was matched with one.
    pub issuer: Option<IssuerId>,
    /// What the cache knew.
    pub cache: CacheUse,
    /// The token, once its signature was verified; it may be refused all the same.
    pub known: Option<Arc<KnownToken>>,
    /// What is to become of the request.
    pub decision: Decision,
    /// Whether the token was where caches do not look for one, so that they must not keep the response for others.
    pub is_private: bool,
    /// Whether it is a preflight that the route answers or lets its upstream answer.
    pub is_preflight: bool,
    /// What a rule on trial would have refused it for, or its token where authentication is only observed.
    pub observed: Option<Refusal>,
    /// The target to forward, where it differs from the one sent.
    pub target: Option<String>,
}

impl Judgement {
    /// What was decided before a route was looked for.
    pub const fn before_route(decision: Decision) -> Self {
        Self {
            route: None,
            issuer: None,
            cache: CacheUse::None,
            known: None,
            is_private: false,
            is_preflight: false,
            decision,
            observed: None,
            target: None,
        }
    }

    /// Why the request was refused, or would have been where authentication is only observed.
    pub fn failure(&self) -> Option<&Refusal> {
        match &self.decision {
            Decision::Reject(refusal) => Some(refusal),
            Decision::Pass(None) => self.observed.as_ref(),
            Decision::Pass(Some(_)) | Decision::AwaitKeys(_) => None,
        }
    }

    /// What vouches for the request if it passes.
    pub fn trust(&self) -> Trust {
        match &self.decision {
            _ if self.is_preflight => Trust::Preflight,
            Decision::Pass(None) if self.observed.is_some() => Trust::Unproven,
            Decision::Pass(_) | Decision::Reject(_) | Decision::AwaitKeys(_) => Trust::Judged,
        }
    }
}

impl Gatekeeper {
    /// Joins rules and keys; `slots` are positioned as the rule set's issuers are. `generation` must differ from that of
    /// every other gatekeeper with the same cache.
    pub fn new(ruleset: Ruleset, slots: Vec<Arc<KeySlot>>, cache: Arc<ClaimsCache>, generation: u64) -> Self {
        let rate_limiter = RateLimiter::default();
        let generations = vec![generation; ruleset.issuers.len()].into();
        Self { ruleset: Arc::new(ruleset), slots, cache, generations, revocations: Arc::default(), rate_limiter }
    }

    /// In place of `earlier`, with the same cache: what that knows of tokens counts on where the same would be drawn from
    /// them now, which depends on their issuer's rules and place, on what routes ask of claims and on the identity headers.
    #[must_use]
    pub fn succeeding(mut self, earlier: &Self) -> Self {
        let (now, before) = (&self.ruleset, &earlier.ruleset);
        if now.conditions == before.conditions && now.identity_headers == before.identity_headers {
            let issuers = now.issuers.iter().zip(&before.issuers);
            for ((generation, kept), (now, before)) in
                self.generations.iter_mut().zip(&earlier.generations).zip(issuers)
            {
                if now == before {
                    *generation = *kept;
                }
            }
        }
        self
    }

    /// From now on whoever still goes by these rules, as streams do until they end, goes by the keys of `successor`: a key
    /// that left ends its streams, and an issuer that left has no keys.
    pub fn hand_over_keys(&self, successor: &Self) {
        for (issuer, slot) in self.ruleset.issuers.iter().zip(&self.slots) {
            let by_identifier = || successor.ruleset.issuers.iter().position(|new| new.identifier == issuer.identifier);
            let same = |new: &Issuer| new.identifier == issuer.identifier && new.name == issuer.name;
            let place = successor.ruleset.issuers.iter().position(same).or_else(by_identifier);
            match place.and_then(|place| successor.slots.get(place)) {
                Some(new) if Arc::ptr_eq(new, slot) => {}
                Some(new) => slot.hand_over(Arc::clone(new)),
                None => slot.hand_over(Arc::new(KeySlot::none())),
            }
        }
    }

    /// With these revocations in force instead of none.
    #[must_use]
    pub fn with_revocations(self, revocations: Arc<RevocationSlot>) -> Self {
        Self { revocations, ..self }
    }

    /// With a memory of what callers have taken: that of `earlier` as far as it had the same limits on routes of the same
    /// names. Without this no limit counts.
    #[must_use]
    pub fn limiting_rates(self, earlier: Option<&Self>, now: Instant) -> Self {
        let rate_limiter = RateLimiter::new(&self.ruleset, earlier.map(|earlier| &earlier.rate_limiter), now);
        Self { rate_limiter, ..self }
    }

    /// What callers have taken.
    pub const fn rate_limiter(&self) -> &RateLimiter {
        &self.rate_limiter
    }

    /// Another gatekeeper of the same rules and revocations, with these keys and a memory of its own: what it decides
    /// leaves no trace here.
    #[must_use]
    pub fn aside(&self, slots: Vec<Arc<KeySlot>>, cache: Arc<ClaimsCache>) -> Self {
        let (ruleset, revocations) = (Arc::clone(&self.ruleset), Arc::clone(&self.revocations));
        let generations = self.generations.clone();
        Self { ruleset, slots, cache, generations, revocations, rate_limiter: RateLimiter::default() }
    }

    /// The revocations in force.
    pub const fn revocations(&self) -> &Arc<RevocationSlot> {
        &self.revocations
    }

    /// The rules.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// The keys of each issuer.
    pub fn slots(&self) -> &[Arc<KeySlot>] {
        &self.slots
    }

    /// The keys of one issuer.
    pub fn slot(&self, issuer: IssuerId) -> Option<&Arc<KeySlot>> {
        self.slots.get(usize::from(issuer.0))
    }

    /// The memory of tokens.
    pub const fn cache(&self) -> &Arc<ClaimsCache> {
        &self.cache
    }

    /// Decides one request at the time `now`. No limit on rates is asked or charged.
    pub fn decide(&self, request: &Request<'_>, now: UnixTime, patience: Patience) -> Judgement {
        self.decide_before(request, Occasion { now, patience, wait: None, meter: None }, &mut Nobody)
    }

    /// The same before a witness. Where the client has to wait because too many tokens of its address failed, it is
    /// refused before a token is looked for.
    pub fn decide_before(
        &self,
        request: &Request<'_>,
        occasion: Occasion<'_, '_>,
        witness: &mut impl Witness,
    ) -> Judgement {
        let mut judgement = Judgement::before_route(Decision::Pass(None));
        judgement.decision = match self.ruleset.admit(request, witness) {
            Ok(admission) => {
                judgement.route = Some(admission.route_id);
                let decided = self.decide_on_route(&admission, request, occasion, &mut judgement, witness);
                decided.unwrap_or_else(Decision::Reject)
            }
            Err(refusal) => Decision::Reject(refusal),
        };
        judgement
    }

    fn decide_on_route(
        &self,
        admission: &Admission<'_, '_>,
        request: &Request<'_>,
        Occasion { now, patience, wait, mut meter }: Occasion<'_, '_>,
        judgement: &mut Judgement,
        witness: &mut impl Witness,
    ) -> Result<Decision, Refusal> {
        let (id, route) = (admission.route_id, admission.route);
        witness.enter(Stage::Body);
        self.ruleset.check_body(admission)?;
        witness.enter(Stage::Addresses);
        self.ruleset.check_address(route, request)?;
        if admission.preflight.is_some() {
            judgement.is_preflight = true;
            // One that the gate answers itself reaches nobody, and a browser could not read its refusal.
            if let Some(meter) = meter.filter(|_| matches!(route.cors, Some(Cors::Upstream))) {
                meter.arrive(id, route)?;
                meter.pass(id, route, Bearer::default())?;
            }
            let passage = Passage { route, trust: Trust::Preflight };
            judgement.target = self.ruleset.forwarded_target(admission, passage, request);
            return Ok(Decision::Pass(None));
        }
        witness.enter(Stage::AddressLimits);
        // Where authentication is only observed, nobody is refused for tokens that failed.
        let looks_at_tokens = route.authentication != Authentication::Public && !route.observes_authentication;
        if let Some(wait) = wait.filter(|_| looks_at_tokens) {
            let refusal = Refusal::new(Rejection::RateLimited).until(wait);
            return Err(refusal.because("too many tokens from this address failed"));
        }
        if let Some(meter) = &mut meter {
            meter.arrive(id, route)?;
        }
        let (identity, signed) = match self.identify(route, request, (now, patience), judgement, witness) {
            Ok(Identified::As(identity, signed)) => (Some(identity), signed),
            Ok(Identified::Nobody) => (None, None),
            Ok(Identified::AwaitKeys(issuer)) => return Ok(Decision::AwaitKeys(issuer)),
            Err(refusal) if route.observes_authentication && refusal.rejection().is_of_token() => {
                judgement.observed = Some(refusal);
                (None, None)
            }
            Err(refusal) => return Err(refusal),
        };
        witness.enter(Stage::CallerLimits);
        if let Some(meter) = &mut meter {
            meter.pass(id, route, self.bearer(identity.as_ref(), signed.as_deref()))?;
        }
        let trust = if judgement.observed.is_some() { Trust::Unproven } else { Trust::Judged };
        let passage = Passage { route, trust };
        judgement.target = self.ruleset.forwarded_target(admission, passage, request);
        if let Some(identity) = &identity {
            witness.enter(Stage::Observation);
            judgement.observed = self.ruleset.observe(identity, route, now);
        }
        Ok(Decision::Pass(identity))
    }

    /// Whom limits on rates may count.
    fn bearer<'r>(&'r self, identity: Option<&'r Identity>, signed: Option<&'r str>) -> Bearer<'r> {
        let issuer = identity.and_then(|identity| self.ruleset.issuer(identity.known().token().issuer()));
        Bearer {
            issuer: issuer.map(|issuer| issuer.name.as_ref()),
            subject: identity.and_then(Identity::subject),
            signed,
        }
    }

    /// Whose request it is; nobody's where it may be.
    fn identify<'r>(
        &self,
        route: &'r Route,
        request: &Request<'r>,
        (now, patience): (UnixTime, Patience),
        judgement: &mut Judgement,
        witness: &mut impl Witness,
    ) -> Result<Identified<'r>, Refusal> {
        witness.enter(Stage::TokenSource);
        let Some(token) = self.ruleset.find_token(route, request)? else { return Ok(Identified::Nobody) };
        witness.learn(Fact::Found(&token));
        judgement.is_private = token.is_unknown_to_caches;
        let known = match self.known(&token.text, route, patience, judgement, witness)? {
            Known::Token(known) => known,
            Known::AwaitKeys(issuer) => return Ok(Identified::AwaitKeys(issuer)),
        };
        judgement.issuer = Some(known.token().issuer());
        let identity = self.ruleset.judge(&known, route, &self.revocations.current(), now, witness);
        judgement.known = Some(known);
        // Without the signature, of which there may be several that are good.
        Ok(Identified::As(identity?, signed(token.text)))
    }
}

/// When a request is decided, for how long its client was asked to wait, and what charges the limits.
#[derive(Debug)]
pub struct Occasion<'m, 'l> {
    /// When.
    pub now: UnixTime,
    /// What was done about an unknown key so far.
    pub patience: Patience,
    /// How long the client has to wait because too many tokens from its address failed.
    pub wait: Option<Duration>,
    /// Charges the route's limits; none is asked or charged without it.
    pub meter: Option<&'m mut Meter<'l>>,
}

enum Identified<'r> {
    /// Somebody, and what the issuer signed.
    As(Identity, Option<Cow<'r, str>>),
    Nobody,
    AwaitKeys(IssuerId),
}

/// What the issuer signed of a token.
fn signed(token: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let end = token.rfind('.')?;
    match token {
        Cow::Borrowed(token) => token.get(..end).map(Cow::Borrowed),
        Cow::Owned(mut token) => {
            token.truncate(end);
            Some(Cow::Owned(token))
        }
    }
}

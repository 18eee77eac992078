//! Whether the limits of a route have room for a request, and what they were charged.
//!
//! Every limit must have room. A request that one of them refuses is charged to none: what others had already counted is
//! put back. Those by address are judged before any token is looked at, so they also count what is then refused for its
//! token or its rights - that work is what they bound -; the others are judged last and count what passes alone.
//!
//! A limit finds the address where a request has not what it counts by: a limit by subject would else be left by leaving
//! the token away. Peers of unix sockets have no address and are one caller.
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    gate::{
        decide::Ruleset,
        rate_limit::{CountedBy, LIMITS_MAX, LimitStage, RateLimit, Standings},
        rejection::{Refusal, Rejection},
        route::{Route, RouteId},
    },
    state::{
        address_group::AddressGroup,
        rate_table::{Caller, RateTable, Taken},
    },
};

/// The buckets of every limit of one configuration.
#[derive(Debug, Default)]
pub struct RateLimiter {
    /// By route, then by limit.
    routes: Vec<Box<[Arc<RateTable>]>>,
    /// The same by the name of the route and the limit, for the next configuration.
    by_name: HashMap<(Box<str>, RateLimit), Vec<Arc<RateTable>>>,
}

impl RateLimiter {
    /// The buckets for a rule set: those of `earlier` where a route of the same name had the same limit, else full ones.
    pub fn new(ruleset: &Ruleset, earlier: Option<&Self>, now: Instant) -> Self {
        let mut limiter = Self::default();
        for route in ruleset.routes.routes() {
            let tables = route.rate_limits.limits().iter().map(|limit| {
                let key = (route.name.clone(), *limit);
                let kept = limiter.by_name.entry(key.clone()).or_default();
                let earlier = earlier.and_then(|earlier| earlier.by_name.get(&key)?.get(kept.len()));
                let table = earlier.map_or_else(|| Arc::new(RateTable::new(*limit, now)), Arc::clone);
                kept.push(Arc::clone(&table));
                table
            });
            let tables = tables.collect();
            limiter.routes.push(tables);
        }
        limiter
    }

    fn tables(&self, route: RouteId) -> &[Arc<RateTable>] {
        self.routes.get(usize::from(route.0)).map(AsRef::as_ref).unwrap_or_default()
    }
}

/// Whose request it is, as far as that was verified.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bearer<'r> {
    /// Name of the issuer.
    pub issuer: Option<&'r str>,
    /// Who the issuer says it is.
    pub subject: Option<&'r str>,
    /// What the issuer signed.
    pub signed: Option<&'r str>,
}

/// What one request is charged. Kept while it waits for keys, so that it is charged once.
#[derive(Debug)]
pub struct Meter<'l> {
    limiter: &'l RateLimiter,
    address: Option<AddressGroup>,
    now: Instant,
    tally: Tally,
    /// Whom each limit took the request for.
    charged: [Option<Caller>; LIMITS_MAX],
    arrived: bool,
}

/// What the limits said of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What is left to its caller under each limit that judged it.
    pub standings: Standings,
    /// By what the limit counts that refused it.
    pub refused_by: Option<CountedBy>,
}

impl<'l> Meter<'l> {
    /// Nothing is charged yet to a request from this address.
    pub fn new(limiter: &'l RateLimiter, address: Option<AddressGroup>, now: Instant) -> Self {
        Self { limiter, address, now, tally: Tally::default(), charged: [None; LIMITS_MAX], arrived: false }
    }

    /// The request has waited until `now`.
    pub const fn waited_until(&mut self, now: Instant) {
        self.now = now;
    }

    /// What the limits said.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Charges the limits by address, once.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`]
    pub fn arrive(&mut self, id: RouteId, route: &Route) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.arrived, true) {
            return Ok(());
        }
        self.charge(LimitStage::BeforeTokens, id, route, Bearer::default())
    }

    /// Charges the others to whoever was found to have sent the request.
    ///
    /// # Errors
    /// [`Rejection::RateLimited`]
    pub fn pass(&mut self, id: RouteId, route: &Route, bearer: Bearer<'_>) -> Result<(), Refusal> {
        self.charge(LimitStage::Last, id, route, bearer)
    }

    fn charge(&mut self, stage: LimitStage, id: RouteId, route: &Route, bearer: Bearer<'_>) -> Result<(), Refusal> {
        let tables = self.limiter.tables(id);
        let mut full: Option<(&RateTable, bool, Duration)> = None;
        for (position, table) in tables.iter().enumerate().filter(|(_, table)| table.limit().by.stage() == stage) {
            let (caller, is_address) = self.caller(table, bearer);
            let (Some(standing), Some(charged)) =
                (self.tally.standings.get_mut(position), self.charged.get_mut(position))
            else {
                continue;
            };
            // Once one is full the others are only asked: the longest wait is the one that helps.
            let taken = match full {
                None => table.take(caller, self.now),
                Some(_) => match table.standing_of(caller, self.now) {
                    left if left.left == 0 => Taken::Full(left.until_more),
                    left => Taken::Room(left),
                },
            };
            match taken {
                Taken::Room(left) => {
                    *standing = Some(left);
                    *charged = full.is_none().then_some(caller);
                }
                Taken::Full(wait) => {
                    *standing = Some(table.standing_of(caller, self.now));
                    if full.is_none_or(|(_, _, longest)| wait > longest) {
                        full = Some((table, is_address, wait));
                    }
                }
            }
        }
        let Some((table, is_address, wait)) = full else { return Ok(()) };
        self.put_back(tables);
        let limit = table.limit();
        self.tally.refused_by = Some(limit.by);
        let whose = if is_address && limit.by != CountedBy::Address { ", counted by address" } else { "" };
        debug_assert_eq!(tables.len(), route.rate_limits.limits().len());
        Err(Refusal::new(Rejection::RateLimited).until(wait).because(format!("more than {limit}{whose}")))
    }

    fn put_back(&mut self, tables: &[Arc<RateTable>]) {
        let charged = self.charged.iter_mut().zip(tables).zip(&mut self.tally.standings);
        for ((charged, table), standing) in charged {
            if let Some(caller) = charged.take() {
                table.put_back(caller, self.now);
                *standing = Some(table.standing_of(caller, self.now));
            }
        }
    }

    /// How a table calls the sender, and whether by its address.
    fn caller(&self, table: &RateTable, bearer: Bearer<'_>) -> (Caller, bool) {
        let by = table.limit().by;
        let named = match (by, bearer) {
            (CountedBy::Subject, Bearer { issuer: Some(issuer), subject: Some(subject), .. }) => {
                Some(table.caller((by, issuer, subject)))
            }
            (CountedBy::Token, Bearer { signed: Some(signed), .. }) => Some(table.caller((by, signed))),
            (CountedBy::Issuer, Bearer { issuer: Some(issuer), .. }) => Some(table.caller((by, issuer))),
            (CountedBy::Address | CountedBy::Subject | CountedBy::Token | CountedBy::Issuer, _) => None,
        };
        named.map_or_else(|| (table.caller((CountedBy::Address, self.address)), true), |caller| (caller, false))
    }
}

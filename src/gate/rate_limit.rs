//! How many requests a route takes of one caller, and how limits are told to clients. Values alone: who has taken how much
//! is remembered by the floor above.
use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use http::HeaderValue;

/// Limits that one route has at most.
pub const LIMITS_MAX: usize = 8;

/// By what callers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountedBy {
    /// The address of the connection: an IPv4 address, or the first 64 bits of an IPv6 address. Judged before any token.
    Address,
    /// Issuer and subject together.
    Subject,
    /// What the issuer signed, so that no second spelling of a signature is another token.
    Token,
    /// The issuer: all of its subjects share one limit.
    Issuer,
}

impl CountedBy {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Address, Self::Subject, Self::Token, Self::Issuer];

    /// Its word in the configuration, which is its label too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Subject => "subject",
            Self::Token => "token",
            Self::Issuer => "issuer",
        }
    }

    /// When limits that count by it are judged.
    pub const fn stage(self) -> LimitStage {
        match self {
            Self::Address => LimitStage::BeforeTokens,
            Self::Subject | Self::Token | Self::Issuer => LimitStage::Last,
        }
    }

    /// Position in [`CountedBy::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// When a limit is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitStage {
    /// Before any token is looked at, so that it bounds that work too.
    BeforeTokens,
    /// After everything else, so that it counts what passes alone.
    Last,
}

/// A token bucket for each caller: `burst` requests at once, refilled by `requests` each `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Requests by which a bucket is refilled; at least one.
    pub requests: u32,
    /// In what time; at least a second.
    pub per: Duration,
    /// Requests that a full bucket holds; at least one.
    pub burst: u32,
    /// By what callers are told apart.
    pub by: CountedBy,
}

impl RateLimit {
    /// What one request costs in time, rounded up to whole nanoseconds, so that nobody is ever given more than is written;
    /// at a million a second that is less than a thousandth.
    pub const fn price(&self) -> Duration {
        let requests = if self.requests == 0 { 1 } else { self.requests as u128 };
        let nanoseconds = self.per.as_nanos().div_ceil(requests);
        Duration::new((nanoseconds / 1_000_000_000) as u64, (nanoseconds % 1_000_000_000) as u32)
    }

    /// How long an empty bucket takes to be full.
    pub const fn refill_time(&self) -> Duration {
        self.price().saturating_mul(self.burst)
    }

    /// `q` and `w` of the policy as it is told. A bucket that holds more than it is refilled by has a quota of all that it
    /// holds, over the time in which it is filled.
    fn quota(&self) -> (u32, u64) {
        if self.burst <= self.requests {
            return (self.requests, whole_seconds(self.per));
        }
        let nanoseconds = self.per.as_nanos() * u128::from(self.burst) / u128::from(self.requests.max(1));
        (self.burst, nanoseconds.div_ceil(1_000_000_000).try_into().unwrap_or(u64::MAX))
    }
}

impl fmt::Display for RateLimit {
    /// `100 requests per 1s by subject, 200 at once`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, per, burst, by } = self;
        let plural = if *requests == 1 { "request" } else { "requests" };
        let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
        let seconds = per.as_secs();
        let whole =
            units.iter().find(|(_, unit)| per.subsec_nanos() == 0 && seconds > 0 && seconds.is_multiple_of(*unit));
        let per = whole.map_or_else(|| format!("{per:?}"), |(name, unit)| format!("{}{name}", seconds / unit));
        write!(formatter, "{requests} {plural} per {per} by {}, {burst} at once", by.name())
    }
}

/// The limits of one route, each of which must have room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    limits: Box<[RateLimit]>,
    names: Box<[Box<str>]>,
    policy: Option<HeaderValue>,
}

impl RateLimits {
    /// Names the limits and makes the field that tells them; those beyond [`LIMITS_MAX`] are left out.
    pub fn new(limits: impl IntoIterator<Item = RateLimit>) -> Self {
        let limits: Box<[RateLimit]> = limits.into_iter().take(LIMITS_MAX).collect();
        let names: Box<[Box<str>]> = (0..limits.len()).filter_map(|position| name(&limits, position)).collect();
        let told = names.iter().zip(&limits).map(|(name, limit)| {
            let (quota, window) = limit.quota();
            format!("\"{name}\";q={quota};w={window}")
        });
        let told = told.collect::<Vec<_>>().join(", ");
        let policy = HeaderValue::from_str(&told).ok().filter(|value| !value.is_empty());
        Self { limits, names, policy }
    }

    /// The limits as configured.
    pub const fn limits(&self) -> &[RateLimit] {
        &self.limits
    }

    /// Their names, by position: what they count by, with a number where several count by the same.
    pub const fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11 §3); nothing without limits.
    pub const fn policy(&self) -> Option<&HeaderValue> {
        self.policy.as_ref()
    }

    /// `RateLimit` (the same draft, §4): of each limit that counted the request what is left, and for how long there is no
    /// more than that. Nothing where none did.
    pub fn told(&self, standings: &Standings) -> Option<HeaderValue> {
        let mut text = String::with_capacity(96);
        for (name, standing) in self.names.iter().zip(standings) {
            let Some(Standing { left, until_more }) = standing else { continue };
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing into a String cannot fail.
            let _ = write!(text, "{separator}\"{name}\";r={left};t={}", whole_seconds(*until_more));
        }
        HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
    }
}

/// What is left to a caller under one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests that it may still send at once.
    pub left: u32,
    /// How long until there is one more.
    pub until_more: Duration,
}

/// What is left under each limit of a route, by position; nothing where it did not count.
pub type Standings = [Option<Standing>; LIMITS_MAX];

fn name(limits: &[RateLimit], position: usize) -> Option<Box<str>> {
    let by = limits.get(position)?.by;
    let earlier = limits.iter().take(position).filter(|limit| limit.by == by).count();
    let name = by.name();
    Some(if earlier == 0 { name.into() } else { format!("{name}-{}", earlier + 1).into() })
}

/// Rounded up, as `Retry-After` is.
const fn whole_seconds(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, seconds: u64, burst: u32, by: CountedBy) -> RateLimit {
        RateLimit { requests, per: Duration::from_secs(seconds), burst, by }
    }

    #[test]
    fn policies_are_told_by_name_quota_and_window() {
        use CountedBy::{Address, Issuer, Subject, Token};
        for (limits, expected) in [
            (&[][..], None),
            (&[limit(100, 1, 100, Subject)], Some(r#""subject";q=100;w=1"#)),
            (&[limit(100, 1, 200, Subject)], Some(r#""subject";q=200;w=2"#)),
            (&[limit(100, 60, 10, Token)], Some(r#""token";q=100;w=60"#)),
            (&[limit(3, 1, 10, Issuer)], Some(r#""issuer";q=10;w=4"#)),
            (
                &[limit(10, 1, 10, Address), limit(1000, 3600, 1000, Address), limit(5, 1, 5, Subject)],
                Some(r#""address";q=10;w=1, "address-2";q=1000;w=3600, "subject";q=5;w=1"#),
            ),
        ] {
            let limits = RateLimits::new(limits.iter().copied());
            assert_eq!(limits.policy().map(|value| value.to_str().unwrap()), expected);
        }
    }

    #[test]
    fn what_is_left_is_told_of_the_limits_that_counted() {
        let limits = RateLimits::new([limit(10, 1, 10, CountedBy::Address), limit(5, 9, 5, CountedBy::Subject)]);
        let mut standings = Standings::default();
        assert_eq!(limits.told(&standings), None);
        standings[1] = Some(Standing { left: 4, until_more: Duration::from_millis(1_800) });
        assert_eq!(limits.told(&standings).unwrap(), r#""subject";r=4;t=2"#);
        standings[0] = Some(Standing { left: 0, until_more: Duration::from_millis(100) });
        assert_eq!(limits.told(&standings).unwrap(), r#""address";r=0;t=1, "subject";r=4;t=2"#);
    }

    #[test]
    fn a_price_is_rounded_so_that_nobody_is_given_more_than_is_written() {
        for (requests, seconds, nanoseconds) in [
            (1, 1, 1_000_000_000),
            (3, 1, 333_333_334),
            (1_000_000, 1, 1_000),
            (999_983, 1, 1_001),
            (1, 86_400, 86_400_000_000_000),
        ] {
            assert_eq!(limit(requests, seconds, 1, CountedBy::Token).price(), Duration::from_nanos(nanoseconds));
        }
    }

    #[test]
    fn a_limit_is_described_in_words() {
        assert_eq!(limit(100, 1, 200, CountedBy::Subject).to_string(), "100 requests per 1s by subject, 200 at once");
        assert_eq!(limit(1, 60, 1, CountedBy::Address).to_string(), "1 request per 1m by address, 1 at once");
    }

    #[test]
    fn kinds_are_indexed_by_their_position() {
        assert!(CountedBy::ALL.iter().enumerate().all(|(position, by)| by.index() == position));
    }
}

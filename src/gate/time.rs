//! Time as the gate sees it: a point and a distance, both given, never read from a clock.
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, leap seconds ignored (RFC 7519 §2 "NumericDate").
///
/// Arithmetic saturates, so no claim can make it wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    milliseconds: i64,
}

impl UnixTime {
    /// The point `milliseconds` after the epoch.
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Self { milliseconds }
    }

    /// The point `seconds` after the epoch, saturating.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { milliseconds: seconds.saturating_mul(1000) }
    }

    /// Milliseconds since the epoch.
    pub const fn milliseconds(self) -> i64 {
        self.milliseconds
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.milliseconds.div_euclid(1000)
    }

    /// This point moved later by `distance`.
    #[must_use]
    pub fn plus(self, distance: Duration) -> Self {
        Self { milliseconds: self.milliseconds.saturating_add(whole_milliseconds(distance)) }
    }

    /// This point moved earlier by `distance`.
    #[must_use]
    pub fn minus(self, distance: Duration) -> Self {
        Self { milliseconds: self.milliseconds.saturating_sub(whole_milliseconds(distance)) }
    }

    /// How long after `earlier` this point lies; zero when it does not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.milliseconds.saturating_sub(earlier.milliseconds)).unwrap_or(0))
    }
}

/// As RFC 3339 writes it, in UTC; seconds since the epoch where its year has more digits than that has room for.
impl std::fmt::Display for UnixTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.milliseconds) {
            Ok(timestamp) => timestamp.fmt(formatter),
            Err(_) => write!(formatter, "{} s after 1970", self.seconds()),
        }
    }
}

fn whole_milliseconds(distance: Duration) -> i64 {
    i64::try_from(distance.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let last = UnixTime::from_seconds(i64::MAX);
        assert_eq!(last.plus(Duration::from_secs(1)), last);
        let first = UnixTime::from_seconds(i64::MIN);
        assert_eq!(first.minus(Duration::from_secs(1)), first);
        assert_eq!(first.since(last), Duration::ZERO);
        assert_eq!(UnixTime::from_milliseconds(-1).seconds(), -1);
    }
}

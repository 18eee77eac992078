//! Points in time on the command line: how they are typed (RFC 3339), shown, and how far they are from each other.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::gate::time::UnixTime;

/// The present, by the system's clock.
pub fn now() -> UnixTime {
    let milliseconds = |distance: Duration| i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
    UnixTime::from_milliseconds(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => milliseconds(since),
        Err(error) => milliseconds(error.duration()).saturating_neg(),
    })
}

/// Reads a point in time, such as `2026-11-23T09:30:00Z` (RFC 3339 §5.6).
///
/// # Errors
/// Says what is expected.
pub fn parse(text: &str) -> Result<UnixTime, String> {
    text.parse::<Timestamp>()
        .map(|timestamp| UnixTime::from_milliseconds(timestamp.as_millisecond()))
        .map_err(|_| "not a time in RFC 3339, such as 2026-11-23T09:30:00Z".to_owned())
}

/// A point in time as RFC 3339 writes it, in UTC; nothing when its year has not four digits.
pub fn rfc3339(time: UnixTime) -> Option<String> {
    let timestamp = Timestamp::from_millisecond(time.milliseconds()).ok()?;
    (timestamp >= Timestamp::constant(-62_167_219_200, 0)).then(|| timestamp.to_string())
}

/// A distance in its two largest units, for people: `3d4h`, `59s`.
pub fn distance(distance: Duration) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let seconds = distance.as_secs();
    let first = UNITS.iter().position(|(_, size)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut text = String::new();
    for (unit, size) in UNITS.iter().skip(first).take(2) {
        if rest >= *size || text.is_empty() {
            text.push_str(&format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_written_in_rfc_3339() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T09:30:00Z", 1_795_426_200),
            ("2026-11-23T10:30:00+01:00", 1_795_426_200),
        ] {
            assert_eq!(parse(text), Ok(UnixTime::from_seconds(seconds)), "{text}");
        }
        for text in ["", "now", "2026-11-23", "2026-11-23T09:30:00", "1795426200", "2026-13-01T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(rfc3339(UnixTime::from_seconds(1_795_426_200)).as_deref(), Some("2026-11-23T09:30:00Z"));
        assert_eq!(rfc3339(UnixTime::from_milliseconds(1_500)).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        for far in [i64::MAX, i64::MIN, -62_167_219_201] {
            assert_eq!(rfc3339(UnixTime::from_seconds(far)), None, "{far}");
        }
    }

    #[test]
    fn a_distance_has_at_most_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (299, "4m59s"), (3_600, "1h"), (86_399, "23h59m"), (90_061, "1d1h")]
        {
            assert_eq!(distance(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_present_is_after_this_was_written() {
        assert!(now() > UnixTime::from_seconds(1_700_000_000));
    }
}

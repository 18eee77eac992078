//! What time it is. Read once a request, here, and handed down as a value; nothing below this floor asks for it.
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use crate::gate::time::UnixTime;

/// The wall clock: for token times, log lines and what is compared with another machine's clock. May jump.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The wall clock as the gate compares it.
#[must_use]
pub fn unix_time() -> UnixTime {
    let epoch = UnixTime::from_seconds(0);
    match now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => epoch.plus(since),
        Err(before) => epoch.minus(before.duration()),
    }
}

/// A point in time as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(time: UnixTime) -> String {
    let milliseconds = u64::try_from(time.milliseconds()).unwrap_or(0);
    let mut buffer = Vec::new();
    append_rfc3339(&mut buffer, SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds));
    String::from_utf8(buffer).unwrap_or_default()
}

/// The monotonic clock: for durations and deadlines. Never jumps, means nothing outside this process.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Appends a time as RFC 3339 in UTC with microseconds, for example `2026-11-23T09:30:00.123456Z`.
///
/// A time that RFC 3339 cannot write (before the year 0 or after 9999) is written as the epoch: a log line is worth more
/// than its time.
pub fn append_rfc3339(buffer: &mut Vec<u8>, time: SystemTime) {
    let timestamp = Timestamp::try_from(time)
        .ok()
        .filter(|timestamp| (YEAR_0..=YEAR_9999).contains(&timestamp.as_second()))
        .unwrap_or(Timestamp::UNIX_EPOCH);
    // Writing into a Vec cannot fail.
    let _ = write!(buffer, "{timestamp:.6}");
}

/// 0000-01-01T00:00:00Z in seconds since the epoch.
const YEAR_0: i64 = -62_167_219_200;
/// 9999-12-30T22:00:00Z, the last second that jiff counts.
const YEAR_9999: i64 = 253_402_207_200;

#[cfg(test)]
mod tests {
    use super::{append_rfc3339, monotonic, now};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn written(time: SystemTime) -> String {
        let mut buffer = Vec::new();
        append_rfc3339(&mut buffer, time);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_time_is_written_in_utc_with_six_digits() {
        let rows = [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
            (Duration::from_micros(951_826_154_000_001), "2000-02-29T12:09:14.000001Z"),
            (Duration::new(1_795_426_200, 123_456_999), "2026-11-23T09:30:00.123456Z"),
        ];
        for (since_epoch, expected) in rows {
            assert_eq!(written(UNIX_EPOCH + since_epoch), expected);
        }
    }

    #[test]
    fn a_time_that_cannot_be_written_is_the_epoch() {
        for far in
            [UNIX_EPOCH + Duration::from_secs(u64::pow(2, 60)), UNIX_EPOCH - Duration::from_secs(u64::pow(2, 40))]
        {
            assert_eq!(written(far), "1970-01-01T00:00:00.000000Z");
        }
    }

    #[test]
    fn the_clocks_are_those_of_the_system() {
        let before = SystemTime::now();
        assert!(now() >= before);
        let earlier = monotonic();
        assert!(monotonic() >= earlier);
    }
}

//! Numbers as people read them, and small charts of them.
use std::time::Duration;

use maud::{Markup, html};

/// A length of time in its two largest units.
pub(super) fn duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = duration.as_secs();
    let first = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(first).take(2) {
        let amount = left / unit;
        left %= unit;
        if amount > 0 || parts.is_empty() {
            parts.push(format!("{amount} {name}"));
        }
    }
    parts.join(" ")
}

/// A short time, in milliseconds or seconds.
pub(super) fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1_000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1_000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1_000.0)
    }
}

/// A count, its thousands apart by a narrow space that does not break.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A rate, with as many digits as mean something.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 10.0 {
        format!("{per_second:.1}")
    } else if per_second.is_finite() {
        count(per_second.round() as u64)
    } else {
        "–".to_owned()
    }
}

/// A share as percent; a dash of nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let percent = part as f64 / whole as f64 * 100.0;
    // Neither all nor nothing unless it is.
    if part < whole && percent > 99.9 {
        ">99.9 %".to_owned()
    } else if part > 0 && percent < 0.1 {
        "<0.1 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

/// Bars, the last one the newest, the highest as high as the chart. What it shows is said beside it.
pub(super) fn bars(values: &[f64]) -> Markup {
    const WIDTH: usize = 4;
    const HEIGHT: f64 = 20.0;
    let highest = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        if highest > 0.0 { (value / highest * HEIGHT).max(if value > 0.0 { 1.5 } else { 0.5 }) } else { 0.5 }
    };
    html! {
        svg.bars viewBox=(format!("0 0 {} {HEIGHT}", values.len() * WIDTH)) preserveAspectRatio="none" aria-hidden="true" {
            @for (place, value) in values.iter().enumerate() {
                @let height = bar(*value);
                rect.nothing[*value <= 0.0] x=(place * WIDTH) y=(format!("{:.1}", HEIGHT - height)) width=(WIDTH - 1) height=(format!("{height:.1}")) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_their_two_largest_units() {
        let rows = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (7_260, "2 h 1 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (30 * 86_400 + 59, "30 d"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
        let rows = [(400, "0.4 ms"), (9_940, "9.9 ms"), (45_400, "45 ms"), (999_400, "999 ms"), (1_500_000, "1.5 s")];
        for (microseconds, expected) in rows {
            assert_eq!(milliseconds(Duration::from_micros(microseconds)), expected);
        }
    }

    #[test]
    fn numbers_say_no_more_and_no_less_than_they_mean() {
        let counts = [(0, "0"), (999, "999"), (1_000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")];
        for (number, expected) in counts {
            assert_eq!(count(number), expected);
        }
        let shares = [
            (0, 0, "–"),
            (0, 9, "0.0 %"),
            (9, 9, "100.0 %"),
            (1, 3, "33.3 %"),
            (99_999, 100_000, ">99.9 %"),
            (1, 100_000, "<0.1 %"),
        ];
        for (part, whole, expected) in shares {
            assert_eq!(percent(part, whole), expected);
        }
        for (per_second, expected) in
            [(0.0, "0.0"), (9.94, "9.9"), (12.4, "12"), (15_000.2, "15\u{202f}000"), (f64::NAN, "–")]
        {
            assert_eq!(rate(per_second), expected);
        }
    }

    #[test]
    fn the_highest_bar_fills_the_chart_and_what_is_little_is_still_seen() {
        let chart = bars(&[0.0, 1.0, 1_000.0]).into_string();
        assert!(chart.contains(r#"viewBox="0 0 12 20""#), "{chart}");
        for bar in [
            r#"class="nothing" x="0" y="19.5" width="3" height="0.5""#,
            r#"x="4" y="18.5" width="3" height="1.5""#,
            r#"x="8" y="0.0" width="3" height="20.0""#,
        ] {
            assert!(chart.contains(bar), "{bar} is not in {chart}");
        }
    }
}

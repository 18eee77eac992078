//! Durations (`1h30m`) and sizes (`64MiB`) as people write them. Text and numbers only; bounds are for whoever asks.
use std::fmt;
use std::time::Duration;

/// Units of time, largest first, with their milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of size, largest first within each kind, with their bytes.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// A number without unit, which is not guessed.
    MissingUnit,
    /// A unit that does not exist.
    UnknownUnit(String),
    /// A decimal point or comma.
    Fraction,
    /// A unit twice, or a larger one after a smaller.
    Order,
    /// More than can be counted.
    TooLarge,
    /// Anything else.
    Malformed,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingUnit => formatter.write_str("the unit is missing"),
            Self::UnknownUnit(unit) => write!(formatter, "`{unit}` is not a unit"),
            Self::Fraction => formatter.write_str("only whole numbers are allowed"),
            Self::Order => formatter.write_str("units go from large to small, each at most once"),
            Self::TooLarge => formatter.write_str("the number is too large"),
            Self::Malformed => formatter.write_str("not a number with a unit"),
        }
    }
}

impl std::error::Error for QuantityError {}

/// Reads a duration: whole numbers with `d`, `h`, `m`, `s` or `ms`, from large to small, without spaces.
///
/// # Errors
/// See [`QuantityError`].
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let mut rest = text;
    let mut milliseconds = 0_u64;
    let mut units = TIME_UNITS.as_slice();
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest)?;
        if !TIME_UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(QuantityError::UnknownUnit(unit.to_owned()));
        }
        let place = units.iter().position(|(name, _)| *name == unit).ok_or(QuantityError::Order)?;
        let factor = units.get(place).map_or(0, |(_, factor)| *factor);
        units = units.get(place.saturating_add(1)..).unwrap_or_default();
        let part = number.checked_mul(factor).ok_or(QuantityError::TooLarge)?;
        milliseconds = milliseconds.checked_add(part).ok_or(QuantityError::TooLarge)?;
        rest = after;
    }
    if text.is_empty() { Err(QuantityError::Malformed) } else { Ok(Duration::from_millis(milliseconds)) }
}

/// Reads a size in bytes: a whole number with `B`, `KiB`, `MiB`, `GiB` (1024 each) or `KB`, `MB`, `GB` (1000 each).
///
/// # Errors
/// See [`QuantityError`].
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit, rest) = number_and_unit(text)?;
    if !rest.is_empty() {
        return Err(QuantityError::Malformed);
    }
    let (_, factor) =
        SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| QuantityError::UnknownUnit(unit.to_owned()))?;
    number.checked_mul(*factor).ok_or(QuantityError::TooLarge)
}

/// A duration as [`parse_duration`] reads it; what is below a millisecond is left out.
pub fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in TIME_UNITS {
        let (number, remainder) = (rest / factor, rest % factor);
        // Days are for durations that people think of in days.
        if number > 0 && !(unit == "d" && (remainder > 0 || number == 1)) {
            text.push_str(&format!("{number}{unit}"));
            rest = remainder;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size as [`parse_size`] reads it, in the largest unit that divides it.
pub fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// Splits `10mrest` into 10, `m` and what follows the letters.
fn number_and_unit(text: &str) -> Result<(u64, &str, &str), QuantityError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).ok_or(QuantityError::Malformed)?;
    if digits.is_empty() {
        return Err(QuantityError::Malformed);
    }
    if rest.starts_with(['.', ',']) {
        return Err(QuantityError::Fraction);
    }
    let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(end).ok_or(QuantityError::Malformed)?;
    match (unit.is_empty(), after.is_empty()) {
        (true, true) => Err(QuantityError::MissingUnit),
        (true, false) => Err(QuantityError::Malformed),
        (false, _) => Ok((digits.parse().map_err(|_| QuantityError::TooLarge)?, unit, after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_is_whole_numbers_with_units_from_large_to_small() {
        let unknown = |unit: &str| Err(QuantityError::UnknownUnit(unit.to_owned()));
        let rows = [
            ("500ms", Ok(500)),
            ("30s", Ok(30_000)),
            ("10m", Ok(600_000)),
            ("24h", Ok(86_400_000)),
            ("7d", Ok(604_800_000)),
            ("1h30m", Ok(5_400_000)),
            ("1d2h3m4s5ms", Ok(93_784_005)),
            ("0s", Ok(0)),
            ("007s", Ok(7000)),
            ("18446744073709551615ms", Ok(u64::MAX)),
            ("18446744073709551615s", Err(QuantityError::TooLarge)),
            ("99999999999999999999s", Err(QuantityError::TooLarge)),
            ("30", Err(QuantityError::MissingUnit)),
            ("1h30", Err(QuantityError::MissingUnit)),
            ("1.5h", Err(QuantityError::Fraction)),
            ("1,5h", Err(QuantityError::Fraction)),
            ("30m1h", Err(QuantityError::Order)),
            ("1s1s", Err(QuantityError::Order)),
            ("30sec", unknown("sec")),
            ("30S", unknown("S")),
            ("2w", unknown("w")),
            ("30 s", Err(QuantityError::Malformed)),
            ("30s ", Err(QuantityError::Malformed)),
            ("-30s", Err(QuantityError::Malformed)),
            ("+30s", Err(QuantityError::Malformed)),
            ("s", Err(QuantityError::Malformed)),
            ("", Err(QuantityError::Malformed)),
            ("٣s", Err(QuantityError::Malformed)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_with_one_unit() {
        let unknown = |unit: &str| Err(QuantityError::UnknownUnit(unit.to_owned()));
        let rows = [
            ("0B", Ok(0)),
            ("8KiB", Ok(8192)),
            ("64MiB", Ok(67_108_864)),
            ("1GiB", Ok(1_073_741_824)),
            ("8KB", Ok(8000)),
            ("1MB", Ok(1_000_000)),
            ("1GB", Ok(1_000_000_000)),
            ("8192", Err(QuantityError::MissingUnit)),
            ("8K", unknown("K")),
            ("8kb", unknown("kb")),
            ("1TiB", unknown("TiB")),
            ("1.5MiB", Err(QuantityError::Fraction)),
            ("1MiB1B", Err(QuantityError::Malformed)),
            ("1 MiB", Err(QuantityError::Malformed)),
            ("18446744073709551615KiB", Err(QuantityError::TooLarge)),
            ("", Err(QuantityError::Malformed)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quantities_are_said_in_the_units_that_people_use() {
        let rows =
            [(0, "0s"), (1, "1ms"), (90_000, "1m30s"), (86_400_000, "24h"), (604_800_000, "7d"), (90_000_000, "25h")];
        for (milliseconds, text) in rows {
            assert_eq!(duration_text(Duration::from_millis(milliseconds)), text);
        }
        for (bytes, text) in [(0, "0B"), (1, "1B"), (8192, "8KiB"), (1000, "1KB"), (1 << 30, "1GiB"), (1025, "1025B")] {
            assert_eq!(size_text(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_said_can_be_read(number in any::<u64>()) {
            prop_assert_eq!(parse_duration(&duration_text(Duration::from_millis(number))), Ok(Duration::from_millis(number)));
            prop_assert_eq!(parse_size(&size_text(number)), Ok(number));
        }

        #[test]
        fn no_text_makes_a_reader_of_quantities_panic(text in ".*") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}

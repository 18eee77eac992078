//! A single value as written and as understood: the YAML 1.2 core schema. Never prints what a variable stood for.
use std::fmt;

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: its type follows from its text.
    Plain,
    /// In quotes or as a block (`|`, `>`): always a string.
    Quoted,
}

/// What a scalar is by YAML's core schema (YAML 1.2.2, section 10.3.2). `on`, `off`, `yes` and `no` are strings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarKind {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number, also `0o…` and `0x…`.
    Integer(i128),
    /// Any other number, and whole numbers beyond 128 bits.
    Float(f64),
    /// All else.
    String,
}

impl ScalarKind {
    /// The type of an unquoted text.
    pub fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Boolean(true),
            "false" | "False" | "FALSE" => return Self::Boolean(false),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            _ => {}
        }
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text.strip_prefix('+').unwrap_or(text)),
        };
        if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
            return Self::Float(sign * f64::INFINITY);
        }
        for (prefix, radix) in [("0o", 8), ("0x", 16)] {
            let digits = text.strip_prefix(prefix).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
            if let Some(number) = digits.and_then(|digits| i128::from_str_radix(digits, radix).ok()) {
                return Self::Integer(number);
            }
        }
        if !is_decimal(unsigned) {
            return Self::String;
        }
        match text.parse::<i128>() {
            Ok(number) => Self::Integer(number),
            Err(_) => text.parse().map_or(Self::String, Self::Float),
        }
    }
}

/// Whether `text` is `digits[.digits][e±digits]` or `.digits[e±digits]`.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// A single value of the configuration.
#[derive(Clone, PartialEq)]
pub struct Scalar {
    written: String,
    style: Style,
    kind: ScalarKind,
    expanded: Option<Expanded>,
}

#[derive(Clone, PartialEq)]
struct Expanded {
    text: String,
    from_variable: bool,
}

impl Scalar {
    /// A scalar as found in a file; `written` is without quotes and with YAML escapes resolved.
    pub fn new(written: impl Into<String>, style: Style) -> Self {
        let written = written.into();
        let kind = kind_of(&written, style);
        Self { written, style, kind, expanded: None }
    }

    /// The text as written, `${…}` unexpanded.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The text in force, after expansion. Not for output when [`Scalar::is_from_variable`].
    pub fn text(&self) -> &str {
        self.expanded.as_ref().map_or(&self.written, |expanded| &expanded.text)
    }

    /// Whether the text in force holds the value of a variable, which is never printed.
    pub fn is_from_variable(&self) -> bool {
        self.expanded.as_ref().is_some_and(|expanded| expanded.from_variable)
    }

    /// Whether it was quoted.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The type of the text in force.
    pub fn kind(&self) -> ScalarKind {
        self.kind
    }

    /// Puts the expanded text in force; a plain scalar gets the type of its new text.
    pub(in crate::config) fn expand(&mut self, text: String, from_variable: bool) {
        self.kind = kind_of(&text, self.style);
        self.expanded = Some(Expanded { text, from_variable });
    }
}

fn kind_of(text: &str, style: Style) -> ScalarKind {
    match style {
        Style::Plain => ScalarKind::of_plain(text),
        Style::Quoted => ScalarKind::String,
    }
}

/// Shows what is in the file and nothing of what variables stand for.
impl fmt::Debug for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Style::Plain => write!(formatter, "Plain({:?})", self.written),
            Style::Quoted => write!(formatter, "Quoted({:?})", self.written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_gets_the_type_of_the_core_schema() {
        let inf = f64::INFINITY;
        let rows: &[(&[&str], ScalarKind)] = &[
            (&["", "~", "null", "Null", "NULL"], ScalarKind::Null),
            (&["true", "True", "TRUE"], ScalarKind::Boolean(true)),
            (&["false", "False", "FALSE"], ScalarKind::Boolean(false)),
            (&["0", "+0", "-0", "00"], ScalarKind::Integer(0)),
            (&["12", "+12", "012", "0xC", "0xc", "0o14"], ScalarKind::Integer(12)),
            (&["-7"], ScalarKind::Integer(-7)),
            (&["1.5", "+1.5", "01.5", "15e-1", "1.5E0", "0.15e+1"], ScalarKind::Float(1.5)),
            (&[".5", "0.5"], ScalarKind::Float(0.5)),
            (&["1.", "1e0"], ScalarKind::Float(1.0)),
            (&[".inf", "+.INF"], ScalarKind::Float(inf)),
            (&["-.inf"], ScalarKind::Float(-inf)),
            (&["on", "off", "yes", "no", "y", "n", "tRUE", "none", "nan", "inf", "infinity"], ScalarKind::String),
            (
                &["1_000", "0b1", "-0x1", "0x", "0o8", "0x+1", "1e", "e1", ".", "+", "-", "1:30", "1.2.3", "0x1g"],
                ScalarKind::String,
            ),
            (&["30s", "10.0.0.1", "+-1", "--1", "1e5.5", " 1", "١"], ScalarKind::String),
        ];
        for (texts, kind) in rows {
            for text in *texts {
                assert_eq!(ScalarKind::of_plain(text), *kind, "{text:?}");
            }
        }
        assert!(matches!(ScalarKind::of_plain(".nan"), ScalarKind::Float(number) if number.is_nan()));
        assert!(matches!(ScalarKind::of_plain(&"9".repeat(60)), ScalarKind::Float(_)));
    }

    #[test]
    fn a_quoted_text_is_a_string_whatever_it_says() {
        for text in ["1", "true", "", "null"] {
            assert_eq!(Scalar::new(text, Style::Quoted).kind(), ScalarKind::String);
        }
    }

    #[test]
    fn what_a_variable_stands_for_is_not_shown() {
        let mut scalar = Scalar::new("${PIN}", Style::Plain);
        scalar.expand("1234".to_owned(), true);
        assert_eq!((scalar.kind(), scalar.text(), scalar.written()), (ScalarKind::Integer(1234), "1234", "${PIN}"));
        assert_eq!(format!("{scalar:?}"), "Plain(\"${PIN}\")");
    }
}

//! Text on a terminal: what may be printed and how wide it is. Knows nothing of configurations.
use std::fmt::Write;

/// Tabs are printed as this many spaces, so that a caret beneath them stands right on every terminal.
const TAB_COLUMNS: usize = 4;

/// One character of a text as a terminal shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What to print for it.
    pub text: String,
    /// How many columns that takes; 0 for combining marks.
    pub columns: usize,
}

impl Cell {
    /// How `character` is shown: tabs become spaces; what moves the cursor, hides or reorders text is spelled out.
    pub fn of(character: char) -> Self {
        if character == '\t' {
            return Self { text: " ".repeat(TAB_COLUMNS), columns: TAB_COLUMNS };
        }
        if is_deceptive(character) {
            let text: String = character.escape_unicode().collect();
            return Self { columns: text.len(), text };
        }
        Self { text: character.to_string(), columns: columns(character) }
    }
}

/// `text` in one line and safe to print: control and invisible characters are spelled out.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// The lines of `text`, each safe to print.
pub fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Characters that make a terminal show something else than the file holds (escape sequences, direction overrides,
/// invisible characters).
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns of a printable character, after Unicode's East Asian Width (UAX 11), in coarse ranges.
fn columns(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{489}'
        | '\u{591}'..='\u{5bd}'
        | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}'
        | '\u{e31}'
        | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe20}'..='\u{fe2f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{231a}'..='\u{231b}'
        | '\u{23e9}'..='\u{23ec}'
        | '\u{2614}'..='\u{2615}'
        | '\u{2648}'..='\u{2653}'
        | '\u{26a1}'
        | '\u{26d4}'
        | '\u{2705}'
        | '\u{2728}'
        | '\u{274c}'
        | '\u{2753}'..='\u{2757}'
        | '\u{2795}'..='\u{2797}'
        | '\u{2b50}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{17000}'..='\u{18aff}'
        | '\u{1b000}'..='\u{1b2ff}'
        | '\u{1f18e}'..='\u{1f19a}'
        | '\u{1f200}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{1fa70}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_deceive_a_reader_is_spelled_out() {
        let rows = [
            ("plain é 漢", "plain é 漢"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\u{202e}evil\u{200b}", "\\u{202e}evil\\u{200b}"),
        ];
        for (text, expected) in rows {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn columns_follow_what_a_terminal_does() {
        for (character, expected) in [('a', 1), ('é', 1), ('漢', 2), ('\u{301}', 0), ('😀', 2), ('\t', 4), ('\u{7}', 5)]
        {
            assert_eq!(Cell::of(character).columns, expected, "{character:?}");
        }
    }
}

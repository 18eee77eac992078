//! What to do about text that is no YAML: hints for the mistakes that people make. Never decides what is an error.
use granit_parser::{ErrorKind, ScanError};

/// What would probably be right, from the kind of error and the line that it is on.
pub(in crate::config) fn hint(error: &ScanError, line: &str) -> Option<&'static str> {
    by_line(line).filter(|_| !is_about_tabs(error.kind())).or_else(|| by_kind(error.kind()))
}

/// Things that this product's configurations hold and that need quotes in places.
fn by_line(line: &str) -> Option<&'static str> {
    if line.contains("${") && line.contains(['{', '[']) && line.contains([',', ']', '[']) {
        return Some("between [ ] and { }, put a value with ${…} in quotes");
    }
    if line.contains("]:") && line.contains("::") {
        return Some("put an IPv6 address in quotes, as in \"[::1]:8080\"");
    }
    None
}

fn is_about_tabs(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation)
}

fn by_kind(kind: &ErrorKind) -> Option<&'static str> {
    if is_about_tabs(kind) {
        return Some("indent with spaces: YAML allows no tabs there");
    }
    let table: &[(bool, &str)] = &[
        (
            matches!(kind, ErrorKind::UnexpectedCharacter { .. }),
            "put a value that starts with this character in quotes",
        ),
        (matches!(kind, ErrorKind::MissingAnchorOrAliasName), "put a value that starts with `*` or `&` in quotes"),
        (
            matches!(kind, ErrorKind::MappingValueNotAllowed),
            "is the line indented like its neighbours? A value that contains `: ` needs quotes",
        ),
        (matches!(kind, ErrorKind::UnclosedQuotedScalar), "the quote that opens here is never closed"),
        (matches!(kind, ErrorKind::UnclosedFlowCollection { .. }), "the bracket that opens here is never closed"),
        (matches!(kind, ErrorKind::InvalidColonPlacement), "is a bracket or quote on an earlier line not closed?"),
        (
            matches!(kind, ErrorKind::SimpleKeyExpected),
            "a key is followed by `: `, an element of a list preceded by `- `",
        ),
        (
            matches!(kind, ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedDocumentStart),
            "is the line indented like its neighbours? A value that starts with a bracket or quote ends with it",
        ),
        (
            matches!(kind, ErrorKind::BlockSequenceEntryNotAllowed),
            "start the list on the next line, or write it as [a, b]",
        ),
        (matches!(kind, ErrorKind::DirectiveDisallowed), "remove the line that starts with `%`"),
    ];
    table.iter().find(|(applies, _)| *applies).map(|(_, hint)| *hint)
}

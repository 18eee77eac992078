//! What is wrong with text that is no YAML, in words for people, and what to do about the mistakes that people make.
//! Never decides what is an error.
use granit_parser::{ErrorKind, ScanError};

/// The message for an error of the YAML parser, and what would probably be right on the line that it is on.
pub(in crate::config) fn explain(error: &ScanError, line: &str) -> (String, Option<&'static str>) {
    let kind = error.kind();
    if let ErrorKind::UnexpectedCharacter { character } = kind {
        let hint = if character.is_control() {
            "control characters are written as escapes in double quotes"
        } else {
            "put the value in quotes"
        };
        return (format!("a value cannot start with `{character}`"), Some(hint));
    }
    match rows(kind).iter().find(|(applies, _, _)| *applies) {
        Some((_, message, hint)) => ((*message).to_owned(), Some(by_line(kind, line).unwrap_or(hint))),
        None => (format!("invalid YAML: {}", error.info()), None),
    }
}

/// Values that this product's configurations hold and that need quotes in places.
fn by_line(kind: &ErrorKind, line: &str) -> Option<&'static str> {
    let in_brackets =
        matches!(kind, ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator);
    if in_brackets && line.contains("${") {
        return Some("between [ ] and { }, put a value with ${…} in quotes");
    }
    let after_value = matches!(kind, ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry);
    if after_value && line.contains("]:") {
        return Some("put an IPv6 address in quotes, as in \"[::1]:8080\"");
    }
    None
}

/// For the kinds that people meet: whether it is this one, what is said, what is advised.
fn rows(kind: &ErrorKind) -> [(bool, &'static str, &'static str); 13] {
    [
        (
            matches!(kind, ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation),
            "a tab is not allowed here",
            "indent with spaces",
        ),
        (
            matches!(kind, ErrorKind::ExpectedBlockMappingKey),
            "a key is expected here",
            "is the line indented like its neighbours? A value that starts with a bracket or quote ends with it",
        ),
        (
            matches!(kind, ErrorKind::ExpectedBlockSequenceEntry),
            "an element of a list is expected here",
            "is the line indented like its neighbours? A value that starts with a bracket or quote ends with it",
        ),
        (
            matches!(kind, ErrorKind::ExpectedDocumentStart),
            "the document ended before this line",
            "is the line indented like its neighbours?",
        ),
        (
            matches!(kind, ErrorKind::MappingValueNotAllowed),
            "`:` is not allowed here",
            "a value that contains `: ` needs quotes; or is the line not indented like its neighbours?",
        ),
        (
            matches!(kind, ErrorKind::InvalidColonPlacement),
            "`:` is not allowed here",
            "is a bracket or quote on an earlier line not closed?",
        ),
        (
            matches!(kind, ErrorKind::SimpleKeyExpected),
            "`:` is missing after a key",
            "write `key: value`, or `- value` for an element of a list",
        ),
        (
            matches!(kind, ErrorKind::ExpectedFlowMappingSeparator),
            "`,` or `}` is expected here",
            "a value that contains a bracket or a comma needs quotes",
        ),
        (
            matches!(kind, ErrorKind::ExpectedFlowSequenceSeparator),
            "`,` or `]` is expected here",
            "a value that contains a bracket or a comma needs quotes",
        ),
        (
            matches!(kind, ErrorKind::UnclosedQuotedScalar | ErrorKind::UnclosedFlowCollection { .. }),
            "what is opened here is never closed",
            "add the closing quote or bracket",
        ),
        (
            matches!(kind, ErrorKind::BlockSequenceEntryNotAllowed),
            "a list cannot start here",
            "start it on the next line, or write it as [a, b]",
        ),
        (
            matches!(kind, ErrorKind::MissingAnchorOrAliasName),
            "`*` and `&` must be followed by a name",
            "put the value in quotes",
        ),
        (matches!(kind, ErrorKind::DirectiveDisallowed), "directives are not supported", "remove the line"),
    ]
}

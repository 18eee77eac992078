//! PEM (RFC 7468): the first block that a caller can use, and how a block is written. It never shows what is in one.
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Characters of base64 on one line (RFC 7468 §2).
const LINE_CHARACTERS: usize = 64;

/// One block: its label and its bytes; nothing where they are not plain base64, as in a file that is encrypted.
pub struct Block<'a> {
    /// What it says to be, such as `PRIVATE KEY`.
    pub label: &'a str,
    /// Its bytes.
    pub content: Option<Zeroizing<Vec<u8>>>,
}

/// The blocks of a text, in their order; what is around them is ignored (RFC 7468 §5.2).
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    text.split("-----BEGIN ")
        .skip(1)
        .filter_map(|rest| {
            let (label, rest) = rest.split_once("-----")?;
            let (body, _) = rest.split_once("-----END ")?;
            let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
            Some(Block { label, content: STANDARD.decode(body.as_bytes()).ok().map(Zeroizing::new) })
        })
        .collect()
}

/// Writes a block.
pub fn write(label: &str, content: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(content));
    let mut text = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE_CHARACTERS).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let content = vec![7; length];
            let text = write("PRIVATE KEY", &content);
            assert!(text.lines().all(|line| line.len() <= LINE_CHARACTERS), "{length}");
            let read = blocks(&text);
            assert_eq!(read.len(), 1);
            assert_eq!(read[0].label, "PRIVATE KEY");
            assert_eq!(read[0].content.as_deref(), Some(&content));
        }
    }

    #[test]
    fn text_around_and_other_line_ends_are_fine_and_broken_blocks_are_told_apart() {
        let text = "key:\r\n-----BEGIN EC PARAMETERS-----\r\nAQ==\r\n-----END EC PARAMETERS-----\r\n\
                    -----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAQ==\n-----END RSA PRIVATE KEY-----\n\
                    -----BEGIN CUT-----\nAQ==";
        let read: Vec<_> = blocks(text).into_iter().map(|block| (block.label, block.content.is_some())).collect();
        assert_eq!(read, [("EC PARAMETERS", true), ("RSA PRIVATE KEY", false)]);
    }
}

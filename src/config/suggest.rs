//! "Did you mean": the known name that an unknown one most resembles. Names only; decides nothing.
use strsim::damerau_levenshtein;

/// Longer names are not compared: the distance costs the product of both lengths.
const COMPARED_BYTES_MAX: usize = 64;

/// The candidate that `name` was probably meant to be, or `None` when nothing is close.
///
/// Close is a difference in case, hyphens and underscores alone (`jwksUrl`, `jwks-url`), else one edit in three
/// letters, and at most three edits.
pub fn closest<'k>(name: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.is_empty() || name.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let folded = fold(name);
    let edits_max = (folded.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let edits = damerau_levenshtein(&folded, &fold(candidate));
        if edits <= edits_max && best.is_none_or(|(fewest, _)| edits < fewest) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '_' && *c != '-' && *c != ' ').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key_and_a_stranger_finds_none() {
        let known = ["algorithms", "audiences", "issuer", "jwks_url", "jwks_file", "name", "log", "h2c"];
        let rows = [
            ("algoritms", Some("algorithms")),
            ("Algorithms", Some("algorithms")),
            ("audience", Some("audiences")),
            ("jwksUrl", Some("jwks_url")),
            ("jwks-file", Some("jwks_file")),
            ("isuser", Some("issuer")),
            ("nmae", Some("name")),
            ("lgo", Some("log")),
            ("zebra", None),
            ("x", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(closest(name, known), expected, "{name}");
        }
        assert_eq!(closest(&"a".repeat(100_000), known), None);
    }
}

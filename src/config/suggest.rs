//! "Did you mean": the only file that names strsim.

/// Longer words are no typing mistakes of ours.
const MAX_WORD: usize = 64;
/// More candidates than this are not compared, so that a hostile file can't buy quadratic time.
const MAX_CANDIDATES: usize = 1_000;

/// The candidate that `word` was most likely meant to be.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > MAX_WORD {
        return None;
    }
    let plain = simplify(word);
    let allowed = match plain.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_WORD)
        .take(MAX_CANDIDATES)
        .map(|candidate| (strsim::osa_distance(&plain, &simplify(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `Unit-ID` and `unit_id` are one word to a person.
fn simplify(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word_and_another_word_finds_nothing() {
        let keys = ["unit_id", "poll", "points", "byte_order", "qos"];
        for (typed, meant) in [
            ("unitid", Some("unit_id")),
            ("Unit-ID", Some("unit_id")),
            ("uint_id", Some("unit_id")),
            ("point", Some("points")),
            ("byteorder", Some("byte_order")),
            ("pol", Some("poll")),
            ("QoS", Some("qos")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(typed, keys), meant, "{typed}");
        }
        assert_eq!(did_you_mean(&"p".repeat(100_000), keys), None);
    }
}

//! What was probably meant by a word that nobody knows, and how an error repeats it.

use std::borrow::Cow;

/// How much of a wrong word an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// A word as an error repeats it.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    shortened_to(SHOWN_CHARS_MAX, text)
}

/// As [`shortened`], where more or less than a word is repeated.
pub(crate) fn shortened_to(chars_max: usize, text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// What to write instead of an unknown word: the known one that was probably meant, else what `otherwise` says.
pub(crate) fn instead_of(given: &str, known: &[&str], otherwise: impl FnOnce() -> String) -> String {
    nearest(given, known.iter().copied()).map_or_else(otherwise, |word| format!("did you mean {word:?}?"))
}

/// The known name nearest to `given`, if it is near enough to be worth suggesting: at most every third letter
/// differs. Upper and lower case count as the same.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of megabytes is no typo, and comparing it would cost its length times ours for every known name.
    const TYPO_BYTES_MAX: usize = 64;
    if given.len() > TYPO_BYTES_MAX {
        return None;
    }
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (edits(&given, &name.to_lowercase()), name))
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, name)| edits * 3 <= name.len().max(3))
        .map(|(_, name)| name)
}

/// The fewest letters to insert, remove or replace that turn `a` into `b` (Levenshtein distance).
fn edits(a: &str, b: &str) -> usize {
    // `row[j]` is the distance from the letters of `a` seen so far to the first `j` letters of `b`.
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_inserted_removed_and_replaced_letters() {
        for (a, b, distance) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("bind", "bind", 0)]
        {
            assert_eq!(edits(a, b), distance, "{a} {b}");
        }
    }

    #[test]
    fn a_typo_finds_its_name_and_a_stranger_finds_none() {
        let known = ["worker_count", "data_dir", "bind"];
        assert_eq!(nearest("worker_cuont", known), Some("worker_count"));
        assert_eq!(nearest("Worker-Count", known), Some("worker_count"));
        assert_eq!(nearest("datadir", known), Some("data_dir"));
        assert_eq!(nearest("bnd", known), Some("bind"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"w".repeat(1_000_000), known), None);
        assert_eq!(nearest("bind", []), None);
    }
}

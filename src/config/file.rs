//! Reads the lines of a YAML configuration file. The only place that knows the YAML library.
//!
//! A file is one flat mapping of keys to single values. Values stay text, exactly as written, so that a file,
//! the environment and a flag are understood by the same code (`yes` is no boolean in any of them).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, MergeKeyPolicy, MessageFormatter, Spanned,
};

/// One `key: value` of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileEntry {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) key: String,
    /// Empty also when nothing was written, or `null`, or `~`: no key tells these apart.
    pub(super) value: String,
}

/// What is wrong with a file's YAML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadYaml {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) problem: String,
}

/// The entries of a file in their order, with any keys. A file of nothing but comments has none.
pub(super) fn read(text: &str) -> Result<Vec<FileEntry>, BadYaml> {
    let options = serde_saphyr::options! {
        // The caller refuses both with a better message: it can name the line of the first one.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        with_snippet: false,
    };
    let mut entries = Entries::default();
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        (&mut entries).deserialize(deserializer)
    });
    match read {
        Ok(()) => Ok(entries.whole),
        Err(error) => Err(explain(&error, entries.current)),
    }
}

fn explain(error: &Error, current: Option<(u64, String)>) -> BadYaml {
    let error = error.without_snippet();
    let line = error.location().map_or(1, |location| location.line());
    match (error, current) {
        (Error::Unexpected { .. }, Some((line, key))) => BadYaml {
            line,
            problem: format!(
                "{key}: one value is wanted, not a list or a mapping (quote text that starts with [ or {{)"
            ),
        },
        (Error::Unexpected { .. }, None) => {
            BadYaml { line, problem: "not a mapping: each line has to be `key: value`".to_owned() }
        }
        (Error::MultipleDocuments { .. }, _) => {
            BadYaml { line, problem: "a second document starts here; a configuration is one".to_owned() }
        }
        _ => BadYaml {
            line,
            problem: format!("not YAML: {}", DefaultMessageFormatter.format_message(error).trim_end()),
        },
    }
}

/// What has been read so far; outlives the reading, so that an error can name the key it happened in.
#[derive(Default)]
struct Entries {
    whole: Vec<FileEntry>,
    /// The key whose value is being read.
    current: Option<(u64, String)>,
}

impl<'de> DeserializeSeed<'de> for &mut Entries {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for &mut Entries {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines of `key: value`")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = key.referenced.line();
            self.current = Some((line, key.value.clone()));
            let value = map.next_value::<Option<String>>()?.unwrap_or_default();
            self.current = None;
            self.whole.push(FileEntry { line, key: key.value, value });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(u64, String, String)> {
        read(text).unwrap().into_iter().map(|entry| (entry.line, entry.key, entry.value)).collect()
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let text =
            "# a comment\na: 0x10\nb: yes # the rest is a comment\nc: 1.10\n\nd: \"{x}/y\"\ne: ::1\nf: 007\n";
        let expected = [
            (2, "a", "0x10"),
            (3, "b", "yes"),
            (4, "c", "1.10"),
            (6, "d", "{x}/y"),
            (7, "e", "::1"),
            (8, "f", "007"),
        ]
        .map(|(line, key, value)| (line, key.to_owned(), value.to_owned()));
        assert_eq!(values(text), expected);
    }

    #[test]
    fn a_file_without_entries_is_fine() {
        for text in ["", "\n", "# nothing here\n", "{}", "---\n", "\u{feff}"] {
            assert_eq!(values(text), [], "{text:?}");
        }
    }

    #[test]
    fn a_key_without_a_value_has_the_empty_one() {
        for (_, key, value) in values("a:\nb: ~\nc: null\nd: ''\n") {
            assert_eq!(value, "", "{key}");
        }
    }

    #[test]
    fn repeated_and_strange_keys_are_left_to_the_caller() {
        assert_eq!(values("a: 1\na: 2\n<<: 3\n1: 4\n").len(), 4);
    }

    #[test]
    fn what_is_not_one_flat_mapping_is_refused_with_its_line() {
        for (text, line, problem) in [
            ("- a\n", 1, "not a mapping: each line has to be `key: value`"),
            ("hello\n", 1, "not a mapping"),
            ("a: 1\nb: [1, 2]\n", 2, "b: one value is wanted, not a list or a mapping"),
            ("a: 1\nb:\n  c: 2\n", 2, "b: one value is wanted"),
            ("a: {x}/wal\n", 1, "quote text"),
            ("a: 1\n? [b]\n: 2\n", 2, "each line has to be `key: value`"),
            ("a: 1\n---\nb: 2\n", 3, "a second document starts here"),
            ("a: 1\n b: 2\n", 2, "not YAML: mapping values are not allowed in this context"),
            ("a: 1\nb\n", 2, "not YAML"),
            ("a: \"x\nb: 2\n", 2, "not YAML"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error:?}");
            assert!(error.problem.contains(problem), "{text:?}: {error:?}");
        }
    }
}

//! What producers and workers may send, replayed from the corpora of the fuzz targets `jobs` and `commands`, and some
//! thousand changes of them.
//!
//! The changes follow from a seed, which is printed on failure; `BEAVER_FUZZ_SEED` sets another.

mod commands;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use beaver_actors::testing::fuzz::mutate;

const CHANGES: u64 = 6_000;
type Target = (&'static str, fn(&[u8]));
/// Each with the name of its corpus.
const TARGETS: [Target; 2] = [("jobs", target::jobs), ("commands", commands::commands)];

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/tests/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Says what was run when a panic goes by.
struct Shown(&'static str, String);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}: {}", self.0, self.1);
        }
    }
}

/// Row 50.
#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (name, target) in TARGETS {
        let (mut files, mut bytes) = (0, 0);
        for (path, input) in corpus(name) {
            let _shown = Shown(name, path.display().to_string());
            target(&input);
            (files, bytes) = (files + 1, bytes + input.len());
        }
        assert!(files < 100 && bytes < 200_000, "{name}: {files} files, {bytes} bytes: minimise the corpus");
    }
}

/// Row 50.
#[test]
fn changed_texts_are_read_or_refused() {
    let seed = std::env::var("BEAVER_FUZZ_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        for number in 0..CHANGES {
            let mut dice = fastrand::Rng::with_seed(seed ^ number << 32);
            let (input, other) =
                (&corpus[dice.usize(..corpus.len())].1, &corpus[dice.usize(..corpus.len())].1);
            // Most random bytes are not text at all; those that are not become a sign of their own.
            let input = String::from_utf8_lossy(&mutate(input, other, &mut dice)).into_owned();
            let text = format!("BEAVER_FUZZ_SEED={seed}, change {number}: {}", input.escape_debug());
            let _shown = Shown(name, text);
            target(input.as_bytes());
        }
    }
}

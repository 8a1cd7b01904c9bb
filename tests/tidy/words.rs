//! Words that comments do not use: names that something had before, and phrases that a reader stops at.
//!
//! Only comments and docs are looked at. A phrase is found across the lines of one comment, but not across the end of
//! a sentence. What is right in some place after all is said in other words there.

use crate::tree::{Tree, Violations, none, one, sources, tree};

/// Where comments are looked at.
const CHECKED: [&str; 5] = ["actors/src/", "actors/tests/", "benches/", "src/", "tests/"];

/// The list itself.
const SELF: &str = "tests/tidy/words.rs";

/// A phrase, what to write instead, and where it still stands: paths that begin like this are left alone.
type Word = (&'static str, &'static str, &'static [&'static str]);

const EVERYWHERE: &[&str] = &[];
/// Take a path away from here once the phrase is gone from it.
const SRC: &[&str] = &["src/"];

const WORDS: [Word; 40] = [
    // Names that were replaced.
    ("lsn", "`Seq`, or \"position\"", EVERYWHERE),
    ("seam", "\"interface\", or `Environment` for all of them", EVERYWHERE),
    ("seams", "`Environment`", EVERYWHERE),
    ("ticket", "\"permit\"", EVERYWHERE),
    ("tickets", "\"permits\"", EVERYWHERE),
    ("chores", "\"maintenance\"", EVERYWHERE),
    ("homes", "\"threads\": `engine/threads.rs`", EVERYWHERE),
    ("stir", "`ReadyQueues`: a queue is marked as ready", EVERYWHERE),
    ("stirred", "`ReadyQueues`: a queue is marked as ready", EVERYWHERE),
    ("ship", "\"group commit\"", EVERYWHERE),
    ("shipped", "\"group commit\"", EVERYWHERE),
    ("shipping", "\"group commit\"", EVERYWHERE),
    ("look_for_more", "`wait_for_more`", EVERYWHERE),
    ("sweep", "\"bulk operation\"", EVERYWHERE),
    ("sweeps", "\"bulk operations\"", EVERYWHERE),
    ("queue_full", "`too_many_jobs`: a queue is one named line, not the server", EVERYWHERE),
    ("QueueFull", "`TooManyJobs`: a queue is one named line, not the server", EVERYWHERE),
    ("aside", "\"moved to quarantine\", \"quarantined\", or \"reserved\"", EVERYWHERE),
    ("set_aside", "`to_quarantine`", EVERYWHERE),
    ("kept.rs", "`jobs/table/packed_job.rs`", EVERYWHERE),
    ("heads.rs", "`jobs/table/lane_heap.rs`", EVERYWHERE),
    ("held.rs", "`engine/log/thread.rs`", EVERYWHERE),
    ("guard.rs", "`engine/liveness.rs`", EVERYWHERE),
    ("urgent.rs", "`storage/sched.rs`", EVERYWHERE),
    ("retire.rs", "`storage/reclaim.rs`", EVERYWHERE),
    ("spare.rs", "`wal/next_segment.rs`", EVERYWHERE),
    // Plain English.
    ("so many", "\"this many\", or the name of the number", EVERYWHERE),
    ("so much", "\"this much\", or the unit and what is counted", EVERYWHERE),
    ("so long", "\"this long\", or what the time is for", EVERYWHERE),
    ("so often", "\"this often\", or how many times", EVERYWHERE),
    ("whoever", "the caller, the worker, the process: name it", EVERYWHERE),
    ("whatever", "\"any\", \"even if\", or the thing itself", EVERYWHERE),
    ("whichever", "\"any\", or \"the one that\"", EVERYWHERE),
    ("wherever", "\"in any place\", or \"where\"", EVERYWHERE),
    ("as far as", "\"up to\", \"where\", or what the limit is", EVERYWHERE),
    ("be it", "\"even if\"", EVERYWHERE),
    ("one's own", "\"its own\", or whose", EVERYWHERE),
    // Measurements: they rot with the next machine.
    ("in one run", "the decision, and a link to its page in docs/decisions", &["benches/"]),
    ("cargo bench", "the decision, and a link to its page in docs/decisions", &["src/", "benches/"]),
    ("EPYC", "the decision, and a link to its page in docs/decisions", SRC),
];

#[test]
fn comments_use_no_words_that_were_replaced() {
    none(words(&tree()));

    let of = |path: &str, text: &str| words(&one(path, text));
    for (phrase, ..) in WORDS {
        let found = of("actors/src/a.rs", &format!("//! A.\n\n/// It is {phrase}, indeed.\nfn a() {{}}\n"));
        assert_eq!(found.len(), 1, "{phrase}: {found:?}");
    }
    let found = of("actors/src/a.rs", "//! A.\nlet a = 1; // The Lsn.\n");
    assert_eq!(found, ["actors/src/a.rs:2: lsn: write `Seq`, or \"position\""]);
    for text in ["//! A.\n/// It is so\n/// many.\n", "//! It is so\n//! many.\n"] {
        let found = of("actors/src/a.rs", text);
        assert_eq!(found.len(), 1, "a phrase goes on in the next line: {found:?}");
    }

    for text in [
        "/// It is so. Many are.\n",
        "/// It is so\nfn a() {}\n/// many\n",
        "/// Friendship, `lsn_of` and <https://a.b/c>.\n",
        "let url = \"http://lsn\";\nlet lsn = 1;\n",
    ] {
        assert_eq!(of("actors/src/a.rs", text), Violations::new(), "{text}");
    }
    assert_eq!(of("docs/a.rs", "/// The Lsn.\n"), Violations::new(), "not looked at");
    assert_eq!(of("src/a.rs", "/// Cargo bench.\n"), Violations::new(), "not yet");
    for path in ["src/a.rs", "tests/a.rs", "actors/tests/a.rs", "benches/a.rs"] {
        assert_eq!(of(path, "/// The Lsn.\n").len(), 1, "{path}");
    }
}

fn words(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    let checked =
        sources(tree).filter(|(path, _)| *path != SELF && CHECKED.iter().any(|dir| path.starts_with(dir)));
    for (path, text) in checked {
        let said = commented(text);
        for (phrase, instead, not_yet) in WORDS {
            if not_yet.iter().any(|start| path.starts_with(start)) {
                continue;
            }
            let phrase_words: Vec<String> = split(phrase).collect();
            let stands = said.windows(phrase_words.len()).filter(|some| {
                let words = some.iter().map(|(_, word)| word);
                words.eq(phrase_words.iter())
            });
            found.extend(stands.map(|some| format!("{path}:{}: {phrase}: write {instead}", some[0].0)));
        }
    }
    found
}

/// The words of all comments, in small letters, each with its line; an empty one where a sentence or a comment ends.
fn commented(text: &str) -> Vec<(usize, String)> {
    let mut said = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = comment_of(line) else {
            said.push((number, String::new()));
            continue;
        };
        for piece in comment.split_whitespace() {
            said.extend(split(piece).map(|word| (number, word)));
            if piece.ends_with(['.', ':', ';', '?', '!', ')']) {
                said.push((number, String::new()));
            }
        }
    }
    said
}

fn comment_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let comment = line.strip_prefix("//").or_else(|| Some(line.split_once(" // ")?.1))?;
    // Of `//!`, nothing is the end of a sentence.
    Some(comment.trim_start_matches(['/', '!']))
}

fn split(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase)
}

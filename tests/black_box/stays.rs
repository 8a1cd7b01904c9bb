//! How a program can try to stay, times how its job can end: a table of which nothing may be left.
//!
//! `cargo test` tries one cell of each row and each column; with `BEAVER_TORTURE` all of them are tried.

use std::fs;
use std::thread;

use beaver_actors::testing::times;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Place, wait};

/// Shell that starts `sleep $WORD` in a way that an ordinary end of its parent does not end.
const WAYS: [(&str, &str); 9] = [
    ("a child in the background", "sleep $WORD >/dev/null 2>&1 &"),
    ("another process group, by timeout", "timeout 300 sleep $WORD &"),
    ("another process group, by job control", "set -m; sleep $WORD & set +m"),
    ("another session", "setsid sleep $WORD >/dev/null 2>&1 &"),
    ("a daemon's double fork", "(setsid sh -c 'sleep $WORD >/dev/null 2>&1 &' &)"),
    ("another session without an environment", "env -i /usr/bin/setsid sleep $WORD >/dev/null 2>&1 &"),
    ("a holder of the output and the input", "exec 3<&0; setsid sleep $WORD <&3 &"),
    ("one that ignores SIGTERM", "setsid sh -c \"trap '' TERM; exec sleep $WORD\" &"),
    ("an orphan", "(sleep $WORD >/dev/null 2>&1 &)"),
];

/// How the job ends.
#[derive(Clone, Copy, Debug)]
enum End {
    ByItself,
    Timeout,
    Cancel,
    /// SIGTERM, and the time for running jobs is over.
    Drain,
    /// A second signal.
    AtOnce,
    /// SIGKILL for the server.
    Kill,
}

const ENDS: [End; 6] = [End::ByItself, End::Timeout, End::Cancel, End::Drain, End::AtOnce, End::Kill];

/// Row 77.
#[test]
fn in_all_ways_to_stay_nothing_is_left_of_a_program_when_its_job_has_ended() {
    let all = (0..WAYS.len()).flat_map(|way| (0..ENDS.len()).map(move |end| (way, end)));
    let cells: Vec<_> = all.filter(|(way, end)| times() > 1 || way % ENDS.len() == *end).collect();
    // Servers of their own, so a few at a time.
    for cells in cells.chunks(3) {
        thread::scope(|scope| {
            for (way, end) in cells {
                scope.spawn(|| try_cell(*way, *end));
            }
        });
    }
}

/// One cell. The word is an argument that no other process of this machine has.
fn try_cell(way: usize, end: usize) {
    let word = (80_000_000 + std::process::id() as usize * 100 + way * ENDS.len() + end).to_string();
    let ((told, script), end) = (WAYS[way], ENDS[end]);
    let cell = format!("{told}, {end:?}");
    let place = Place::new();
    // With time for a drain, only the second signal ends a server whose program does not end.
    let drain = if matches!(end, End::AtOnce) { "5m" } else { "300ms" };
    let flags = ["--workers", "2", "--allow-exec", "--stop-grace", "300ms", "--drain-timeout", drain];
    let mut server = place.start(&flags);
    // The program goes on when it is told to, so that what it has started is there for sure.
    let go = place.path("go");
    let tail = match end {
        End::ByItself => format!("until test -e '{}'; do sleep 0.05; done", go.display()),
        _ => "while :; do sleep 0.05; done".to_owned(),
    };
    server.enqueue([json!({
        "id": "stays", "kind": "exec", "max_retry": 0, "timeout": if matches!(end, End::Timeout) { "2s" } else { "5m" },
        "payload": {
            "command": ["bash", "-c", format!("{script}\n{tail}")],
            "env": {"WORD": word, "PATH": "/usr/local/bin:/usr/bin:/bin"},
            "stdin": "x",
        },
    })]);
    wait(&format!("{cell}: the program"), None, || (!running(&word).is_empty()).then_some(()));
    match end {
        End::ByItself => {
            fs::write(go, "").unwrap();
            server.until_job_is("stays", "completed");
        }
        End::Timeout => drop(server.until_job_is("stays", "dead")),
        End::Cancel => {
            server.beaver(&place, &["cancel", "stays"]).exits(0);
            server.until("a free worker", |status| status["workers"]["idle"] == 2);
        }
        End::Drain => {
            server.terminate();
        }
        End::AtOnce => {
            let ended = wait(&format!("{cell}: the server's end"), None, || {
                // Two signals at the same time are one: the first that comes late enough counts.
                server.signal(Signal::TERM);
                server.has_ended()
            });
            assert_eq!(ended.code(), Some(128 + 15), "{cell}");
            // Nobody is there who could wait for it; a server that starts would.
            wait(&format!("{cell}: the end of all"), None, || running(&word).is_empty().then_some(()));
        }
        End::Kill => {
            server.kill9();
            // Its last attempt was interrupted, so it does not run again.
            server = place.start(&flags);
            server.until_job_is("stays", "dead");
        }
    }
    assert_eq!(running(&word), Vec::<u32>::new(), "{cell}");
}

/// The processes, zombies apart, that have this word as an argument of its own.
fn running(word: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_word = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    pids.filter(has_word).collect()
}

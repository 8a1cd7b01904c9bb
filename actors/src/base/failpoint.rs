//! Places where a test can make a real process fail: compiled in by the feature `testing`, and nothing without it.
//!
//! `BEAVER_FAILPOINTS="wal.sync=eio@3;manager.record=panic@100"` makes the third sync fail and the hundredth record
//! panic. Actions: `eio`, `enospc`, `eagain`, `emfile`, `panic`, `abort`, `sleep:MS`. Each happens once, or from then on
//! each time: `wal.write=enospc@10+`.
//!
//! | point | is passed |
//! |---|---|
//! | `wal.sync` | before each fdatasync of the log |
//! | `wal.write` | before each write of a batch |
//! | `wal.flush` | when WalActor begins to write what has gathered |
//! | `manager.record` | before an event is applied |
//! | `snapshot.take` | when SnapshotActor begins a snapshot |
//! | `disk.open` | before a file or directory of the engine is opened |
//! | `keeper.start` | before a process is started that runs the programs of jobs |
//! | `thread.start` | before a thread is started beside those that are there from the start |
//! | `supervisor.exit` | when the supervisor hears that a child has ended |

use std::io;

/// Passes a point: does what the environment asks for there.
///
/// # Errors
/// The error that was asked for.
#[cfg(not(feature = "testing"))]
#[inline]
pub fn pass(_: &'static str) -> io::Result<()> {
    Ok(())
}

/// Passes a point: does what the environment asks for there.
///
/// # Errors
/// The error that was asked for.
///
/// # Panics
/// If that was asked for, or the environment's text makes no sense.
#[cfg(feature = "testing")]
pub fn pass(name: &'static str) -> io::Result<()> {
    for point in armed::points().iter().filter(|point| point.name == name) {
        if point.is_due() {
            return point.action.happen(name);
        }
    }
    Ok(())
}

#[cfg(feature = "testing")]
mod armed {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::time::Duration;

    pub struct Point {
        pub name: String,
        pub action: Action,
        /// Passes left until it happens.
        left: AtomicU64,
        /// Whether it happens again at each pass after that.
        repeats: bool,
    }

    pub enum Action {
        Error(i32),
        Panic,
        Abort,
        Sleep(Duration),
    }

    /// What the environment of this process asks for; read once.
    pub fn points() -> &'static [Point] {
        static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
        POINTS.get_or_init(|| parse(&std::env::var("BEAVER_FAILPOINTS").unwrap_or_default()))
    }

    fn parse(text: &str) -> Vec<Point> {
        let points = text.split(';').filter(|point| !point.is_empty());
        points
            .map(|point| {
                let parts =
                    point.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once('@')?)));
                let (name, (action, nth)) = parts.unwrap_or_else(|| panic!("not NAME=ACTION@NTH: {point:?}"));
                let (nth, repeats) = nth.strip_suffix('+').map_or((nth, false), |nth| (nth, true));
                let left = AtomicU64::new(nth.parse().unwrap_or_else(|_| panic!("not a number: {nth:?}")));
                Point { name: name.to_owned(), action: Action::parse(action), left, repeats }
            })
            .collect()
    }

    impl Point {
        pub fn is_due(&self) -> bool {
            let count_down = |left: u64| left.checked_sub(1);
            match self.left.fetch_update(SeqCst, SeqCst, count_down) {
                Ok(left) => left == 1,
                Err(_) => self.repeats,
            }
        }
    }

    impl Action {
        fn parse(text: &str) -> Action {
            match text.split_once(':') {
                Some(("sleep", ms)) => {
                    Action::Sleep(Duration::from_millis(ms.parse().expect("milliseconds")))
                }
                _ => match text {
                    "eio" => Action::Error(5),
                    "enospc" => Action::Error(28),
                    "eagain" => Action::Error(11),
                    "emfile" => Action::Error(24),
                    "panic" => Action::Panic,
                    "abort" => Action::Abort,
                    _ => panic!("unknown action {text:?}"),
                },
            }
        }

        pub fn happen(&self, name: &str) -> io::Result<()> {
            tracing::warn!(failpoint = name, "failing here, as the environment asks");
            match self {
                Action::Error(number) => Err(io::Error::from_raw_os_error(*number)),
                Action::Panic => panic!("failpoint {name}"),
                Action::Abort => std::process::abort(),
                Action::Sleep(time) => {
                    std::thread::sleep(*time);
                    Ok(())
                }
            }
        }
    }
}

//! The log's own thread, for what keeps the disk busy for long: whoever asks for it goes on meanwhile.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::storage::sched::make_urgent_if_possible;

/// A thread that does one thing after the other. It ends when this is dropped and all is done.
#[derive(Debug)]
pub struct LogThread(mpsc::Sender<Work>);

type Work = Box<dyn FnOnce() + Send>;

impl LogThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start() -> io::Result<LogThread> {
        let (sender, work) = mpsc::channel::<Work>();
        thread::Builder::new().name("beaver-log".to_owned()).spawn(move || {
            make_urgent_if_possible();
            work.into_iter().for_each(|work| work());
        })?;
        Ok(LogThread(sender))
    }

    /// Has something done there. What came of it is dropped there if nobody waits for it any more.
    ///
    /// The other end is closed without an answer if it panicked: then this thread has ended.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, done) = oneshot::channel();
        // Dropped, and so closed, when the thread has ended.
        let _ = self.0.send(Box::new(move || drop(sender.send(work()))));
        done
    }
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use super::*;

    #[test]
    fn things_are_done_elsewhere_one_after_the_other() {
        let thread = LogThread::start().unwrap();
        let (first, second) =
            (thread.run(|| current().id()), thread.run(|| current().name().map(str::to_owned)));
        assert_ne!(first.blocking_recv().unwrap(), current().id());
        assert_eq!(second.blocking_recv().unwrap().as_deref(), Some("beaver-log"));
    }

    /// The log's writer and its lock end where they are used.
    #[test]
    fn what_nobody_waits_for_any_more_is_dropped_where_it_was_done() {
        struct Dropped(mpsc::Sender<Option<String>>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.send(current().name().map(str::to_owned)).unwrap();
            }
        }
        let (sender, dropped) = mpsc::channel();
        let (forgotten, may_end) = mpsc::channel();
        let thread = LogThread::start().unwrap();
        drop(thread.run(move || {
            may_end.recv().unwrap();
            Dropped(sender)
        }));
        drop(thread);
        forgotten.send(()).unwrap();
        assert_eq!(dropped.recv().unwrap().as_deref(), Some("beaver-log"));
    }

    #[test]
    fn after_a_panic_nothing_is_answered() {
        let thread = LogThread::start().unwrap();
        let first = thread.run(|| panic!("for the test"));
        assert!(first.blocking_recv().is_err());
        assert!(thread.run(|| ()).blocking_recv().is_err());
    }
}

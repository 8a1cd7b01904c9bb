//! The log's own thread, for what keeps the disk busy for long, and what is lent to it. The thread that asks for such
//! work goes on meanwhile.

use std::io;
use std::ops::{Deref, DerefMut};
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

/// What was to be done on the log's thread panicked there.
#[derive(Debug)]
pub(super) struct Panicked;

/// Has `work` done on the thread; here and now if there is none.
pub(super) async fn at_length<T: Send + 'static>(
    thread: Option<&LogThread>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    match thread {
        Some(thread) => thread.run(work).await.map_err(|_| Panicked),
        None => Ok(work()),
    }
}

/// Something that is used here and lent to the log's thread for long work: only one of them has it at a time.
///
/// If nobody waits for its return any more, it ends where the work was done.
pub(super) struct Lendable<T>(Option<T>);

impl<T: Send + 'static> Lendable<T> {
    pub fn new(value: T) -> Lendable<T> {
        Lendable(Some(value))
    }

    /// Has `work` done with it on the thread; here and now if there is none.
    ///
    /// # Errors
    /// The work panicked. What was lent is gone: nothing else may be done with this.
    pub async fn lend<R: Send + 'static>(
        &mut self,
        thread: Option<&LogThread>,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        let mut value = self.0.take().expect(IS_HERE);
        let (value, done) = at_length(thread, move || {
            let done = work(&mut value);
            (value, done)
        })
        .await?;
        self.0 = Some(value);
        Ok(done)
    }

    pub fn into_inner(self) -> T {
        self.0.expect(IS_HERE)
    }
}

/// While it is lent, [`Lendable::lend`] borrows its place.
const IS_HERE: &str = "nobody asks for what a panic has taken";

impl<T> Deref for Lendable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(IS_HERE)
    }
}

impl<T> DerefMut for Lendable<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(IS_HERE)
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

    #[tokio::test]
    async fn what_was_lent_comes_back_changed() {
        let mut value = Lendable::new(vec![current().id()]);
        for thread in [None, Some(LogThread::start().unwrap())] {
            let lent = value.lend(thread.as_ref(), |ids| {
                ids.push(current().id());
                ids.len()
            });
            assert_eq!(lent.await.unwrap(), value.len());
        }
        let ids = value.into_inner();
        assert_eq!(ids[0], ids[1], "without a thread, the work is done here");
        assert_ne!(ids[0], ids[2]);
    }

    #[tokio::test]
    async fn what_was_lent_is_gone_after_a_panic() {
        let (value, thread) = (std::sync::Arc::new(()), LogThread::start().unwrap());
        let mut lent = Lendable::new(value.clone());
        assert!(lent.lend(Some(&thread), |_| panic!("for the test")).await.is_err());
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}

//! Handshakes compute on threads of their own, a few at a time.
//!
//! A signature or a password's hash takes a millisecond or more, and anybody who reaches the port can ask for it before
//! anything is known about them. So it is done where nobody else waits, by at most half of the machine's processors at a
//! time: a flood of handshakes leaves the others to those who were let in. Who waits for it is bounded by the limits on
//! connections and on the time of a handshake.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The way to these threads. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeGate(Arc<Semaphore>);

impl HandshakeGate {
    pub(crate) fn new() -> HandshakeGate {
        let processors = available_parallelism().map_or(1, usize::from);
        HandshakeGate::of((processors / 2).max(1))
    }

    fn of(at_once: usize) -> HandshakeGate {
        HandshakeGate(Arc::new(Semaphore::new(at_once)))
    }

    /// Computes something when it is its turn: first come, first served. Giving up the wait gives up the turn.
    pub(crate) async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = Arc::clone(&self.0).acquire_owned().await.expect("it is never closed");
        let computed = spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        match computed.await {
            Ok(result) => result,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::thread::current;

    use super::*;

    #[tokio::test]
    async fn no_more_compute_at_a_time_than_may_and_each_in_its_turn() {
        let gate = HandshakeGate::of(1);
        let (free, blocked) = channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = tokio::spawn({
            let (gate, order) = (gate.clone(), order.clone());
            async move {
                gate.compute(move || {
                    blocked.recv().unwrap();
                    order.lock().unwrap().push(1);
                })
                .await;
            }
        });
        // Until the first one has its turn.
        while gate.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = gate.compute({
            let order = order.clone();
            move || order.lock().unwrap().push(2)
        });
        free.send(()).unwrap();
        tokio::join!(second, async { first.await.unwrap() });
        assert_eq!(*order.lock().unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn it_is_another_thread_that_computes() {
        let here = current().id();
        assert_ne!(HandshakeGate::new().compute(|| current().id()).await, here);
    }
}

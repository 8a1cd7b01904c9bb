//! Memory that clients can make the server take, each part with its limit: what comes in (bodies and long lines), and what
//! goes out (answers that are not read yet).
//!
//! Who asks for much and reads nothing holds its part until it is given up, and no more than that: others wait for theirs, and
//! are told so when their time is over.

use std::sync::Arc;

use beaver_actors::base::byte_budget::ByteBudget;
use beaver_actors::base::metrics::{Metrics, Usage};
use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::Settings;

/// Answers up to this size are not counted: every connection may have one.
pub(crate) const UNCOUNTED_BYTES: usize = 16 << 10;
/// One part in this many of what goes out is for replies of the work protocol: those who wait for room over HTTP must not be in
/// the way of workers, who cannot wait.
const REPLIES_PART: usize = 4;
/// Answers are counted in whole pieces of this size.
const KIB: usize = 1 << 10;

/// The parts. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    bodies: ByteBudget,
    lines: ByteBudget,
    answers: Arc<Semaphore>,
    answers_kib: u32,
    replies: ByteBudget,
}

/// A part of the memory for answers. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct AnswerShare {
    permits: OwnedSemaphorePermit,
    memory: Memory,
}

/// How much of a part is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MemoryPart {
    /// What it is for.
    pub(crate) part: &'static str,
    /// Bytes that are taken.
    pub(crate) bytes: u64,
    /// Bytes that there are.
    pub(crate) limit_bytes: u64,
}

impl Memory {
    /// As it is configured.
    #[must_use]
    pub fn of(settings: &Settings) -> Memory {
        let bodies = settings.http.bodies_bytes_max.max(settings.http.body_bytes_max);
        // Room for a few of the longest lines, and for thousands of ordinary ones.
        let lines = settings.fwp.limits.line_bytes_max.saturating_mul(16);
        Memory::new(bodies, lines, settings.http.answer_bytes_max)
    }

    /// For requests of this very process, which need no protection from themselves.
    pub(crate) fn unlimited() -> Memory {
        Memory::new(usize::MAX, usize::MAX, usize::MAX)
    }

    fn new(bodies: usize, lines: usize, outgoing: usize) -> Memory {
        let replies = outgoing / REPLIES_PART;
        let answers = outgoing - replies;
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let answers_kib = (answers / KIB).clamp(1, most);
        Memory(Arc::new(Parts {
            bodies: ByteBudget::new(bodies),
            lines: ByteBudget::new(lines),
            answers: Arc::new(Semaphore::new(answers_kib)),
            answers_kib: answers_kib as u32,
            replies: ByteBudget::new(replies),
        }))
    }

    /// For bodies that are being read or parsed.
    pub(crate) fn bodies(&self) -> &ByteBudget {
        &self.0.bodies
    }

    /// For long lines of the work protocol that are being read.
    pub(crate) fn lines(&self) -> &ByteBudget {
        &self.0.lines
    }

    /// Room for an answer of this size, when there is some; none if there is none in time. One that is larger than all there is
    /// has all of it.
    pub(crate) async fn reserve(&self, bytes: usize, until: Instant) -> Option<AnswerShare> {
        let permits = self.0.answers.clone().acquire_many_owned(self.kib(bytes));
        let permits = timeout_at(until, permits).await.ok()?.ok()?;
        Some(AnswerShare { permits, memory: self.clone() })
    }

    /// For replies of the work protocol that are not read yet.
    pub(crate) fn replies(&self) -> &ByteBudget {
        &self.0.replies
    }

    fn kib(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).min(self.0.answers_kib)
    }

    /// Each part, with its limit; also what the engine counts: requests that wait for an answer, and texts of jobs.
    pub(crate) fn parts(&self, metrics: &Metrics) -> Vec<MemoryPart> {
        let part = |part, bytes: usize, limit: usize| MemoryPart {
            part,
            bytes: bytes as u64,
            limit_bytes: limit as u64,
        };
        let budget = |name, budget: &ByteBudget| {
            part(name, budget.bytes_max() - budget.bytes_free(), budget.bytes_max())
        };
        let Usage { used, limit } = &metrics.texts;
        let texts = MemoryPart { part: "texts", bytes: used.get(), limit_bytes: limit.get() };
        let requests = metrics.requests_memory.get().map(|requests| budget("requests", requests));
        let Parts { bodies, lines, answers, answers_kib, replies } = &*self.0;
        let all = *answers_kib as usize;
        let connections = [
            budget("bodies", bodies),
            budget("long_lines", lines),
            part("answers", (all - answers.available_permits().min(all)) * KIB, all * KIB),
            budget("replies", replies),
        ];
        connections.into_iter().chain(requests).chain([texts]).collect()
    }
}

impl AnswerShare {
    /// Makes it as large as this, larger or smaller; false, and nothing changes, if there is not that much.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        let (held, needed) = (self.permits.num_permits(), self.memory.kib(bytes) as usize);
        let Some(more) = needed.checked_sub(held) else {
            drop(self.permits.split(held - needed));
            return true;
        };
        let more = self.memory.0.answers.clone().try_acquire_many_owned(more as u32);
        more.map(|more| self.permits.merge(more)).is_ok()
    }

    /// The same bytes; the share is given back when nobody holds any of them.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        struct HeldAnswer(Bytes, #[expect(dead_code, reason = "is dropped with the bytes")] AnswerShare);
        impl AsRef<[u8]> for HeldAnswer {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(HeldAnswer(bytes, self))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn patience(time: Duration) -> Instant {
        Instant::now() + time
    }

    fn answers(memory: &Memory) -> u64 {
        let parts = memory.parts(&Metrics::default());
        parts.iter().find(|part| part.part == "answers").unwrap().bytes
    }

    /// Row 68.
    #[tokio::test]
    async fn an_answer_holds_its_share_until_its_last_byte_is_gone_and_others_wait_for_it() {
        let memory = Memory::new(0, 0, 136_533);
        let mut share = memory.reserve(80 * KIB, patience(Duration::ZERO)).await.unwrap();
        assert!(memory.reserve(30 * KIB, patience(Duration::from_millis(1))).await.is_none());
        let other = memory.reserve(20 * KIB, patience(Duration::ZERO)).await;
        assert!(other.is_some() && !share.resize(90 * KIB) && share.resize(60 * KIB));
        drop(other);
        let mut bytes = share.hold(Bytes::from(vec![b'x'; 60 * KIB]));
        let last = bytes.split_off(60 * KIB - 1);
        drop(bytes);
        assert_eq!(answers(&memory), 60 * KIB as u64, "the last byte keeps all of it in memory");
        let waits = tokio::spawn({
            let memory = memory.clone();
            async move { memory.reserve(90 * KIB, patience(Duration::from_secs(60))).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(last);
        assert!(waits.await.unwrap());
        assert_eq!(answers(&memory), 0);
    }

    #[tokio::test]
    async fn one_that_is_larger_than_all_there_is_has_all_of_it() {
        let memory = Memory::new(0, 0, 136_533);
        let share = memory.reserve(usize::MAX, patience(Duration::ZERO)).await.unwrap();
        assert_eq!(answers(&memory), 100 * KIB as u64);
        assert!(memory.reserve(1, patience(Duration::ZERO)).await.is_none());
        drop(share);
        assert!(memory.reserve(1, patience(Duration::ZERO)).await.is_some());
    }
}

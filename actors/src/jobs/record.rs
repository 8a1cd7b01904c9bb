//! A job complete and by itself: by names instead of numbers, independent of any table. For tools and tests; a snapshot
//! is made of packed ones (`jobs/table/packed_job.rs`).

use crate::ids::{Attempt, JobId, Seq, Timestamp};
use crate::jobs::event::NewJob;
use crate::jobs::model::failure::{Failure, KeptFailure};
use crate::jobs::model::job::{EndedLease, JobState};
use crate::jobs::model::payload::{Content, Payload, PayloadRef};
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::{EventText, TextAt, TextPart, TextRef};

/// One job, complete and by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// As its producer gave it, or as it was generated.
    pub id: JobId,
    /// Number of the event that created it; never used twice.
    pub enqueued_seq: Seq,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What it has in common with others.
    pub profile: Profile,
    /// What it brings along.
    pub content: Content<PayloadRef>,
    /// What has become of it.
    pub life: Life,
}

/// What has become of a job so far: everything that events change, but for its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it stands, with what that means: until when, under which lease.
    pub state: JobState,
    /// How often it was started.
    pub attempt: Attempt,
    /// Number of the event by which it last joined the pending jobs: its place in line.
    pub line_seq: Seq,
    /// Its last failed attempts, oldest first.
    pub failures: Vec<KeptFailure>,
    /// How many attempts failed that count against `max_retry`.
    pub failed: u32,
    /// What its last attempt that had something to say left behind.
    pub result: Option<EventText<Payload>>,
    /// The last lease that has ended, while there may still be a word about it.
    pub last_lease: Option<EndedLease>,
    /// The job of the same name that follows when it has ended.
    pub successor: Option<Box<NewJob>>,
}

impl JobRecord {
    /// Fills in the texts that are on disk, where `read` finds them.
    ///
    /// # Errors
    /// The first error of `read`; the texts behind it are as they were.
    pub fn fill<E>(&mut self, mut read: impl FnMut(TextAt) -> Result<Option<Payload>, E>) -> Result<(), E> {
        let job = self.enqueued_seq;
        let mut fill = |text: &mut PayloadRef, at| {
            if text.here().is_none()
                && let Some(found) = read(at)?
            {
                *text = TextRef::Here(found);
            }
            Ok(())
        };
        fill(&mut self.content.payload, TextAt::payload(job))?;
        if let Some(custom) = &mut self.content.custom {
            fill(custom, TextAt::custom(job))?;
        }
        if let Some(result) = &mut self.life.result {
            let at = result.place(job, TextPart::Result);
            fill(&mut result.text, at)?;
        }
        for failure in self.life.failures.iter_mut().map(|attempt| &mut attempt.failure) {
            if failure.text.here().is_none()
                && let Some(found) = read(failure.place(job, TextPart::Failure))?
            {
                failure.text = TextRef::Here(Box::new(Failure::of_json(&found)));
            }
        }
        Ok(())
    }
}

//! What can happen. An event is a fact: everything that was decided is in it, so that applying it needs
//! no clock and no dice. How events look on disk is written in [`crate::wal::codec`].
//!
//! # What an event must say
//! An event names everything that it changes (a job, a queue), or gives a bound by which each job alone can tell whether
//! it is meant: `PROMOTE` a moment and a number, `FORGET` positions, `LEAD` and `SET_CLOCK` what was there before them. A log is folded into a
//! snapshot job by job, without the others in memory, and relies on this.
//!
//! # A new type of event
//! One variant of [`EventKind`], one row of the table below, one pair of functions in the codec, one arm in
//! `jobs/apply.rs` (or in the section that it changes), one in `decide`.

use crate::ids::{Attempt, Epoch, Holder, JobId, QueueName, Seq, Timeline, Timestamp, TokenRef};
use crate::jobs::model::failure::Failure;
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::{Content, Payload};
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::{Storable, TextPart};

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was decided. Never earlier than the event before, but for a `SET_CLOCK` that says so.
    pub at: Timestamp,
    /// The job that it changes, by the number of the event that created it; the job that gives way, for `ENQUEUE`. Zero if
    /// there is none.
    pub job_seq: Seq,
    /// What happened, with all that was decided about it.
    pub kind: EventKind,
}

/// A job as it was accepted, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// As its producer gave it, or as it was generated.
    pub id: JobId,
    /// What it has in common with others.
    pub profile: Profile,
    /// What it brings along.
    pub content: Content,
    /// Not before this moment, if that was in the future.
    pub run_at: Option<Timestamp>,
}

/// What happened: one variant for each [`EventType`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A job was accepted.
    Enqueue(Box<NewJob>),
    /// A worker was given the lease; the event's number and the term name it.
    Dispatch {
        /// The job that is in flight now.
        job: JobId,
        /// The worker that got it.
        holder: Holder,
        /// Which run this is.
        attempt: Attempt,
        /// When the lease expires.
        deadline: Timestamp,
    },
    /// An attempt succeeded, and the job is completed.
    Ack {
        /// The job that is completed now.
        job: JobId,
        /// The lease it was run under.
        token: TokenRef,
        /// What it leaves behind.
        result: Option<Payload>,
    },
    /// The attempt failed, took too long or was lost, and another will follow.
    Retry {
        /// The job that waits for its next attempt now.
        job: JobId,
        /// The lease it was run under.
        token: TokenRef,
        /// What went wrong, as it is kept with the job.
        failure: Box<Failure>,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
        /// When it may run again.
        retry_at: Timestamp,
    },
    /// The lease ended without a verdict on the job; it is pending again, at its old place in line.
    Requeue {
        /// The job that is pending again, or waits for `not_before`.
        job: JobId,
        /// The lease that ended.
        token: TokenRef,
        /// Why the lease ended, as it is kept with the job.
        failure: Box<Failure>,
        /// Whether the attempt counts against `max_retry`.
        counted: bool,
        /// Whether nothing that is said about the lease counts any more, not even that the job has succeeded.
        fenced: bool,
        /// It waits for this moment first, as a job between two attempts does.
        not_before: Option<Timestamp>,
    },
    /// The attempt failed and was the last.
    Exhaust {
        /// The job that has ended.
        job: JobId,
        /// The lease it was run under.
        token: TokenRef,
        /// What went wrong, as it is kept with the job.
        failure: Box<Failure>,
        /// What the attempt leaves behind all the same, such as its output.
        result: Option<Payload>,
        /// What becomes of the job.
        end: Exhausted,
    },
    /// The lease lasts longer.
    Extend {
        /// The job in flight.
        job: JobId,
        /// The lease that lasts longer.
        token: TokenRef,
        /// When it expires now.
        deadline: Timestamp,
    },
    /// A job that had not ended was withdrawn; if it was in flight, its lease ended.
    Cancel {
        /// The job that is cancelled now.
        job: JobId,
    },
    /// It waited, and was declared dead.
    Kill {
        /// The job that is dead now.
        job: JobId,
        /// Why, as it is kept with the job, if nobody asked for it: its payload is lost.
        failure: Option<Box<Failure>>,
    },
    /// It waited or was dead, and became pending.
    RunNow {
        /// The job that is pending now.
        job: JobId,
    },
    /// A job disappeared, from any state.
    Discard {
        /// The job that is no longer there.
        job: JobId,
    },
    /// It went to another queue; if it was pending, to its end.
    Move {
        /// The job, which keeps its state.
        job: JobId,
        /// The queue that it is in now.
        queue: QueueName,
    },
    /// It runs, and another job of its name was accepted, which follows when it has ended of itself.
    Follow {
        /// The job that runs.
        job: JobId,
        /// The one that follows.
        next: Box<NewJob>,
    },
    /// What the last attempt left behind became known after the job had ended, such as the output of a program that was
    /// told to stop.
    Output {
        /// The job, which has ended.
        job: JobId,
        /// The lease that the attempt ran under: the job's last.
        token: TokenRef,
        /// What it left behind.
        result: Payload,
    },
    /// A queue was paused, so that nobody gets a job of it, or resumed.
    SetPaused {
        /// The queue, which exists from then on if it is paused.
        queue: QueueName,
        /// Whether it is paused now.
        paused: bool,
    },
    /// This queue is not known any more, until it is used again; it is not paused either.
    RemoveQueue {
        /// The queue that is gone until it is used again.
        queue: QueueName,
    },
    /// Every waiting job up to this one, in the order of (moment, number), became pending.
    ///
    /// One event for all that are due: a mark instead of a list keeps it small, and still tells for each job
    /// alone whether it was meant.
    Promote {
        /// Moment that the last of them waited for.
        due: Timestamp,
        /// Number of the last of them.
        through: Seq,
    },
    /// Finished jobs were forgotten: of each status those that ended up to a position.
    Forget {
        /// Completed ones that ended at or before this.
        completed: Seq,
        /// Dead ones that ended at or before this.
        dead: Seq,
        /// Cancelled ones that ended at or before this.
        cancelled: Seq,
    },
    /// What the state sums up to: see [`crate::jobs::table::digest`]. Changes nothing.
    Digest {
        /// The sum over all jobs and sections, this event not yet applied.
        digest: u64,
    },
    /// The server was started: what it gives from here on is of this term.
    Term {
        /// The timeline and the term that begin.
        epoch: Epoch,
        /// The timeline that this one is a copy of; itself, if it is none.
        parent: Timeline,
        /// Up to where the two are the same; zero if there is no other.
        branched_at: Seq,
    },
    /// Time was lost that no worker had: no lease that was given before this ends before this moment and the shorter of its
    /// job's timeout and this grace. One event for all leases.
    Lead {
        /// The longest time that a lease gets.
        grace_ms: u64,
        /// What a lease of a local worker lasts beyond its job's timeout.
        margin_ms: u64,
    },
    /// The clock was wrong before, may be wrong now, or is known to be right after all. If it went back, no lease that was
    /// given before ends later than one that is given now, and no job waits longer for its next attempt than if the last one
    /// failed now.
    SetClock {
        /// What the clock did.
        step: ClockStep,
        /// While the time is doubted: the last moment that was believed.
        doubted_since: Option<Timestamp>,
        /// What a lease of a local worker lasts beyond its job's timeout.
        margin_ms: u64,
        /// The longest pause between attempts of a job that leaves it to the server.
        backoff_max_ms: u64,
    },
}

/// What the clock did before a `SET_CLOCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// It went on.
    None,
    /// It went back: the event before may be later than this one.
    Back {
        /// What it said before.
        from: Timestamp,
    },
    /// It took its last step back again: what happened in between, happened later than it seemed.
    Again,
}

/// What an event counts as in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsClass {
    /// An event that no metric counts.
    None,
    /// A job was given to a worker.
    Dispatched,
    /// An attempt succeeded.
    Completed,
    /// An attempt failed, and the job goes on.
    Failed,
    /// An attempt failed, and the job has ended by it.
    Exhausted,
    /// A job was declared dead.
    Killed,
    /// A job was withdrawn.
    Cancelled,
}

/// Declares the types of events with all that is to be known of each, and tells the type of an [`EventKind`].
macro_rules! event_types {
    ($($kind:ident = $number:literal $name:literal, $about:ident, counts $class:ident, makes_ready: $ready:literal;)+) => {
        /// The types of events, by their numbers on disk. 200 and up are for records without a position: votes and
        /// membership of a cluster, of which this version knows none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum EventType {
            $(#[doc = $name] $kind = $number,)+
        }

        impl EventType {
            /// By their numbers, ascending.
            pub const ALL: &'static [EventType] = &[$(EventType::$kind),+];

            /// The type with this number.
            #[must_use]
            #[inline]
            pub fn of_number(number: u8) -> Option<EventType> {
                match number {
                    $($number => Some(EventType::$kind),)+
                    _ => None,
                }
            }

            /// As people see it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(EventType::$kind => $name,)+ }
            }

            /// Whether such an event is about one job.
            #[must_use]
            #[inline]
            pub fn is_about_a_job(self) -> bool {
                match self { $(EventType::$kind => about!($about),)+ }
            }

            /// What it counts as.
            #[must_use]
            #[inline]
            pub fn metrics_class(self) -> MetricsClass {
                match self { $(EventType::$kind => MetricsClass::$class,)+ }
            }

            /// Whether there may be jobs for workers after it that were not there before; `ENQUEUE` says so by itself.
            #[must_use]
            #[inline]
            pub fn may_make_ready(self) -> bool {
                match self { $(EventType::$kind => $ready,)+ }
            }
        }

        impl EventKind {
            /// Of which type it is.
            #[must_use]
            #[inline]
            pub fn event_type(&self) -> EventType {
                match self { $(EventKind::$kind { .. } => EventType::$kind,)+ }
            }
        }
    };
}

macro_rules! about {
    (job) => {
        true
    };
    (others) => {
        false
    };
}

event_types! {
    Enqueue = 1 "ENQUEUE", job, counts None, makes_ready: true;
    Dispatch = 2 "DISPATCH", job, counts Dispatched, makes_ready: false;
    Ack = 3 "ACK", job, counts Completed, makes_ready: false;
    Retry = 4 "RETRY", job, counts Failed, makes_ready: false;
    Requeue = 5 "REQUEUE", job, counts Failed, makes_ready: true;
    Exhaust = 6 "EXHAUST", job, counts Exhausted, makes_ready: false;
    Extend = 7 "EXTEND", job, counts None, makes_ready: false;
    Cancel = 8 "CANCEL", job, counts Cancelled, makes_ready: false;
    Kill = 9 "KILL", job, counts Killed, makes_ready: false;
    RunNow = 10 "RUN_NOW", job, counts None, makes_ready: true;
    Discard = 11 "DISCARD", job, counts None, makes_ready: false;
    Move = 12 "MOVE", job, counts None, makes_ready: true;
    Output = 13 "OUTPUT", job, counts None, makes_ready: false;
    SetPaused = 14 "SET_PAUSED", others, counts None, makes_ready: true;
    RemoveQueue = 15 "REMOVE_QUEUE", others, counts None, makes_ready: false;
    Promote = 16 "PROMOTE", others, counts None, makes_ready: true;
    Forget = 17 "FORGET", others, counts None, makes_ready: false;
    Digest = 18 "DIGEST", others, counts None, makes_ready: false;
    Term = 19 "TERM", others, counts None, makes_ready: false;
    Lead = 20 "LEAD", others, counts None, makes_ready: false;
    Follow = 21 "FOLLOW", job, counts None, makes_ready: false;
    SetClock = 22 "SET_CLOCK", others, counts None, makes_ready: false;
}

impl EventKind {
    /// The type's name as people see it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.event_type().name()
    }

    /// The job it names, if it names one.
    #[must_use]
    pub fn job(&self) -> Option<&JobId> {
        match self {
            EventKind::Enqueue(new) => Some(&new.id),
            EventKind::Dispatch { job, .. }
            | EventKind::Ack { job, .. }
            | EventKind::Retry { job, .. }
            | EventKind::Requeue { job, .. }
            | EventKind::Exhaust { job, .. }
            | EventKind::Extend { job, .. }
            | EventKind::Kill { job, .. }
            | EventKind::RunNow { job }
            | EventKind::Discard { job }
            | EventKind::Move { job, .. }
            | EventKind::Output { job, .. }
            | EventKind::Follow { job, .. }
            | EventKind::Cancel { job } => Some(job),
            EventKind::SetPaused { .. }
            | EventKind::RemoveQueue { .. }
            | EventKind::Promote { .. }
            | EventKind::Forget { .. }
            | EventKind::Digest { .. }
            | EventKind::Term { .. }
            | EventKind::Lead { .. }
            | EventKind::SetClock { .. } => None,
        }
    }

    /// Whether it brings a text that is found later by its position alone.
    #[must_use]
    #[inline]
    pub fn carries_text(&self) -> bool {
        match self {
            EventKind::Ack { result, .. } => result.is_some(),
            EventKind::Kill { failure, .. } => failure.is_some(),
            EventKind::Enqueue(_)
            | EventKind::Follow { .. }
            | EventKind::Retry { .. }
            | EventKind::Requeue { .. }
            | EventKind::Exhaust { .. }
            | EventKind::Output { .. } => true,
            _ => false,
        }
    }

    /// Bytes of the texts that it brings, those on disk included.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let len_of = |text: &Option<Payload>| text.as_ref().map_or(0, Payload::text_len);
        match self {
            EventKind::Enqueue(new) | EventKind::Follow { next: new, .. } => {
                let Content { payload, custom } = &new.content;
                payload.text_len() + len_of(custom)
            }
            EventKind::Ack { result, .. } => len_of(result),
            EventKind::Retry { failure, result, .. } | EventKind::Exhaust { failure, result, .. } => {
                failure.text_len() + len_of(result)
            }
            EventKind::Requeue { failure, .. } | EventKind::Kill { failure: Some(failure), .. } => {
                failure.text_len()
            }
            EventKind::Output { result, .. } => result.text_len(),
            _ => 0,
        }
    }

    /// The text of this sort that it brings, if it brings one that is in memory.
    #[must_use]
    pub fn text(&self, part: TextPart) -> Option<Payload> {
        match (part, self) {
            (TextPart::Payload, EventKind::Enqueue(new) | EventKind::Follow { next: new, .. }) => {
                new.content.payload.here().cloned()
            }
            (TextPart::Custom, EventKind::Enqueue(new) | EventKind::Follow { next: new, .. }) => {
                new.content.custom.clone()
            }
            (
                TextPart::Result,
                EventKind::Ack { result, .. }
                | EventKind::Retry { result, .. }
                | EventKind::Exhaust { result, .. },
            ) => result.clone(),
            (TextPart::Result, EventKind::Output { result, .. }) => Some(result.clone()),
            (
                TextPart::Failure,
                EventKind::Retry { failure, .. }
                | EventKind::Requeue { failure, .. }
                | EventKind::Kill { failure: Some(failure), .. }
                | EventKind::Exhaust { failure, .. },
            ) => Some(failure.to_json()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_number() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::of_number(*event_type as u8), Some(*event_type));
        }
        assert_eq!((EventType::of_number(0), EventType::of_number(200)), (None, None));
    }
}

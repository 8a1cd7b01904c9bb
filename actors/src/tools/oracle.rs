//! The oracle: told what clients asked, what was answered and what was run, it says whether the queue kept its word.
//!
//! In the style of Jepsen's `total-queue` checker (<https://github.com/jepsen-io/jepsen>, `jepsen.checker/total-queue`),
//! with the history of leases added. It stands outside of the queue and knows nothing of how it works. At the end
//! the queue is drained, every job that it holds is reported, and then:
//!
//! - nothing acknowledged is **lost**: each job is there, and has ended;
//! - nothing is **unexpected**: no job that nobody asked for, or that was refused;
//! - no job was **run after** its completion was acknowledged, or withdrawn after it;
//! - every **token** was used by one attempt at one job, and later attempts have larger ones;
//! - **attempts** never decrease.
//!
//! A job that somebody had discarded may be asked for again and begin anew; if it is not, it must be gone. Running a job more than once is allowed, under a new token, and counted. A request without an answer may have
//! been done or not; one that turns out to have been is counted as recovered.
//!
//! Times are any numbers that grow; only their order counts.

use std::collections::BTreeMap;
use std::fmt;

use crate::ids::Token;
use crate::jobs::Status;

/// What a client knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Acknowledged,
    /// It was refused: nothing was done.
    Refused,
    /// No answer: it may have been done or not.
    Unknown,
}

/// Everything that was seen of one job.
#[derive(Clone, Debug, Default)]
struct JobSightings {
    asked: bool,
    acknowledged: bool,
    /// Some request for it had no answer.
    unknown: bool,
    /// Some request for it was refused.
    refused: bool,
    /// Attempt, token and time of every run, as it began.
    runs: Vec<(u64, u32, Token)>,
    /// It was discarded, and nobody has seen it since.
    discarded: bool,
    /// Some request to discard it had no answer.
    may_be_gone: bool,
    /// The first moment at which somebody was told that it has completed.
    completed_at: Option<u64>,
    /// What the drained queue says.
    end: Option<Status>,
}

/// Collects what happened.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    jobs: BTreeMap<String, JobSightings>,
    tokens: BTreeMap<Token, (String, u32)>,
    broken: Vec<String>,
}

/// What the oracle makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Jobs whose enqueue was acknowledged.
    pub acknowledged: u64,
    /// Jobs without an answer that turned out to be there.
    pub recovered: u64,
    /// Jobs that were run more than once.
    pub duplicated: u64,
    /// Acknowledged jobs that are gone, or never ended.
    pub lost: Vec<String>,
    /// Everything else that must not be, in words.
    pub broken: Vec<String>,
}

impl Verdict {
    /// Whether the queue kept its word.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.broken.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { acknowledged, recovered, duplicated, lost, broken } = self;
        write!(
            f,
            "{acknowledged} acknowledged, {} lost, {duplicated} duplicated, {recovered} recovered",
            lost.len()
        )?;
        lost.iter().take(10).try_for_each(|job| write!(f, "; lost: {job}"))?;
        broken.iter().take(10).try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl Oracle {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Oracle {
        Oracle::default()
    }

    /// A client is about to ask for a job; told before the request leaves, so that no crash can hide it.
    pub fn asked(&mut self, job: &str) {
        self.seen(job).asked = true;
    }

    /// How the request for a job ended. A job that is asked for again keeps what was known of it.
    pub fn answered(&mut self, job: &str, outcome: Outcome) {
        let seen = self.seen(job);
        seen.asked = true;
        match outcome {
            Outcome::Acknowledged => seen.acknowledged = true,
            Outcome::Refused => seen.refused = true,
            Outcome::Unknown => seen.unknown = true,
        }
    }

    /// How a request to discard a job ended. What is asked for under its id later is another job.
    pub fn discarded(&mut self, job: &str, outcome: Outcome) {
        let seen = self.seen(job);
        match outcome {
            Outcome::Acknowledged => {
                *seen = JobSightings { asked: seen.asked, discarded: true, ..JobSightings::default() }
            }
            Outcome::Refused => {}
            Outcome::Unknown => {
                // Whether a later run is one of this job or of the next, nobody can tell.
                (seen.may_be_gone, seen.completed_at) = (true, None);
                seen.runs.clear();
            }
        }
    }

    /// A job has begun to run.
    pub fn began(&mut self, job: &str, attempt: u32, token: Token, at: u64) {
        let holder = (job.to_owned(), attempt);
        let other = self.tokens.insert(token, holder.clone()).filter(|other| *other != holder);
        if let Some((other, run)) = other {
            self.broken.push(format!(
                "token {token} of job {job} attempt {attempt} was held by job {other} attempt {run}"
            ));
        }
        let seen = self.seen(job);
        seen.runs.push((at, attempt, token));
        if let Some(completed_at) = seen.completed_at.filter(|completed_at| *completed_at < at) {
            let problem = format!(
                "job {job} ran at {at} (attempt {attempt}), but was known as completed at {completed_at}"
            );
            self.broken.push(problem);
        }
    }

    /// Somebody was told that a job has completed.
    pub fn completed(&mut self, job: &str, at: u64) {
        let seen = self.seen(job);
        seen.completed_at = Some(seen.completed_at.map_or(at, |before| before.min(at)));
    }

    /// Somebody was told that a job is in this state: what has ended must stay so.
    pub fn observed(&mut self, job: &str, status: Status, at: u64) {
        let was_completed = self.seen(job).completed_at.is_some_and(|completed_at| completed_at < at);
        if was_completed && status != Status::Completed {
            self.broken.push(format!("job {job} was completed and is {} at {at}", status.as_str()));
        }
        if status == Status::Completed {
            self.completed(job, at);
        }
    }

    /// What the drained queue says of a job that it holds.
    pub fn ended(&mut self, job: &str, status: Status) {
        self.seen(job).end = Some(status);
    }

    /// The verdict, after the queue was drained and every job in it reported by [`Oracle::ended`].
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict { broken: self.broken.clone(), ..Verdict::default() };
        for (job, seen) in &self.jobs {
            verdict.acknowledged += u64::from(seen.acknowledged);
            verdict.recovered += u64::from(!seen.acknowledged && seen.end.is_some());
            verdict.duplicated += u64::from(seen.runs.len() > 1);
            let has_ended = seen.end.is_some_and(Status::is_finished);
            let is_gone = seen.end.is_none() && seen.may_be_gone;
            if seen.acknowledged && !has_ended && !is_gone {
                verdict.lost.push(job.clone());
            }
            if !seen.asked {
                verdict.broken.push(format!("job {job} is there, and nobody asked for it"));
            }
            let is_possible = seen.acknowledged || seen.unknown;
            if !is_possible && (seen.end.is_some() || !seen.runs.is_empty()) {
                let why = [(seen.refused, "refused"), (seen.discarded, "discarded")];
                let broken = why.iter().filter(|(holds, _)| *holds);
                verdict
                    .broken
                    .extend(broken.map(|(_, what)| format!("job {job} is there, though it was {what}")));
            }
            let completed_unseen =
                seen.end == Some(Status::Completed) && seen.runs.is_empty() && !seen.may_be_gone;
            if completed_unseen && !self.tokens.is_empty() {
                verdict.broken.push(format!("job {job} is completed, and nobody ran it"));
            }
            let mut runs = seen.runs.clone();
            runs.sort_unstable();
            for pair in runs.windows(2) {
                let ((_, attempt, token), (at, later_attempt, later_token)) = (pair[0], pair[1]);
                if later_attempt <= attempt || later_token <= token {
                    verdict.broken.push(format!(
                        "job {job}: attempt {later_attempt} under token {later_token} at {at} follows attempt {attempt} under token {token}"
                    ));
                }
            }
        }
        verdict
    }

    fn seen(&mut self, job: &str) -> &mut JobSightings {
        self.jobs.entry(job.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::{Epoch, Seq, Term, Timeline};

    use super::*;

    fn token(seq: u64) -> Token {
        Token { epoch: Epoch { timeline: Timeline(1), term: Term(1) }, seq: Seq(seq) }
    }

    fn good() -> Oracle {
        let mut oracle = Oracle::new();
        for (job, at) in [("a", 3), ("b", 4)] {
            oracle.asked(job);
            oracle.answered(job, Outcome::Acknowledged);
            oracle.began(job, 1, token(at), at);
            oracle.completed(job, at + 10);
            oracle.ended(job, Status::Completed);
        }
        oracle
    }

    #[test]
    fn a_queue_that_keeps_its_word_is_believed() {
        let mut oracle = good();
        oracle.asked("unknown");
        oracle.answered("unknown", Outcome::Unknown);
        oracle.asked("later refused");
        oracle.answered("later refused", Outcome::Unknown);
        oracle.answered("later refused", Outcome::Refused);
        oracle.ended("later refused", Status::Cancelled);
        oracle.asked("refused");
        oracle.answered("refused", Outcome::Refused);
        oracle.asked("twice");
        oracle.answered("twice", Outcome::Unknown);
        oracle.began("twice", 1, token(5), 5);
        oracle.began("twice", 2, token(9), 9);
        oracle.ended("twice", Status::Completed);
        for (job, outcome) in [("gone", Outcome::Acknowledged), ("perhaps gone", Outcome::Unknown)] {
            oracle.asked(job);
            oracle.answered(job, Outcome::Acknowledged);
            oracle.began(job, 1, token(20 + job.len() as u64), 20);
            oracle.discarded(job, outcome);
        }
        oracle.asked("again");
        oracle.answered("again", Outcome::Acknowledged);
        oracle.began("again", 1, token(40), 40);
        oracle.completed("again", 41);
        oracle.discarded("again", Outcome::Acknowledged);
        oracle.answered("again", Outcome::Acknowledged);
        oracle.began("again", 1, token(50), 50);
        oracle.ended("again", Status::Dead);
        let verdict = oracle.verdict();
        assert!(verdict.holds(), "{verdict}");
        assert_eq!((verdict.acknowledged, verdict.recovered, verdict.duplicated), (4, 2, 1));
    }

    #[test]
    fn every_way_to_break_a_word_is_seen() {
        type Break = fn(&mut Oracle);
        let ways: [(&str, Break); 11] = [
            ("lost", |oracle| oracle.answered("c", Outcome::Acknowledged)),
            ("lost", |oracle| {
                oracle.answered("c", Outcome::Acknowledged);
                oracle.ended("c", Status::Pending);
            }),
            ("nobody asked", |oracle| oracle.ended("c", Status::Dead)),
            ("refused", |oracle| {
                oracle.answered("c", Outcome::Refused);
                oracle.ended("c", Status::Dead);
            }),
            ("it was discarded", |oracle| {
                oracle.discarded("a", Outcome::Acknowledged);
                oracle.ended("a", Status::Completed);
            }),
            ("lost", |oracle| {
                oracle.discarded("a", Outcome::Acknowledged);
                oracle.answered("a", Outcome::Acknowledged);
            }),
            ("known as completed", |oracle| oracle.began("a", 2, token(99), 99)),
            ("was held by", |oracle| oracle.began("b", 2, token(3), 5)),
            ("follows attempt", |oracle| oracle.began("a", 1, token(7), 7)),
            ("nobody ran it", |oracle| {
                oracle.answered("c", Outcome::Acknowledged);
                oracle.ended("c", Status::Completed);
            }),
            ("was completed and is", |oracle| oracle.observed("a", Status::Pending, 50)),
        ];
        for (expected, break_it) in ways {
            let mut oracle = good();
            break_it(&mut oracle);
            let verdict = oracle.verdict();
            assert!(!verdict.holds() && verdict.to_string().contains(expected), "{expected}: {verdict}");
        }
    }
}

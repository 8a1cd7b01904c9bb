//! What happened to every job, from three witnesses: the clients, the API and the log itself.
//!
//! After each kill the log is read as it lies on the disk, and every event that was not seen yet is held against
//! the rules: no gap, one holder of a lease at a time, no report under a token that is not the current one. The
//! [`Oracle`] judges the rest. Nothing here asks the server's own table what it believes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use beaver_actors::ids::{Seq, Token};
use beaver_actors::jobs::Status;
use beaver_actors::tools::inspect::{self, InspectError, LogState};
use beaver_actors::tools::oracle::{Oracle, Outcome, Verdict};
use serde_json::Value;

use crate::cli::exit::CliFailure;
use crate::cli::job_view::{Glance, Sighting};
use crate::cli::server_process::failed;

/// Everything that is known.
#[derive(Default)]
pub(crate) struct History {
    oracle: Oracle,
    /// The last event of the log that was read.
    last: u64,
    /// The token under which each job is in somebody's hands.
    leases: BTreeMap<String, Token>,
    /// Attempt and time of every completion in the log.
    completed: BTreeMap<String, (u32, Value)>,
    /// The attempt that each job is at.
    attempts: BTreeMap<String, u32>,
    enqueued: BTreeSet<String>,
    acknowledged: Vec<String>,
    /// Jobs that somebody saw completed, as they were then.
    seen_completed: BTreeMap<String, Sighting>,
    unanswered: u64,
    broken: Vec<String>,
}

impl History {
    /// A client is about to ask for these jobs.
    pub(crate) fn asked(&mut self, ids: &[String]) {
        ids.iter().for_each(|id| self.oracle.asked(id));
    }

    /// How a request for these jobs ended.
    pub(crate) fn answered(&mut self, ids: &[String], outcome: Outcome) {
        for id in ids {
            self.oracle.answered(id, outcome);
            match outcome {
                Outcome::Acknowledged => self.acknowledged.push(id.clone()),
                Outcome::Unknown => self.unanswered += 1,
                Outcome::Refused => {}
            }
        }
    }

    /// Jobs that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> &[String] {
        &self.acknowledged
    }

    /// Jobs in requests that no answer came to, each time that it happened.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Events of the log that were read.
    pub(crate) fn events(&self) -> u64 {
        self.last
    }

    /// Something happened that must not.
    pub(crate) fn complain(&mut self, problem: String) {
        self.broken.push(problem);
    }

    /// What the API said of an acknowledged job; `None`: that there is none. Whether it was completed.
    pub(crate) fn sighted(&mut self, id: &str, now: Option<Sighting>) -> bool {
        let Some(now) = now else {
            self.broken.push(format!("job {id} was acknowledged and is not known"));
            return false;
        };
        if let Some(before) = self.seen_completed.get(id) {
            if *before != now {
                self.broken.push(format!("job {id} was completed as {before:?} and is now {now:?}"));
            }
            return true;
        }
        let is_completed = now.status == Status::Completed;
        if is_completed {
            self.seen_completed.insert(id.to_owned(), now);
        }
        is_completed
    }

    /// What a server that has recovered says of itself, against the log that it recovered from.
    pub(crate) fn restarted(&mut self, glance: Glance) {
        let (known, completed) = (self.enqueued.len() as u64, self.completed.len() as u64);
        if glance.known < known || glance.completed < completed {
            self.broken.push(format!(
                "the log has {known} jobs, {completed} of them completed, and the server knows {} and {}",
                glance.known, glance.completed
            ));
        }
    }

    /// Reads what is new in the log of a server that is gone.
    ///
    /// # Errors
    /// The log is damaged, cannot be read, or has disappeared.
    pub(crate) fn read_log(&mut self, data_dir: &Path) -> Result<(), CliFailure> {
        let mut broken = Vec::new();
        let state = inspect::log(&data_dir.join("wal"), &mut |row| {
            let row: Value = serde_json::from_str(row.get())?;
            if row.get("summary").is_none()
                && let Err(problem) = self.event(&row)
            {
                broken.push(format!("event {}: {problem}: {row}", row["seq"]));
            }
            Ok::<_, io::Error>(())
        });
        self.broken.append(&mut broken);
        match state {
            // What a kill during the very first start leaves may not even be a log.
            Err(InspectError::NotFound { .. }) if self.last == 0 => Ok(()),
            state => whole(state, "log"),
        }
    }

    /// Holds the drained and stopped queue against all that is known.
    ///
    /// # Errors
    /// The snapshot is damaged, or cannot be read.
    pub(crate) fn ended(&mut self, data_dir: &Path) -> Result<Verdict, CliFailure> {
        let mut jobs = BTreeMap::new();
        let state = inspect::snapshot(&data_dir.join("snapshots"), &mut |row| {
            let job: Value = serde_json::from_str(row.get())?;
            if let Some(id) = job["job_id"].as_str() {
                jobs.insert(id.to_owned(), Sighting::read(row));
            }
            Ok(())
        });
        whole(state, "snapshot")?;
        for (id, job) in jobs {
            let job = job?;
            self.oracle.ended(&id, job.status);
            let logged = self.completed.remove(&id);
            let told = (job.status == Status::Completed)
                .then(|| (job.attempt, job.finished_at.clone().map_or(Value::Null, Value::String)));
            if logged != told {
                self.broken
                    .push(format!("job {id}: the log completed it as {logged:?}, in the end it is {told:?}"));
            }
            if self.seen_completed.remove(&id).is_some_and(|seen| seen != job) {
                self.broken.push(format!("job {id} was seen completed, and was changed after"));
            }
        }
        let gone = self.completed.keys().chain(self.seen_completed.keys()).next();
        if let Some(gone) = gone {
            self.broken.push(format!("job {gone} was completed, and is gone"));
        }
        let mut verdict = self.oracle.verdict();
        verdict.broken.append(&mut self.broken);
        Ok(verdict)
    }

    fn event(&mut self, row: &Value) -> Result<(), String> {
        let seq = row["seq"].as_u64().ok_or("it has no position")?;
        if seq <= self.last {
            return Ok(());
        }
        let expected = std::mem::replace(&mut self.last, seq) + 1;
        if seq != expected {
            return Err(format!("event {expected} should be here"));
        }
        let Some(id) = row["job_id"].as_str() else { return Ok(()) };
        let data = &row["data"];
        match row["type"].as_str() {
            Some("ENQUEUE") => match self.enqueued.insert(id.to_owned()) {
                true => Ok(()),
                false => Err("it was added a second time".to_owned()),
            },
            Some("DISPATCH") => self.dispatched(id, data, seq),
            Some(name @ ("ACK" | "RETRY" | "REQUEUE" | "EXHAUST")) => {
                self.released(id, data)?;
                if name == "ACK" {
                    self.oracle.completed(id, seq);
                    let attempt = self.attempts.get(id).copied().unwrap_or_default();
                    self.completed.insert(id.to_owned(), (attempt, row["timestamp"].clone()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A lease begins; its token names this event.
    fn dispatched(&mut self, id: &str, data: &Value, seq: u64) -> Result<(), String> {
        let attempt = data["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok());
        let attempt = attempt.ok_or("it has no attempt")?;
        let token = token_in(data)?;
        if token.seq != Seq(seq) {
            return Err(format!("its token is of event {}", token.seq.0));
        }
        self.oracle.began(id, attempt, token, seq);
        self.attempts.insert(id.to_owned(), attempt);
        match self.leases.insert(id.to_owned(), token) {
            None => Ok(()),
            Some(held) => Err(format!("it is already in somebody's hands, under token {held}")),
        }
    }

    /// A lease ends, which only its own token may do.
    fn released(&mut self, id: &str, data: &Value) -> Result<(), String> {
        let held = self.leases.remove(id);
        match held {
            Some(held) if held == token_in(data)? => Ok(()),
            Some(held) => Err(format!("a stale token was accepted: the valid one is {held}")),
            None => Err("a stale token was accepted: none is valid".to_owned()),
        }
    }
}

fn token_in(data: &Value) -> Result<Token, String> {
    let text = data["token"].as_str().ok_or("it has no token")?;
    text.parse().map_err(|problem| format!("field \"token\": {problem}"))
}

/// A torn tail is what a kill may leave; damage is not.
fn whole(state: Result<LogState, InspectError>, what: &str) -> Result<(), CliFailure> {
    match state {
        Ok(LogState::Damaged { problem }) => Err(failed(format!("the {what} is damaged: {problem}"))),
        Ok(_) => Ok(()),
        Err(error) => Err(failed(format!("the {what} cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    fn token(seq: u64) -> String {
        format!("00000007-00000001-{seq:016x}")
    }

    fn row(seq: u64, name: &str, data: Value) -> Value {
        json!({"seq": seq, "type": name, "job_id": "a", "timestamp": "now", "data": data})
    }

    /// One job, added, run and completed.
    fn good() -> Vec<Value> {
        vec![
            row(1, "ENQUEUE", json!({})),
            row(2, "DISPATCH", json!({"attempt": 1, "token": token(2)})),
            row(3, "REQUEUE", json!({"token": token(2)})),
            row(4, "DISPATCH", json!({"attempt": 2, "token": token(4)})),
            row(5, "ACK", json!({"token": token(4)})),
        ]
    }

    fn problems(rows: &[Value]) -> String {
        let mut history = History::default();
        let problems: Vec<_> = rows.iter().filter_map(|row| history.event(row).err()).collect();
        format!("{problems:?} {}", history.oracle.verdict())
    }

    #[test]
    fn a_log_that_keeps_the_rules_is_believed_also_when_it_is_read_twice() {
        let mut rows = good();
        rows.extend(good());
        assert!(problems(&rows).starts_with("[] "), "{}", problems(&rows));
    }

    #[test]
    fn each_rule_of_the_log_is_held_against_it() {
        let broken = |at: usize, row: Value| {
            let mut rows = good();
            rows[at] = row;
            problems(&rows)
        };
        for (expected, told) in [
            ("event 1 should be here", problems(&good()[1..])),
            ("added a second time", broken(1, row(2, "ENQUEUE", json!({})))),
            (
                "under token 00000007-00000001-0000000000000002",
                broken(2, row(3, "DISPATCH", json!({"attempt": 2, "token": token(3)}))),
            ),
            ("of event 2", broken(3, row(4, "DISPATCH", json!({"attempt": 2, "token": token(2)})))),
            ("has no token", broken(4, row(5, "ACK", json!({"token": 4})))),
            ("field \\\"token\\\"", broken(4, row(5, "ACK", json!({"token": "4"})))),
            ("stale token", broken(4, row(5, "ACK", json!({"token": token(2)})))),
            ("stale token", problems(&[good(), vec![row(6, "ACK", json!({"token": token(4)}))]].concat())),
            (
                "was known as completed",
                problems(
                    &[good(), vec![row(6, "DISPATCH", json!({"attempt": 3, "token": token(6)}))]].concat(),
                ),
            ),
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
    }

    #[test]
    fn only_before_the_first_event_there_may_be_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::default();
        assert!(history.read_log(dir.path()).is_ok());
        history.event(&good()[0]).unwrap();
        let failure = history.read_log(dir.path()).unwrap_err();
        assert!(failure.to_string().contains("the log cannot be read: a log not found in"), "{failure}");
    }

    fn sighting(status: &str, attempt: u32) -> Sighting {
        let job = json!({"status": status, "attempt": attempt, "finished_at": null, "errors": []});
        Sighting::read(&to_raw_value(&job).unwrap()).unwrap()
    }

    #[test]
    fn a_job_that_was_seen_completed_must_stay_exactly_so() {
        for (now, problem) in [
            (Some(sighting("completed", 2)), "and is now"),
            (Some(sighting("pending", 1)), "and is now"),
            (None, "is not known"),
        ] {
            let mut history = History::default();
            assert!(!history.sighted("a", Some(sighting("pending", 0))));
            assert!(history.sighted("a", Some(sighting("completed", 1))));
            assert!(history.sighted("a", Some(sighting("completed", 1))));
            assert!(history.broken.is_empty());
            history.sighted("a", now);
            assert!(history.broken[0].contains(problem), "{:?}", history.broken);
        }
    }

    #[test]
    fn a_server_that_knows_less_than_the_log_is_a_complaint() {
        let mut history = History::default();
        good().iter().for_each(|row| history.event(row).unwrap());
        let glance = |known, completed| Glance { known, unfinished: 0, completed, recovery_ms: 1.0 };
        history.restarted(glance(1, 1));
        assert!(history.broken.is_empty());
        history.restarted(glance(1, 0));
        history.restarted(glance(0, 1));
        assert_eq!(history.broken.len(), 2);
    }
}

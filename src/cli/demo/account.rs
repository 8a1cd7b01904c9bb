//! The sum at the end: which jobs there were, what became of each, and what must not have happened.

use std::collections::BTreeMap;

use beaver_actors::jobs::Status;
use comfy_table::Table;

use crate::cli::job_view::{Glance, Sighting};
use crate::cli::table::{count, of_numbers};

/// Everything that was observed.
#[derive(Debug)]
pub(crate) struct Account {
    /// Jobs that the first server accepted.
    pub(crate) enqueued: usize,
    /// The last look at the first server.
    pub(crate) before: Glance,
    /// Jobs that the first server was seen to have completed. Not all of them: time ran on.
    pub(crate) seen_completed: BTreeMap<String, Sighting>,
    /// The first look at the second server.
    pub(crate) restarted: Glance,
    /// Each job at the end; `None` is one that the second server does not know.
    pub(crate) after: BTreeMap<String, Option<Sighting>>,
}

/// What became of the jobs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) completed: usize,
    pub(crate) dead: usize,
    /// Not known any more, or known and neither completed nor dead.
    pub(crate) lost: usize,
    /// In the hands of the first server when it was killed, and run again by the second one: as promised.
    pub(crate) run_twice: usize,
    /// Seen completed, and changed afterwards: never allowed.
    pub(crate) run_after_completion: Vec<String>,
    /// Fewer jobs were completed after the restart than before the kill.
    pub(crate) went_back: bool,
}

impl Account {
    /// Draws the sum.
    #[must_use]
    pub(crate) fn verdict(&self) -> Tally {
        let ended_as = |status| self.known().filter(|(_, job)| job.status == status).count();
        let (completed, dead) = (ended_as(Status::Completed), ended_as(Status::Dead));
        let changed = self.seen_completed.iter().filter(|(id, before)| {
            let after = self.after.get(*id).and_then(Option::as_ref);
            after.is_some_and(|after| after != *before)
        });
        Tally {
            completed,
            dead,
            lost: self.enqueued.saturating_sub(completed + dead),
            run_twice: self.known().filter(|(_, job)| job.was_interrupted()).count(),
            run_after_completion: changed.map(|(id, _)| id.clone()).collect(),
            went_back: self.restarted.completed < self.before.completed,
        }
    }

    /// The sum for people.
    #[must_use]
    pub(crate) fn table(&self, verdict: &Tally) -> Table {
        let mut table = of_numbers(["jobs", ""]);
        for (name, value) in [
            ("enqueued", self.enqueued.to_string()),
            ("completed before the kill", self.before.completed.to_string()),
            ("recovered", self.restarted.known.to_string()),
            ("recovery time", format!("{:.1} ms", self.restarted.recovery_ms)),
            ("completed", verdict.completed.to_string()),
            ("dead", verdict.dead.to_string()),
            ("lost", verdict.lost.to_string()),
            ("run twice (interrupted by the kill)", verdict.run_twice.to_string()),
            ("run again after completion", verdict.run_after_completion.len().to_string()),
        ] {
            table.add_row([name, &value]);
        }
        table
    }

    fn known(&self) -> impl Iterator<Item = (&String, &Sighting)> {
        self.after.iter().filter_map(|(id, job)| Some((id, job.as_ref()?)))
    }
}

impl Tally {
    /// What must not have happened, if it did.
    #[must_use]
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.lost > 0 {
            return Some(format!("{} lost", count(self.lost as u64, "job")));
        }
        if let Some(first) = self.run_after_completion.first() {
            let again = count(self.run_after_completion.len() as u64, "job");
            return Some(format!("{again} ran again after completion, such as {first}"));
        }
        self.went_back
            .then(|| "jobs that were completed before the kill are not completed after it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    fn job(status: &str, attempt: u32, errors: &[&str]) -> Sighting {
        let failure = |kind: &str| json!({"kind": kind, "message": "m"});
        let failed = |kind: &&str| json!({"attempt": 1, "at": "2026-01-01T00:00:00Z", "counted": true, "failure": failure(kind)});
        let errors: Vec<_> = errors.iter().map(failed).collect();
        let finished_at = format!("moment {attempt}");
        let job = json!({"status": status, "attempt": attempt, "finished_at": finished_at, "errors": errors});
        Sighting::read(&to_raw_value(&job).unwrap()).unwrap()
    }

    /// Three jobs: one done before the kill, one interrupted by it, one that only failed by itself.
    fn account() -> Account {
        let glance = |completed| Glance { known: 3, unfinished: 3 - completed, completed, recovery_ms: 1.0 };
        Account {
            enqueued: 3,
            before: glance(1),
            seen_completed: [("a".to_owned(), job("completed", 1, &[]))].into(),
            restarted: glance(1),
            after: [
                ("a".to_owned(), Some(job("completed", 1, &[]))),
                ("b".to_owned(), Some(job("completed", 3, &["lost", "error"]))),
                ("c".to_owned(), Some(job("dead", 2, &["error", "timeout"]))),
            ]
            .into(),
        }
    }

    #[test]
    fn a_job_that_the_kill_interrupted_ran_twice_and_that_is_no_complaint() {
        let verdict = account().verdict();
        let expected = Tally {
            completed: 2,
            dead: 1,
            lost: 0,
            run_twice: 1,
            run_after_completion: Vec::new(),
            went_back: false,
        };
        assert_eq!(verdict, expected);
        assert_eq!(verdict.complaint(), None);
    }

    #[test]
    fn a_job_that_is_not_known_or_never_ended_is_lost() {
        for lost in [None, Some(job("pending", 0, &[]))] {
            let mut account = account();
            account.after.insert("b".to_owned(), lost);
            assert_eq!(account.verdict().lost, 1);
            assert_eq!(account.verdict().complaint().unwrap(), "1 job lost");
        }
    }

    #[test]
    fn a_job_that_ran_after_it_was_seen_completed_is_a_complaint() {
        let mut account = account();
        account.after.insert("a".to_owned(), Some(job("completed", 2, &[])));
        assert_eq!(account.verdict().run_after_completion, ["a"]);
        assert!(account.verdict().complaint().unwrap().ends_with("such as a"));
    }

    #[test]
    fn a_completion_that_the_kill_undid_is_a_complaint() {
        let mut account = account();
        account.restarted.completed = 0;
        assert!(account.verdict().went_back);
        assert!(account.verdict().complaint().is_some());
    }
}

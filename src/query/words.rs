//! Sets of jobs in the words of HTTP and the command line: which are meant, what is done to them.
//!
//! One reader for both, so that a filter means the same everywhere. `match` is a pattern with `*`, `?` and
//! `[..]` over the compact JSON that remote workers see of a job, as in MUTATE of the work protocol:
//! `{"jid":..,"queue":..,"jobtype":..,"args":[..],..}`.

use beaver_actors::engine::SetAction;
use beaver_actors::ids::{JobId, KindName, QueueName};
use beaver_actors::jobs::{Filter, Status};
use serde::{Deserialize, Serialize};

use super::fits::condition;
use super::glob::Glob;
use crate::suggest::{instead_of, shortened};
use crate::wire::null::null_means_default;

/// What can be done to a set, as it is written.
const ACTIONS: [&str; 6] = ["run_now", "requeue", "kill", "discard", "cancel", "move"];
/// How many jobs are listed at once at most.
const LIMIT_MAX: usize = 1_000;
/// How many jobs are listed when nobody says.
const LIMIT_DEFAULT: usize = 100;

/// Which jobs of a set are meant, as it is written; without conditions, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterWords {
    /// Only the jobs with these ids; an empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<Vec<String>>,
    /// Only of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// Only in this queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    /// Only those whose JSON this pattern fits.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(crate) pattern: Option<String>,
}

/// Which jobs are to be listed, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListWords {
    /// In which status they are.
    pub(crate) status: Option<String>,
    /// Which of those.
    pub(crate) filter: FilterWords,
    /// How many at most: [`LIMIT_DEFAULT`] if it is not said.
    pub(crate) limit: Option<usize>,
    /// Whether what they left behind is shown, too.
    pub(crate) results: Option<bool>,
}

/// What is to be done to which jobs, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ActionWords {
    /// `run_now`, `requeue`, `kill`, `discard`, `cancel` or `move`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    /// In which status the jobs are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    /// Which of those.
    #[serde(deserialize_with = "null_means_default")]
    pub(crate) filter: FilterWords,
    /// Where to, for `move`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
}

impl FilterWords {
    /// Whether it names no condition.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        *self == FilterWords::default()
    }

    /// The filter that is meant.
    ///
    /// # Errors
    /// A word is none, and what is wrong with it.
    pub(crate) fn read(&self) -> Result<Filter, String> {
        if self.ids.as_ref().is_some_and(Vec::is_empty) {
            // A caller that computed an empty list did not mean all jobs.
            return Err("ids is empty: leave it out to mean all jobs".to_owned());
        }
        let ids = self.ids.as_ref().map(|ids| ids.iter().map(|id| JobId::parse(id)).collect());
        let glob = self.pattern.as_deref().map(Glob::read).transpose();
        let glob = glob.map_err(|error| format!("match {error}"))?;
        Ok(Filter {
            ids: ids.transpose().map_err(|error| error.to_string())?,
            kind: self.kind.as_deref().map(KindName::parse).transpose().map_err(|error| error.to_string())?,
            queue: self
                .queue
                .as_deref()
                .map(QueueName::parse)
                .transpose()
                .map_err(|error| error.to_string())?,
            test: glob.map(condition),
            reads_results: false,
        })
    }
}

impl ListWords {
    /// Takes one part of a query.
    ///
    /// # Errors
    /// There is no such part, or it is given twice.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let before = match name {
            // The only one that may be repeated.
            "id" => {
                self.filter.ids.get_or_insert_default().push(value);
                return Ok(());
            }
            "status" => self.status.replace(value),
            "kind" => self.filter.kind.replace(value),
            "queue" => self.filter.queue.replace(value),
            "match" => self.filter.pattern.replace(value),
            "limit" => {
                let limit = read_limit(&value)?;
                self.limit.replace(limit).map(|_| value)
            }
            "results" => {
                let results =
                    value.parse().map_err(|_| format!("results: {value:?} is not true or false"))?;
                self.results.replace(results).map(|_| value)
            }
            _ => {
                let known = ["status", "kind", "queue", "match", "limit", "id", "results"];
                return Err(unknown("parameter", name, &known));
            }
        };
        if before.is_some() { Err(format!("{name} is given twice")) } else { Ok(()) }
    }

    /// The status, the filter and the number that are meant.
    ///
    /// # Errors
    /// A word is none, and what is wrong with it.
    pub(crate) fn read(&self) -> Result<(Status, Filter, usize), String> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(format!("limit: {limit} is not 1 to {LIMIT_MAX}"));
        }
        let filter = Filter { reads_results: self.results == Some(true), ..self.filter.read()? };
        Ok((read_status(self.status.as_deref())?, filter, limit))
    }

    /// As the query of an address, each name with its value.
    #[must_use]
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let ListWords { status, filter, limit, results } = self;
        let one = |name: &'static str, value: &Option<String>| value.clone().map(|value| (name, value));
        let ids = filter.ids.iter().flatten().map(|id| ("id", id.clone()));
        [
            one("status", status),
            one("kind", &filter.kind),
            one("queue", &filter.queue),
            one("match", &filter.pattern),
        ]
        .into_iter()
        .flatten()
        .chain(limit.map(|limit| ("limit", limit.to_string())))
        .chain(results.map(|results| ("results", results.to_string())))
        .chain(ids)
        .collect()
    }
}

impl ActionWords {
    /// What is meant.
    ///
    /// # Errors
    /// A word is none, or jobs in that status cannot have that done to them.
    pub(crate) fn read(&self) -> Result<(SetAction, Status, Filter), String> {
        let word =
            self.action.as_deref().ok_or_else(|| format!("action is missing: {}", ACTIONS.join(", ")))?;
        let action = match (word, &self.to) {
            ("move", None) => return Err("to is missing: the queue to which the jobs go".to_owned()),
            ("move", Some(to)) => SetAction::Move(QueueName::parse(to).map_err(|error| error.to_string())?),
            (_, Some(_)) => return Err("to is only for move".to_owned()),
            ("run_now", None) => SetAction::RunNow,
            ("requeue", None) => SetAction::Requeue,
            ("kill", None) => SetAction::Kill,
            ("discard", None) => SetAction::Discard,
            ("cancel", None) => SetAction::Cancel,
            _ => return Err(unknown("action", word, &ACTIONS)),
        };
        let status = read_status(self.status.as_deref())?;
        let (can, done, others) = match action {
            SetAction::RunNow => (status.can_run_now(), "run now", "scheduled, retrying and dead"),
            SetAction::Requeue => (
                status == Status::InFlight,
                "be requeued",
                "for scheduled, retrying and dead ones there is run_now; in_flight",
            ),
            SetAction::Kill => (status.can_be_killed(), "be killed", "pending, scheduled and retrying"),
            SetAction::Discard => (true, "be discarded", "all"),
            SetAction::Cancel => (!status.is_finished(), "be cancelled", "unfinished"),
            SetAction::Move(_) => {
                (status.can_be_moved(), "be moved", "pending, scheduled, retrying and dead")
            }
        };
        if !can {
            return Err(format!("{} jobs cannot {done}: {others} ones can", status.as_str()));
        }
        Ok((action, status, self.filter.read()?))
    }
}

/// Reads a number of things that are wanted.
///
/// # Errors
/// It is none.
pub(super) fn read_limit(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("limit: {:?} is no number", shortened(value)))
}

fn read_status(word: Option<&str>) -> Result<Status, String> {
    let names = Status::ALL.map(Status::as_str);
    let word = word.ok_or_else(|| format!("status is missing: {}", names.join(", ")))?;
    let found = Status::ALL.into_iter().find(|status| status.as_str() == word);
    found.ok_or_else(|| unknown("status", word, &names))
}

/// What is said of a word that is none of those that there are.
#[must_use]
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let hint = instead_of(word, known, || format!("there are {}", known.join(", ")));
    format!("unknown {what} {:?}: {hint}", shortened(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(json: &str) -> Result<(SetAction, Status, Filter), String> {
        serde_json::from_str::<ActionWords>(json).map_err(|error| error.to_string())?.read()
    }

    #[test]
    fn an_action_names_what_is_done_to_which_jobs() {
        let json = r#"{"action":"move","status":"dead","to":"again",
            "filter":{"ids":["a","b"],"kind":"mail","queue":"out","match":"*ann*"}}"#;
        let (done, status, filter) = action(json).unwrap();
        assert!(matches!(done, SetAction::Move(queue) if queue.as_str() == "again"));
        assert_eq!(status, Status::Dead);
        assert_eq!(filter.ids.unwrap().len(), 2);
        assert_eq!((filter.kind.unwrap().as_str(), filter.queue.unwrap().as_str()), ("mail", "out"));
        assert!(filter.test.is_some());

        let (done, status, filter) =
            action(r#"{"action":"run_now","status":"retrying","filter":null,"to":null}"#).unwrap();
        assert!(matches!(done, SetAction::RunNow));
        assert_eq!(status, Status::Retrying);
        assert!(
            filter.ids.is_none() && filter.kind.is_none() && filter.queue.is_none() && filter.test.is_none()
        );
    }

    #[test]
    fn a_word_that_means_nothing_is_told_with_what_would_be_right() {
        for (json, told) in [
            (r#"{"status":"dead"}"#, "action is missing: run_now, requeue, kill, discard, cancel, move"),
            (r#"{"action":"kil","status":"dead"}"#, r#"unknown action "kil": did you mean "kill"?"#),
            (r#"{"action":"kill"}"#, "status is missing: pending, scheduled"),
            (r#"{"action":"discard","status":"ded"}"#, r#"unknown status "ded": did you mean "dead"?"#),
            (r#"{"action":"discard","status":"buried"}"#, "there are pending, scheduled, in_flight"),
            (r#"{"action":"move","status":"dead"}"#, "to is missing"),
            (r#"{"action":"kill","status":"pending","to":"a"}"#, "to is only for move"),
            (
                r#"{"action":"kill","status":"dead"}"#,
                "dead jobs cannot be killed: pending, scheduled and retrying",
            ),
            (r#"{"action":"requeue","status":"dead"}"#, "dead ones there is run_now; in_flight ones can"),
            (r#"{"action":"run_now","status":"completed"}"#, "completed jobs cannot run now"),
            (r#"{"action":"cancel","status":"dead"}"#, "dead jobs cannot be cancelled: unfinished ones can"),
            (r#"{"action":"discard","status":"dead","filter":{"ids":[]}}"#, "ids is empty"),
            (r#"{"action":"discard","status":"dead","filter":{"queue":"a b"}}"#, "may only use"),
            (r#"{"action":"discard","status":"dead","filter":{"knd":"a"}}"#, "unknown field `knd`"),
        ] {
            let problem = action(json).unwrap_err();
            assert!(problem.contains(told), "{json}: {problem}");
        }
        let endless = FilterWords { pattern: Some("*".repeat(2_000)), ..FilterWords::default() };
        assert_eq!(endless.read().unwrap_err(), "match is longer than 1000 bytes");
    }

    #[test]
    fn a_list_travels_as_a_query_and_comes_back_the_same() {
        let words = ListWords {
            status: Some("dead".into()),
            filter: FilterWords {
                ids: Some(vec!["a".into(), "b".into()]),
                kind: Some("mail".into()),
                queue: Some("out".into()),
                pattern: Some("*x*".into()),
            },
            limit: Some(7),
            results: Some(true),
        };
        let mut again = ListWords::default();
        for (name, value) in words.pairs() {
            again.set(name, value).unwrap();
        }
        assert_eq!(again, words);
        assert_eq!(words.read().unwrap().2, 7);
    }

    #[test]
    fn a_query_with_a_mistake_is_refused() {
        let mut words = ListWords::default();
        assert!(words.read().unwrap_err().starts_with("status is missing"));
        assert_eq!(
            words.set("limt", "1".into()).unwrap_err(),
            r#"unknown parameter "limt": did you mean "limit"?"#
        );
        assert_eq!(words.set("limit", "many".into()).unwrap_err(), r#"limit: "many" is no number"#);
        words.set("status", "dead".into()).unwrap();
        assert_eq!(words.set("status", "dead".into()).unwrap_err(), "status is given twice");
        assert_eq!(words.read().unwrap().2, LIMIT_DEFAULT);
        words.set("limit", "1001".into()).unwrap();
        assert_eq!(words.read().unwrap_err(), "limit: 1001 is not 1 to 1000");
    }
}

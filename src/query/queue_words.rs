//! Queues in the words of HTTP and the command line: which are meant, and what is said of one that is not there.
//!
//! `match` is a pattern with `*`, `?` and `[..]` over the whole name.

use std::sync::Arc;

use beaver_actors::engine::{QueuePage, QueueTest};
use beaver_actors::ids::QueueName;

use super::glob::Glob;
use super::words::{read_limit, unknown};
use crate::suggest::nearest;

/// How many queues are listed at once at most.
pub(crate) const LIMIT_MAX: usize = 10_000;
/// How many queues are listed when nobody says.
const LIMIT_DEFAULT: usize = 1_000;

/// Which queues a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueWords {
    /// Only those whose name matches this pattern.
    pub(crate) pattern: Option<String>,
    /// Only those behind this name.
    pub(crate) after: Option<String>,
    /// At most this many.
    pub(crate) limit: Option<usize>,
}

impl QueueWords {
    /// Takes one part of a query.
    ///
    /// # Errors
    /// There is no such part, or it is given twice.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let before = match name {
            "match" => self.pattern.replace(value),
            "after" => self.after.replace(value),
            "limit" => {
                let limit = read_limit(&value)?;
                self.limit.replace(limit).map(|_| value)
            }
            _ => return Err(unknown("parameter", name, &["match", "after", "limit"])),
        };
        if before.is_some() { Err(format!("{name} is given twice")) } else { Ok(()) }
    }

    /// The queues that are meant.
    ///
    /// # Errors
    /// A word is none, and what is wrong with it.
    pub(crate) fn read(&self) -> Result<QueuePage, String> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(format!("limit: {limit} is not 1 to {LIMIT_MAX}"));
        }
        let after = self.after.as_deref().map(QueueName::parse).transpose();
        let after = after.map_err(|error| format!("after: {error}"))?;
        let test = self.pattern.as_deref().map(queue_test).transpose()?;
        Ok(QueuePage { test, after, limit })
    }

    /// As parts of a query.
    #[must_use]
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let QueueWords { pattern, after, limit } = self.clone();
        let limit = limit.map(|limit| limit.to_string());
        let pairs = [("match", pattern), ("after", after), ("limit", limit)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Whether a queue's name matches a pattern.
///
/// # Errors
/// It is none.
pub(crate) fn queue_test(pattern: &str) -> Result<QueueTest, String> {
    let glob = Glob::read(pattern).map_err(|error| format!("match {error}"))?;
    Ok(Arc::new(move |queue: &QueueName| glob.matches(queue.as_str())))
}

/// Whether a text means the queues that match it: no name has these characters.
#[must_use]
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// What is said about a queue that does not exist.
#[must_use]
pub(crate) fn no_such_queue<'q>(queue: &QueueName, known: impl Iterator<Item = &'q QueueName>) -> String {
    match nearest(queue.as_str(), known.map(QueueName::as_str)) {
        Some(name) => format!("no queue {queue}: did you mean {name}?"),
        None => format!(
            "no queue {queue}: a queue exists from its first job on until it is removed or stays empty"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_named_by_a_pattern_and_a_page_begins_behind_a_name() {
        let mut words = QueueWords::default();
        for (name, value) in [("match", "customer-*"), ("after", "customer-3"), ("limit", "2")] {
            words.set(name, value.to_owned()).unwrap();
        }
        let page = words.read().unwrap();
        let name = |name| QueueName::parse(name).unwrap();
        let test = page.test.clone().unwrap();
        assert_eq!((page.after.clone(), page.limit), (Some(name("customer-3")), 2));
        assert!(test(&name("customer-4")) && !test(&name("mail")));
        for (name, value, told) in [
            ("limit", "0", "not 1 to 10000"),
            ("limit", "many", "no number"),
            ("after", "a b", "after: "),
            ("match", "a".repeat(2_000).as_str(), "longer than"),
            ("matsch", "", "did you mean \"match\"?"),
        ] {
            let mut words = QueueWords::default();
            let told_now = words.set(name, value.to_owned()).and_then(|()| words.read()).unwrap_err();
            assert!(told_now.contains(told), "{told_now}");
        }
    }

    #[test]
    fn a_queue_that_does_not_exist_is_told_with_the_one_that_was_meant() {
        let known = ["mail", "reports"].map(|name| QueueName::parse(name).unwrap());
        let told = |name| no_such_queue(&QueueName::parse(name).unwrap(), known.iter());
        assert_eq!(told("mal"), "no queue mal: did you mean mail?");
        assert!(told("zzz").starts_with("no queue zzz: a queue exists from"));
    }
}

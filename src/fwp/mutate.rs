//! MUTATE: one change to all jobs of a set that a filter fits.

use beaver_actors::engine::SetAction;
use beaver_actors::ids::{JobId, KindName};
use beaver_actors::jobs::Status;
use serde::Deserialize;

use crate::query::glob::Glob;
use crate::wire::faktory_job;

/// What to do with which jobs, as it was read.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// What is done.
    pub action: SetAction,
    /// To jobs of this set.
    pub target: Status,
    /// Only to those that it fits.
    pub filter: JobFilter,
}

/// Which jobs of a set; an empty one fits all.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// These, even if the rest says otherwise.
    pub jids: Option<Vec<JobId>>,
    /// Those of this kind.
    pub kind: Option<KindName>,
    /// Those whose JSON the pattern fits.
    pub glob: Option<Glob>,
}

impl Mutation {
    /// Reads what follows MUTATE.
    ///
    /// # Errors
    /// It is not JSON, or says something that does not exist.
    pub fn parse(text: &str) -> Result<Mutation, String> {
        if text.trim().is_empty() {
            return Err("invalid format".to_owned());
        }
        let sent: SentMutation = serde_json::from_str(text).map_err(faktory_job::not_json)?;
        let target = match sent.target.as_str() {
            "scheduled" => Status::Scheduled,
            "retries" => Status::Retrying,
            "dead" => Status::Dead,
            _ => return Err("invalid target for mutation command".to_owned()),
        };
        let (action, filter) = match sent.cmd.as_str() {
            "clear" => (SetAction::Discard, JobFilter::default()),
            "kill" => (SetAction::Kill, sent.filter.unwrap_or_default().read()?),
            "requeue" => (SetAction::RunNow, sent.filter.unwrap_or_default().read()?),
            "discard" => (SetAction::Discard, sent.filter.unwrap_or_default().read()?),
            _ => return Err("unknown mutate operation".to_owned()),
        };
        Ok(Mutation { action, target, filter })
    }
}

#[derive(Deserialize)]
struct SentMutation {
    #[serde(default)]
    cmd: String,
    #[serde(default)]
    target: String,
    filter: Option<SentFilter>,
}

#[derive(Default, Deserialize)]
struct SentFilter {
    jids: Option<Vec<String>>,
    regexp: Option<String>,
    jobtype: Option<String>,
}

impl SentFilter {
    fn read(self) -> Result<JobFilter, String> {
        if let Some(jids) = self.jids.filter(|jids| !jids.is_empty()) {
            // What cannot be the name of a job is the name of none.
            let jids = jids.iter().filter_map(|jid| JobId::parse(jid).ok()).collect();
            return Ok(JobFilter { jids: Some(jids), ..JobFilter::default() });
        }
        let jobtype = self.jobtype.filter(|jobtype| !jobtype.is_empty());
        let pattern = self.regexp.filter(|pattern| !pattern.is_empty());
        let glob = pattern.as_deref().map(Glob::read).transpose();
        let glob = glob.map_err(|error| format!("regexp {error}"))?;
        let kind = jobtype.as_deref().map(KindName::parse).transpose().map_err(|error| error.to_string())?;
        Ok(JobFilter { jids: None, kind, glob })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_names_what_it_does_and_to_which_jobs() {
        let read = |text| Mutation::parse(text).unwrap();
        let cleared = read(r#"{"cmd":"clear","target":"dead","filter":{"jids":["12345678"]}}"#);
        assert_eq!((cleared.action, cleared.target), (SetAction::Discard, Status::Dead));
        assert!(cleared.filter.jids.is_none(), "clear takes all");

        let by_jid = read(
            r#"{"cmd": "kill", "target": "retries", "filter": {"jids": ["12345678", ""], "jobtype": "mail"}}"#,
        );
        assert_eq!((by_jid.action, by_jid.target), (SetAction::Kill, Status::Retrying));
        assert_eq!(by_jid.filter.jids.unwrap(), [JobId::parse("12345678").unwrap()]);
        assert!(by_jid.filter.kind.is_none(), "jids win over the rest");

        let both =
            read(r#"{"cmd":"requeue","target":"scheduled","filter":{"regexp":"*a*","jobtype":"mail"}}"#);
        assert_eq!((both.action, both.target), (SetAction::RunNow, Status::Scheduled));
        assert_eq!(both.filter.kind.unwrap().as_str(), "mail");
        assert!(both.filter.glob.unwrap().matches("bab"));

        let all =
            read(r#"{"cmd":"discard","target":"dead","filter":{"jids":[],"regexp":"","jobtype":null}}"#)
                .filter;
        assert!(all.jids.is_none() && all.kind.is_none() && all.glob.is_none());
        assert!(read(r#"{"cmd":"discard","target":"dead"}"#).filter.jids.is_none());
    }

    #[test]
    fn what_does_not_exist_is_refused_in_the_usual_words() {
        let refused = |text| Mutation::parse(text).unwrap_err();
        assert_eq!(refused(r#"{"cmd":"eat","target":"dead"}"#), "unknown mutate operation");
        assert_eq!(refused(r#"{"cmd":"kill","target":"queues"}"#), "invalid target for mutation command");
        assert_eq!(refused(" "), "invalid format");
        assert!(refused("{").starts_with("invalid JSON: "));
        let endless =
            format!(r#"{{"cmd":"kill","target":"dead","filter":{{"regexp":"{}"}}}}"#, "x".repeat(1_001));
        assert_eq!(refused(&endless), "regexp is longer than 1000 bytes");
    }
}

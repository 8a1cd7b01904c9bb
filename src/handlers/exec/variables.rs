//! Environment variables that beaver itself gives to the program of a job.

use super::mark;

pub(super) const JOB_ID: &str = "BEAVER_JOB_ID";
pub(super) const ATTEMPT: &str = "BEAVER_ATTEMPT";
pub(super) const TOKEN: &str = "BEAVER_TOKEN";
/// What a payload's `env` may not set.
pub(super) const ALL: [&str; 4] = [JOB_ID, ATTEMPT, TOKEN, mark::VARIABLE];

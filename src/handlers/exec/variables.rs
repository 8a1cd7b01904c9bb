//! Environment variables that beaver itself gives to the program of a job.

use super::mark;

pub(super) const JOB_ID: &str = "BEAVER_JOB_ID";
pub(super) const ATTEMPT: &str = "BEAVER_ATTEMPT";
pub(super) const TOKEN: &str = "BEAVER_TOKEN";
/// What a payload's `env` may not set. That of keepers is one of them: a program that has it would be taken for one.
pub(super) const ALL: [&str; 5] = [JOB_ID, ATTEMPT, TOKEN, mark::VARIABLE, mark::KEEPER_VARIABLE];

//! Running jobs: [`actor`], the WorkerActor, and `attempt`, one run of one job.

pub mod actor;
mod attempt;

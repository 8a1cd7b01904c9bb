//! Running jobs: the trait that handlers implement, the WorkerActor that runs them.

pub mod actor;
mod attempt;

//! What the state holds that is not a job: [`queues`], and how many attempts have ended.

pub mod queues;

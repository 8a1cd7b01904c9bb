//! What a job is: [`job`] (its states), [`failure`], [`payload`], [`policy`] (the numbers).

pub mod failure;
pub mod job;
pub mod payload;
pub mod policy;

//! What a job is: [`profile`] (what many have in common), [`payload`] (what it brings along), [`job`] (its states),
//! [`text`] (texts that may be on disk), [`failure`], [`policy`] (the numbers).

pub mod failure;
pub mod job;
pub mod payload;
pub mod policy;
pub mod profile;
pub mod text;

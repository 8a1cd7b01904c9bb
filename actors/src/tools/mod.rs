//! For people and tests, from outside: [`inspect`]: log and snapshots as JSON; [`doctor`]: what is damaged, and a repair;
//! [`oracle`]: whether a queue kept its word.

pub mod doctor;
pub mod inspect;
pub mod oracle;

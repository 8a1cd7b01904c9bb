//! What users of the engine hold: no actor is named here.
//!
//! [`handler`]: what runs jobs; [`options`]: what can be set; [`requests`]: what can be asked beside jobs; [`status`]:
//! the whole server at a glance; [`outcome`]: how an engine is and how it ended, and why there is no answer.

pub mod handler;
pub mod options;
pub mod outcome;
pub mod requests;
pub mod status;

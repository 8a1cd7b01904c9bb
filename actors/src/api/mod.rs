//! What users of the engine hold: no actor is named here.
//!
//! [`outcome`]: how an engine is and how it ended, and why there is no answer.

pub mod outcome;

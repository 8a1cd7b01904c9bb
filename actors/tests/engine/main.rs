//! Tests of the engine, in one binary so that it links once.
//!
//! - `model`: the job table against a small model, with random commands.
//! - `wal`, `snapshot`: torn, flipped, missing and foreign bytes; the recovery table row by row.
//! - `recovery`: the whole engine through crashes.
//! - `actors`: the duties, `supervision`: restarts and fail-stop, both with the real actors.
//! - `formats`: files that earlier versions wrote.

mod actors;
mod formats;
mod harness;
mod model;
mod recovery;
mod snapshot;
mod supervision;
mod wal;

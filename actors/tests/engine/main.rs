//! Tests of the engine, in one binary so that it links once.
//!
//! - `model`: the job table against a small model, with random commands.
//! - `wal`, `snapshot`: torn, flipped, missing and foreign bytes; the recovery table row by row.
//! - `recovery`: the whole engine through crashes.
//! - `actors`: supervision, duties and fail-stop, with the real actors.
//! - `formats`: files that earlier versions wrote.

mod actors;
mod formats;
mod model;
mod recovery;
mod snapshot;
mod wal;

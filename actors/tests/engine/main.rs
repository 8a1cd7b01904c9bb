//! Tests of the engine, in one binary so that it links once.
//!
//! - `model`: the job table against a small model, with random commands.
//! - `wal`, `snapshot`: torn, flipped, missing and foreign bytes; the recovery table row by row.
//! - `recovery`: the whole engine through crashes.
//! - `actors`: the duties, `supervision`: restarts and fail-stop, both with the real actors.
//! - `doctor`: what is said of damage, and repairs; `doctor_crash`: repairs that are cut off.
//! - `explorer`: crashes and faults at every call to the disk; `bugs`: the explorer notices deliberate ones.
//! - `formats`: files that earlier versions wrote.
//! - `fuzz`: any bytes at all, from the corpus of the fuzz targets.

mod actors;
mod bugs;
mod doctor;
mod doctor_crash;
mod explorer;
mod formats;
mod fuzz;
mod harness;
mod load;
mod model;
mod recovery;
mod snapshot;
mod supervision;
mod wal;

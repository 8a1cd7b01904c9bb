//! Tests of the engine, in one binary so that it links once.
//!
//! - `model`: the job table against a small model, with random commands.
//! - `wal`, `snapshot`: torn, flipped, missing and foreign bytes; the recovery table row by row.
//! - `layers`: snapshots that tell only of what changed, layers that are put together, payloads read from them.
//! - `recovery`: the whole engine through crashes.
//! - `actors`: the duties, `supervision`: restarts and fail-stop, both with the real actors.
//! - `log_actor`: the log's actor by itself.
//! - `remote`: what remote workers are given and report; `queues`: pause, resume, remove; `sets`: many jobs at once,
//!   and what a job may ask for.
//! - `away`: reports of remote workers before, during and after the time in which the server did not listen.
//! - `doctor`: what is said of damage, and repairs; `doctor_crash`: repairs that are cut off;
//!   `doctor_names`: segments that lost their names.
//! - `undelivered`: jobs that could not begin.
//! - `texts`: what jobs came with and left behind, read back from the disk.
//! - `witness`: the second proof of how far the log got; `store_id`: whose files they are.
//! - `append`: what an append and its sync promise when the disk fails, and buffers that are used again.
//! - `rescue`: damage that is met while the engine runs.
//! - `locks`: directories that two engines share; `read_only`: data that is only looked at; `closing`: the mark of a clean
//!   stop; `sparse`: files of holes.
//! - `explorer`: crashes and faults at every call to the disk; `bugs`: the explorer notices deliberate ones.
//! - `names`: queues and kinds that come and go, and how many there may be.
//! - `load`: too much at once, or at the edge of numbers; `overload`: who is told that it is too much.
//! - `replay`: long logs, which two threads replay; `zeros`: segments that are filled ahead; `retire`: files
//!   whose space is given back.
//! - `formats`: files that were written once, and those that another version wrote.
//! - `fuzz`: any bytes at all, from the corpus of the fuzz targets.

mod actors;
mod append;
mod away;
mod bugs;
mod clock;
mod closing;
mod doctor;
mod doctor_crash;
mod doctor_names;
mod explorer;
mod formats;
mod fuzz;
mod harness;
mod layers;
mod load;
mod locks;
mod log_actor;
mod model;
mod names;
mod overload;
mod queues;
mod read_only;
mod recovery;
mod remote;
mod replay;
mod rescue;
mod retire;
mod sets;
mod snapshot;
mod sparse;
mod store_id;
mod supervision;
mod texts;
mod undelivered;
mod wal;
mod witness;
mod zeros;

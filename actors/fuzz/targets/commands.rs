//! Runs the body that the product's own tests replay.
#![no_main]

#[path = "../../../tests/job_fuzz/commands.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::commands(data));

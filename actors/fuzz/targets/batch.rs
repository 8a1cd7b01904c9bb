//! Runs [`beaver_actors::testing::fuzz::batch`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| beaver_actors::testing::fuzz::batch(data));

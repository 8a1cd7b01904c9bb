//! Runs [`beaver_actors::testing::fuzz::directory`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| beaver_actors::testing::fuzz::directory(data));

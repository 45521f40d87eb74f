//! See `midflight_fuzz::component`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::component(bytes));

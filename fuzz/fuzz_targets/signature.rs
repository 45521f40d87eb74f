//! See `midflight_fuzz::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::signature(bytes));

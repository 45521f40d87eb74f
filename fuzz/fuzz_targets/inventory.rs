//! See `midflight_fuzz::inventory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::inventory(bytes));

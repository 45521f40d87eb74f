//! See `midflight_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::frames(bytes));

//! See `midflight_fuzz::nodes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::nodes(bytes));

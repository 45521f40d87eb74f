//! See `midflight_fuzz::signers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::signers(bytes));

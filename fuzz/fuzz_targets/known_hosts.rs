//! See `midflight_fuzz::known_hosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::known_hosts(bytes));

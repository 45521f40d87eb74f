//! See `midflight_fuzz::ssh_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::ssh_config(bytes));

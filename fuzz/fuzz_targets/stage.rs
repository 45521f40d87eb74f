//! See `midflight_fuzz::node::stage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| midflight_fuzz::node::stage(bytes));

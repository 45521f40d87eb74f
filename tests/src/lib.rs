//! The whole, end to end: what the tests in `tests/` share (real agents, keys, clients), and the benchmark program. It
//! holds nothing that the product uses.

//! End to end: real agents, real connections, the real command line.

mod crashes;
mod phases;
mod refusals;
mod rollouts;

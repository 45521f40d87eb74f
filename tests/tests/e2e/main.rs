//! End to end: real agents, real connections, the real command line.

mod crashes;
mod demo;
mod kills;
mod machines;
mod nodes;
mod phases;
mod readme;
mod refusals;
mod rollouts;
mod serve;
mod simulator;
mod ssh;
mod sys;
mod terminal;
mod trees;

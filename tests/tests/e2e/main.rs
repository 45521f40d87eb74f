//! End to end: real agents, real connections, the real command line.

mod crashes;
mod demo;
mod nodes;
mod phases;
mod readme;
mod refusals;
mod rollouts;
mod simulator;
mod sys;
mod trees;

//! Doing one thing on many nodes at once from an engineer's command line: who is next, what each said, and who said the same.
//! Read [`drive`] (who is worked on, and how that is stopped), [`shell`] (how a command runs on a node), [`answer`] (what a node
//! said and how it ended), [`run`](mod@run) (one command on all of them), [`groups`] (who said the same), [`diff`], [`text`]
//! and [`json`] (how people and programs see it).

pub mod answer;
pub mod diff;
pub mod drive;
pub mod groups;
pub mod json;
pub mod lines;
pub mod run;
pub mod shell;
pub mod ssh;
pub mod text;

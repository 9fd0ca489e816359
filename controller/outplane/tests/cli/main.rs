//! The built binary on files, pipes and the embedded switch.

mod check;
mod compile;
mod help;
mod support;
mod trace;

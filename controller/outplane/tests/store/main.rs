//! `outplane store`: the built binary, killed and stopped.

mod kill;
mod process;
mod start;

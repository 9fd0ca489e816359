//! A lab in network namespaces: hosts behind one P4 switch, real packets between them.
//!
//! `cargo xtask demo` and the end-to-end tests share it. It needs root, `ip` and `ethtool`; everything that it makes
//! lives in namespaces of its own and goes when [`Lab`] is dropped; what a killed run left behind goes when the next
//! lab starts.

mod agent;
mod lab;
mod netns;
mod process;
mod switch;

pub use agent::{Agent, Flow, FlowResult, Outcome, Stream, StreamReport, Transport};
pub use lab::{Host, Lab};
pub use netns::{Namespace, why_not};
pub use process::Process;
pub use switch::{Switch, SwitchKind};

/// The agent's program: reads requests from standard input until it ends.
pub fn agent_program() -> anyhow::Result<()> {
    agent::program::run()
}

//! `outplane controller`: claims tasks and executes them, until a signal.

use outplane_rmdp_core::config::Role;

use crate::daemon;
use crate::exit::Exit;
use crate::options::Global;

pub(crate) use crate::daemon::Arguments;

/// Runs until it is drained.
pub(crate) fn run(arguments: &Arguments, global: &Global) -> anyhow::Result<Exit> {
    daemon::run(arguments, Role::Controller, global)
}

//! Exit codes: one small table for all commands.

use std::process::ExitCode;

/// How a command ended. The numbers are part of the interface: docs/command.md, `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// It did what it was asked to do.
    Done = 0,
    /// The input is wrong, or an answer was not the expected one.
    Failed = 1,
    /// `plan --detailed-exitcode`: something would change.
    Changes = 2,
    /// A switch could not be reached or refused something.
    Switch = 3,
    /// The store could not be reached, or cannot be trusted with claims.
    Store = 4,
    /// Stopped by SIGINT or SIGTERM before the end.
    Interrupted = 130,
}

/// Exit code of a command line that cannot be understood, as clap has it.
pub(crate) const USAGE: u8 = 2;

/// The table, as `--help` prints it.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done; trace: whatever the verdict is
  1    the input is wrong (errors in files, check --strict: warnings, trace:
       a bad batch line, an unexpected verdict), or a file could not be read
       or written
  2    the command line is wrong; plan --detailed-exitcode: something would
       change (a wrong command line is 1 there)
  3    a switch could not be reached or refused something; the others were
       still done. apply --config: a switch has not come to the new generation
       (in time, or at all), and the output says why; probe: a switch does not
       answer
  4    the store could not be reached or refused access; distributor,
       controller: the store does not create exactly once, so it cannot be
       trusted with claims
  130  stopped by SIGINT or SIGTERM; apply: the next apply repairs what is
       left; apply --config: the generation stands";

/// How a command ended that failed.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    let of_node = error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(outplane_rmdp_node::Error::Store(_)))
            || cause.downcast_ref::<outplane_rmdp_store::Error>().is_some()
    });
    let of_switch = error
        .chain()
        .any(|cause| cause.is::<outplane_driver_p4runtime::Error>() || cause.is::<SwitchTrouble>());
    match (of_node, of_switch) {
        (true, _) => Exit::Store,
        (_, true) => Exit::Switch,
        _ => Exit::Failed,
    }
}

/// What to do about a store that does not answer.
const STORE_AWAY: &str = "is the store up, and is this its address (`endpoints` of [store] in the file of --config)? Until it \
                          answers, switches forward by what they have, and each node's own page says how it is";

/// What may be done about an error that does not say it itself.
pub(crate) fn cure(error: &anyhow::Error) -> Option<&'static str> {
    use outplane_rmdp_store::Error::Unavailable;
    let is_away = error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(outplane_rmdp_node::Error::Store(Unavailable { .. })))
            || matches!(cause.downcast_ref(), Some(Unavailable { .. }))
    });
    is_away.then_some(STORE_AWAY)
}

/// What is wrong with a switch, in words.
#[derive(Debug)]
pub(crate) struct SwitchTrouble(pub(crate) String);

impl std::fmt::Display for SwitchTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SwitchTrouble {}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A mistake in the command line that only shows after parsing it.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

//! The command line: every command by its name. It knows the commands, and no command knows it.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands;
use crate::exit::{self, Exit};
use crate::options::Global;

/// A firewall in switches: checks and compiles policies, and keeps P4 switches at what they say.
///
/// Files and folders with policies are positional everywhere, in any order; folders are read recursively, `-` is
/// standard input.
#[derive(Debug, Parser)]
#[command(name = "outplane", version, max_term_width = 110, after_help = exit::HELP, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read policies, report every error and warning, and show what they cost and open
    Check(commands::check::Arguments),
    /// Print what each switch should hold
    Compile(commands::compile::Arguments),
    /// Say what happens to a packet, and which rule decides
    Trace(commands::trace::Arguments),
    /// Show what `apply` would change on the switches, without changing it
    Plan(commands::plan::Arguments),
    /// Bring the switches to what the policies say
    Apply(commands::apply::Arguments),
    /// Show what is in the switches: tables, counters, capacity
    Show(commands::show::Arguments),
    /// Run a distributor: compiles each generation of the intent and hands its tasks to the controllers
    Distributor(commands::distributor::Arguments),
    /// Run a controller: claims tasks and brings switches to what they should hold
    Controller(commands::controller::Arguments),
    /// Read or change the shared configuration, which all nodes follow
    Config(commands::config::Arguments),
    /// Show controllers, distributors, the store, what is degraded, and the last tasks
    Status(commands::status::Arguments),
    /// Ask through the controllers whether switches answer
    Probe(commands::probe::Arguments),
    /// Look at the generations of the intent log, compare them, go back to one
    Intent(commands::intent::Arguments),
    /// Print the packets that rules with `log` denied
    Log(commands::log::Arguments),
    /// List pending and recent tasks, or tell the life of one
    Tasks(commands::tasks::Arguments),
    /// Run the embedded P4Runtime switch, for development and small labs
    Softswitch(commands::softswitch::Arguments),
    /// Run the embedded store, an S3 endpoint for one machine
    Store(commands::store::Arguments),
    /// Print a shell's completion script
    Completions(commands::completions::Arguments),
    /// Print the manual page, or write those of all commands to a folder
    Man(commands::man::Arguments),
}

impl Cli {
    /// Whether the command runs as a daemon, which logs as its file says.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self.command, Command::Distributor(_) | Command::Controller(_))
    }

    /// Runs the command that is asked for.
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        let output = self.global.output;
        match self.command {
            Command::Check(arguments) => commands::check::run(&arguments, output),
            Command::Compile(arguments) => commands::compile::run(&arguments, output),
            Command::Trace(arguments) => commands::trace::run(&arguments, output),
            Command::Plan(arguments) => commands::plan::run(&arguments, output),
            Command::Apply(arguments) => commands::apply::run(&arguments, output),
            Command::Show(arguments) => commands::show::run(&arguments, output),
            Command::Distributor(arguments) => commands::distributor::run(&arguments, &self.global),
            Command::Controller(arguments) => commands::controller::run(&arguments, &self.global),
            Command::Config(arguments) => commands::config::run(&arguments, output),
            Command::Status(arguments) => commands::status::run(&arguments, output),
            Command::Probe(arguments) => commands::probe::run(&arguments, output),
            Command::Intent(arguments) => commands::intent::run(&arguments, output),
            Command::Log(arguments) => commands::log::run(&arguments, output),
            Command::Tasks(arguments) => commands::tasks::run(&arguments, output),
            Command::Softswitch(arguments) => commands::softswitch::run(&arguments, output),
            Command::Store(arguments) => commands::store::run(&arguments, output),
            Command::Completions(arguments) => commands::completions::run(&arguments, Self::command()),
            Command::Man(arguments) => commands::man::run(&arguments, Self::command()),
        }
    }
}

/// The usage line of the subcommand that these arguments call.
pub(crate) fn usage(arguments: impl IntoIterator<Item = OsString>) -> clap::builder::StyledStr {
    let mut command = Cli::command();
    command.build();
    for argument in arguments {
        if let Some(called) = command.find_subcommand(&argument) {
            command = called.clone();
        }
    }
    command.render_usage()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_usage_line_is_the_subcommands() {
        for (arguments, line) in [
            (&["apply", "x.yaml"][..], "Usage: outplane apply [OPTIONS] <FILES>..."),
            (&["-o", "json", "show", "tables", "--switch", "check"], "Usage: outplane show tables [OPTIONS]"),
            (&["intent", "diff"], "Usage: outplane intent diff [OPTIONS]"),
        ] {
            let usage = usage(arguments.iter().map(OsString::from)).to_string();
            assert!(usage.starts_with(line), "{usage}");
        }
    }
}

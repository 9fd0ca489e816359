//! The command line: options that all commands share, and the commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::commands;
use crate::exit;

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

/// Options of all commands.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// How results are printed: for people, or as JSON whose shape docs/command.md describes
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Log to standard error what is being done; twice for more (`OUTPLANE_LOG` filters by module)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log_format: Format,
}

/// Text for people, JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
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

/// Where the policies are, and as of when.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sources {
    /// Files and folders with policies, in any order; `-` is standard input
    #[arg(required = true, value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) when: When,
}

/// As of when rules that expire are looked at.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct When {
    /// Take rules that expire as of this time, for example 2027-01-31T12:00:00Z or 2027-01-31 (UTC midnight)
    /// [default: now]
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    at: Option<Timestamp>,
}

impl When {
    /// The time asked for, or now.
    pub(crate) fn timestamp(self) -> Timestamp {
        self.at.unwrap_or_else(Timestamp::now)
    }
}

/// An RFC 3339 time, or a date, which means its first instant in UTC.
fn timestamp(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    text.parse::<jiff::civil::Date>()
        .ok()
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| "neither a time like 2027-01-31T12:00:00Z nor a date like 2027-01-31".to_owned())
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

    #[test]
    fn times_and_dates_are_understood() {
        for (text, seconds) in [
            ("1970-01-01T00:00:05Z", Some(5)),
            ("1970-01-01T01:00:05+01:00", Some(5)),
            ("1970-01-02", Some(86_400)),
            ("tomorrow", None),
            ("2027-13-01", None),
        ] {
            assert_eq!(timestamp(text).ok().map(Timestamp::as_second), seconds, "{text}");
        }
    }
}

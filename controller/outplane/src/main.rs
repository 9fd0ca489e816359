//! The `outplane` command: reads policies, says what they mean, and keeps switches at them.
//!
//! Everything is decided in the crates below it (intent, compiler, driver, soft switch); here are the command
//! line, the results' shapes and the exit codes. docs/command.md is the reference.

mod alike;
mod awaited;
mod cli;
mod clocks;
mod commands;
mod compiled;
mod daemon;
mod drops;
mod entries;
mod exit;
mod expectations;
mod input;
mod logging;
mod names;
mod node;
mod options;
mod output;
mod overtaken;
mod plain;
mod progress;
mod requests;
mod rules;
mod runtime;
mod standing;
mod switches;
mod targets;
mod times;
mod values;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::exit::{Exit, USAGE, Usage};
use crate::options::Format;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    if !cli.is_daemon() {
        logging::start(&cli.global);
    }
    let output = cli.global.output;
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            if let Some(Usage(words)) = error.downcast_ref() {
                said(output, words);
                if matches!(output, Format::Text) {
                    let usage = cli::usage(std::env::args_os().skip(1));
                    let _ = writeln!(anstream::stderr(), "\n{usage}\n\nFor more information, try '--help'.");
                }
                return of_usage();
            }
            failed(output, &error);
            exit::of(&error).into()
        }
    }
}

/// Help and version, too, arrive as clap's errors.
fn not_understood(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done.into();
    }
    of_usage()
}

/// The exit code of a command line that is wrong.
fn of_usage() -> ExitCode {
    // There 2 means changes, as in other tools that have this option: a script must be able to tell them apart.
    if std::env::args_os().any(|argument| argument == "--detailed-exitcode") {
        return Exit::Failed.into();
    }
    ExitCode::from(USAGE)
}

/// Says what went wrong on standard error.
fn failed(format: Format, error: &anyhow::Error) {
    if let Some(refused) = error.downcast_ref::<input::Refused>() {
        refused.print(format);
        return;
    }
    let mut text = output::causes(error.as_ref());
    if let Some(cure) = exit::cure(error) {
        text = format!("{text}; {cure}");
    }
    said(format, &text);
}

fn said(format: Format, text: &str) {
    let mut stderr = plain::Plain(anstream::AutoStream::auto(std::io::stderr().lock()));
    let _ = match format {
        Format::Text => writeln!(stderr, "{}: {text}", output::styled(output::BAD, "error")),
        Format::Json => writeln!(stderr, "{}", serde_json::json!({ "error": text })),
    };
}

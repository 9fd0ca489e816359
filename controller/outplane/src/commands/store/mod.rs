//! `outplane store`: the embedded store, and what is done with any store: backups, and recovery.

mod backup;
mod half;
mod recover;
mod report;
mod restore;
mod serve;

use clap::Subcommand;

use crate::exit::Exit;
use crate::options::Format;

/// Arguments of `store`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write all of a store into one file, while nodes go on working
    #[command(disable_version_flag = true)]
    Backup(backup::Arguments),
    /// Write a backup into an empty store, or into a folder for the embedded store
    #[command(disable_version_flag = true)]
    Restore(restore::Arguments),
    /// Make a store that has gone back, or is empty, one that nodes and switches can go on with
    #[command(disable_version_flag = true)]
    Recover(recover::Arguments),
}

/// Serves, or does what the subcommand says.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    match &arguments.command {
        None => serve::run(&arguments.serve, format),
        Some(Command::Backup(arguments)) => backup::run(arguments, format),
        Some(Command::Restore(arguments)) => restore::run(arguments, format),
        Some(Command::Recover(arguments)) => recover::run(arguments, format),
    }
}

//! `outplane completions`: a shell's completion script.

use std::io::Write as _;

use clap_complete::Shell;

use crate::exit::Exit;
use crate::output;

/// Arguments of `completions`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(arguments: &Arguments, mut program: clap::Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "outplane", &mut script);
    output::write(|mut out| {
        out.write_all(&script)?;
        out.flush()
    })?;
    Ok(Exit::Done)
}

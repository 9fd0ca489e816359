//! `outplane man`: manual pages.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::exit::Exit;
use crate::output;

/// Arguments of `man`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Write outplane.1 and a page for each command to this folder, which is created if need be
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints outplane(1), or writes all pages.
pub(crate) fn run(arguments: &Arguments, program: clap::Command) -> anyhow::Result<Exit> {
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(program, folder))
            .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
        return Ok(Exit::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(program.disable_help_subcommand(true)).render(&mut page)?;
    output::write(|mut out| {
        out.write_all(&page)?;
        out.flush()
    })?;
    Ok(Exit::Done)
}

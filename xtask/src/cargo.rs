//! Running cargo, and finding what it built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Cargo, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once(name.to_string_lossy()).chain(words).collect::<Vec<_>>().join(" ")
}

/// What a build made.
pub(crate) struct Built {
    /// The outplane command.
    pub(crate) outplane: PathBuf,
    /// The agent for hosts of a lab.
    pub(crate) agent: PathBuf,
}

/// Builds the outplane command and the lab's agent, optimised.
pub(crate) fn build() -> Result<Built> {
    println!("building outplane (the first time takes some minutes)");
    run(cargo().args(["build", "--release", "--package", "outplane", "--package", "outplane-testbed"]))?;
    let folder = target().join("release");
    Ok(Built { outplane: folder.join("outplane"), agent: folder.join("outplane-lab-agent") })
}

/// The target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

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

/// What a build made. The programs find each other in their folder.
pub(crate) struct Built {
    /// The demo.
    pub(crate) demo: PathBuf,
    /// The benches.
    pub(crate) bench: PathBuf,
}

/// Builds the outplane command, the lab's agent, the demo and the benches, optimised.
pub(crate) fn build() -> Result<Built> {
    println!("building outplane (the first time takes some minutes)");
    let packages = ["--package", "outplane", "--package", "outplane-testbed", "--package", "outplane-tests"];
    run(cargo().args(["build", "--release", "--bins"]).args(packages))?;
    let folder = target().join("release");
    Ok(Built { demo: folder.join("outplane-demo"), bench: folder.join("outplane-bench") })
}

/// The target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

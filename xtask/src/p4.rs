//! `cargo xtask p4`: outplane.p4 through p4c.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{root, run};
use crate::setup;

/// The compiler's BMv2 back end.
const P4C: &str = "p4c-bm2-ss";

/// The compiled files, committed beside the program.
const OUTPUTS: [&str; 2] = ["outplane.p4info.txt", "outplane.json"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if the committed files are not what p4c makes of the program.
    #[arg(long)]
    check: bool,
}

pub(crate) fn stale() -> Result<Option<String>> {
    if !setup::program(P4C) {
        return Ok(Some(format!(
            "P4Info and BMv2 JSON not compared with outplane.p4: `{P4C}` is not on PATH"
        )));
    }
    check()?;
    Ok(None)
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    if !setup::program(P4C) {
        bail!("`{P4C}` is not on PATH: install p4c with its BMv2 back end, then start again");
    }
    if arguments.check {
        return check();
    }
    compile(&root().join("p4"))?;
    println!("wrote {}", OUTPUTS.map(|name| format!("p4/{name}")).join(" and "));
    Ok(())
}

/// Compiles into `folder`, from within p4/, so that source references are relative.
fn compile(folder: &Path) -> Result<()> {
    let [info, json] = OUTPUTS.map(|name| folder.join(name));
    run(Command::new(P4C)
        .current_dir(root().join("p4"))
        .args(["--std", "p4-16", "--p4runtime-files"])
        .arg(info)
        .arg("-o")
        .arg(json)
        .arg("outplane.p4"))
}

fn check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    compile(folder.path())?;
    for name in OUTPUTS {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        if read(&folder.path().join(name))? != read(&root().join("p4").join(name))? {
            bail!("p4/{name} is stale: run `cargo xtask p4` and commit the result");
        }
    }
    Ok(())
}

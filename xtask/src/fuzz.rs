//! `cargo xtask fuzz`: the fuzz targets in fuzz/, one after the other.

use anyhow::{Result, ensure};

use crate::cargo::{cargo, root, run};
use crate::setup;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this target; without it, all.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    if !setup::program("cargo-fuzz") {
        println!("installing cargo-fuzz: it builds and runs the targets");
        run(cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let targets: Vec<_> = targets()?
        .into_iter()
        .filter(|name| arguments.target.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    ensure!(!targets.is_empty(), "no such target; fuzz/fuzz_targets has {}", self::targets()?.join(", "));
    for target in targets {
        println!("fuzzing {target} for {} s", arguments.seconds);
        run(std::process::Command::new("cargo")
            .current_dir(root())
            .args(["+nightly", "fuzz", "run", &target, "--", "-timeout=10", "-rss_limit_mb=4096"])
            .arg(format!("-max_total_time={}", arguments.seconds)))?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if let (Some(name), Some("rs")) = (path.file_stem(), path.extension().and_then(|end| end.to_str())) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

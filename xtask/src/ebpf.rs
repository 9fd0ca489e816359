//! `cargo xtask ebpf`: the XDP program through the nightly compiler and bpf-linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{root, run};
use crate::setup;

/// The compiled program, committed in the package of its loader.
const OUTPUT: &str = "ebpf/loader/rmdp.bpf.o";

const TARGET: &str = "bpfel-unknown-none";

/// Its LLVM is the one that bpf-linker is built with, and other compilers make other bytes.
const TOOLCHAIN: &str = "nightly-2026-05-19";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if the committed object is not what the compiler makes of the program.
    #[arg(long)]
    check: bool,
}

pub(crate) fn stale() -> Result<Option<String>> {
    if let Some(missing) = missing() {
        return Ok(Some(format!("XDP program not compared with its source: {missing}")));
    }
    check()?;
    Ok(None)
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    if let Some(missing) = missing() {
        bail!("{missing}; ebpf/README.md tells how to install what is needed");
    }
    if arguments.check {
        return check();
    }
    compile(&root().join(OUTPUT))?;
    println!("wrote {OUTPUT}");
    Ok(())
}

/// What of the tool chain is not there.
fn missing() -> Option<String> {
    let Ok(sysroot) = sysroot() else {
        return Some(format!(
            "the compiler {TOOLCHAIN} is not there (`rustup toolchain install {TOOLCHAIN}`)"
        ));
    };
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        let cure = format!("rustup component add rust-src --toolchain {TOOLCHAIN}");
        return Some(format!("the compiler {TOOLCHAIN} has no source of `core` (`{cure}`)"));
    }
    if !setup::program("bpf-linker") && !cargo_home().join("bin/bpf-linker").is_file() {
        return Some("`bpf-linker` is not on PATH".to_owned());
    }
    None
}

fn sysroot() -> Result<PathBuf> {
    let output = Command::new("rustc").args([&format!("+{TOOLCHAIN}"), "--print", "sysroot"]).output()?;
    if !output.status.success() {
        bail!("`rustc +{TOOLCHAIN}` does not work");
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Compiles into `output`. No path of this machine gets in, so that the same bytes come out wherever it is done.
fn compile(output: &Path) -> Result<()> {
    let sysroot = sysroot()?;
    let program = root().join("ebpf/program");
    let mut flags = vec![
        "-Clink-arg=--btf".to_owned(),
        // Packets have no alignment, and the kernel's processors need none.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
    ];
    // Sources of crates lie in a folder for each registry, whose name says which one it is.
    let registries = std::fs::read_dir(cargo_home().join("registry/src")).into_iter().flatten().flatten();
    let registries = registries.map(|registry| (registry.path(), "/registry"));
    let others = [(root().to_path_buf(), "/outplane"), (sysroot.clone(), "/toolchain")];
    for (from, to) in registries.chain(others) {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain([cargo_home().join("bin")]))?;
    // The outer cargo's and compiler's choice is not for this build.
    run(Command::new("rustup")
        .current_dir(&program)
        .env("PATH", path)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_TARGET_DIR")
        .args(["run", TOOLCHAIN, "cargo", "build", "--quiet", "--locked", "--release"])
        .args(["--target", TARGET, "-Zbuild-std=core"]))?;
    let built = program.join("target").join(TARGET).join("release/rmdp");
    // BTF stays; DWARF, which it was made from, goes.
    let objcopy = objcopy(&sysroot)?;
    run(Command::new(objcopy)
        .env("LD_LIBRARY_PATH", sysroot.join("lib"))
        .arg("--strip-debug")
        .args([&built, output]))
}

/// The compiler's own, for its host.
fn objcopy(sysroot: &Path) -> Result<PathBuf> {
    for host in std::fs::read_dir(sysroot.join("lib/rustlib"))?.flatten() {
        let path = host.path().join("bin/rust-objcopy");
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("the compiler has no rust-objcopy")
}

fn check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fresh = folder.path().join("rmdp.bpf.o");
    compile(&fresh)?;
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if read(&fresh)? != read(&root().join(OUTPUT))? {
        bail!(
            "{OUTPUT} is not what `{}` makes of ebpf/program: run `cargo xtask ebpf` and commit the result",
            version()
        );
    }
    Ok(())
}

/// Another nightly may make other bytes.
fn version() -> String {
    let output = Command::new("rustc").args([&format!("+{TOOLCHAIN}"), "--version"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

//! `cargo xtask package`: the crates that other projects can use, as packages.

use std::process::Command;

use anyhow::Result;

use crate::cargo::{cargo, run};

/// Those that are published; all others are `publish = false`.
const LIBRARIES: [&str; 7] = [
    "outplane-admission",
    "outplane-p4",
    "outplane-p4runtime",
    "outplane-p4runtime-client",
    "outplane-rmdp-wire",
    "outplane-softswitch",
    "outplane-xdp",
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also build each package from what is in it, as its users will; takes minutes.
    #[arg(long)]
    verify: bool,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    run(&mut command(arguments.verify))
}

fn command(verify: bool) -> Command {
    let mut command = cargo();
    command.args(["package", "--allow-dirty"]).args(LIBRARIES.iter().flat_map(|name| ["--package", name]));
    if !verify {
        command.args(["--no-verify", "--offline"]);
    }
    command
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, bail};

    use super::*;
    use crate::cargo::root;

    /// What a command prints.
    fn output(command: &mut Command) -> Result<String> {
        let output = command.output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The names of the crates that a user of this one gets.
    fn tree(package: &str, features: &[&str]) -> Vec<String> {
        let mut command = cargo();
        command.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
        command.args(["--package", package]).args(features);
        let lines = output(&mut command).expect("a tree");
        lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    fn has(tree: &[String], name: &str) -> bool {
        tree.iter().any(|known| known == name)
    }

    #[test]
    fn packages_are_made_offline_with_all_that_belongs_into_them() {
        let folder = tempfile::tempdir().expect("a folder");
        output(command(false).arg("--target-dir").arg(folder.path())).expect("packages");
        for name in LIBRARIES {
            let mut command = cargo();
            command.args(["package", "--allow-dirty", "--offline", "--list", "--package", name]);
            let files = output(&mut command).expect("a list");
            let has = |file: &str| files.lines().any(|known| known == file);
            for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
                assert!(has(file), "{name} is without {file}");
            }
            if name == "outplane-xdp" {
                assert!(has("rmdp.bpf.o") && has("src/abi.rs"), "{files}");
            }
        }
    }

    /// What is in a package is what its manifest says: nothing is included from beside it.
    #[test]
    fn sources_reach_for_nothing_outside_of_their_package() {
        for (name, manifest) in manifests() {
            let folder = manifest.parent().expect("a manifest lies in a folder").to_owned();
            let mut folders = vec![folder.clone()];
            while let Some(next) = folders.pop() {
                for entry in std::fs::read_dir(&next).expect("a folder").flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        folders.push(path);
                        continue;
                    }
                    if path.extension().is_none_or(|extension| extension != "rs") {
                        continue;
                    }
                    let depth = path.strip_prefix(&folder).expect("inside").components().count() - 1;
                    let text = std::fs::read_to_string(&path).expect("a source");
                    let above = format!("\"{}", "../".repeat(depth + 1));
                    assert!(!text.contains(&above), "{name}: {} reaches outside", path.display());
                }
            }
        }
    }

    /// Name and manifest of each library.
    fn manifests() -> Vec<(&'static str, std::path::PathBuf)> {
        LIBRARIES
            .iter()
            .map(|name| {
                let id = output(cargo().args(["pkgid", "--offline", "--package", name])).expect("a package");
                let path = id.trim().trim_start_matches("path+file://");
                let path = path.split('#').next().expect("a path");
                (*name, std::path::Path::new(path).join("Cargo.toml"))
            })
            .collect()
    }

    #[test]
    fn manifests_say_what_people_look_for() {
        for (name, path) in manifests() {
            let manifest = std::fs::read_to_string(&path).expect("a manifest");
            let keys = [
                "description",
                "license",
                "rust-version",
                "readme",
                "documentation",
                "keywords",
                "categories",
            ];
            for key in keys {
                let is_there = manifest
                    .lines()
                    .any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.'])));
                assert!(is_there, "{name} has no {key}");
            }
            assert!(!manifest.contains("publish = false"), "{name} is published");
        }
        let changes = std::fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
        for name in LIBRARIES {
            assert!(changes.contains(&format!("`{name}`")), "CHANGELOG.md does not know {name}");
        }
    }

    #[test]
    fn libraries_bring_nothing_along_that_was_not_asked_for() {
        let codec = tree("outplane-p4runtime", &[]);
        for name in ["tonic", "tokio", "hyper", "h2", "rustls"] {
            assert!(!has(&codec, name), "the codec brings {name}");
        }
        assert!(has(&tree("outplane-p4runtime", &["--features", "grpc"]), "tonic"));
        let client = tree("outplane-p4runtime-client", &[]);
        let ours: std::collections::BTreeSet<_> =
            client.iter().filter(|name| name.starts_with("outplane-")).map(String::as_str).collect();
        assert_eq!(ours.into_iter().collect::<Vec<_>>(), ["outplane-p4runtime", "outplane-p4runtime-client"]);
        let loader = tree("outplane-xdp", &[]);
        assert!(!has(&loader, "tonic") && !has(&loader, "outplane-rmdp-core"));
    }
}

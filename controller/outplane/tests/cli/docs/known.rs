//! Whether the commands that a page names are there, with the options that it names: also where it only speaks of them.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::support::{outplane, root};

/// What `--help` says, by command.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Option<String>>>);

impl Known {
    fn help(&self, command: &str) -> Option<String> {
        let mut known = self.0.lock().expect("no test has panicked in here");
        known
            .entry(command.to_owned())
            .or_insert_with(|| {
                let run = outplane(command.split(' ').chain(["--help"]));
                (run.code == 0).then_some(run.out)
            })
            .clone()
    }

    /// What is wrong with a command line, if anything.
    pub(super) fn fault(&self, line: &str) -> Option<String> {
        let pieces = line.split(['|', ';', '\n']).flat_map(|piece| piece.split("&&"));
        pieces.map(str::trim).find_map(|piece| {
            let mut words = piece.split_whitespace().skip_while(|word| word.contains('=') || *word == "sudo");
            match words.next() {
                Some("outplane") => self.of_outplane(&words.collect::<Vec<_>>()),
                Some("cargo") => of_cargo(&words.collect::<Vec<_>>()),
                _ => None,
            }
        })
    }

    fn of_outplane(&self, words: &[&str]) -> Option<String> {
        let word =
            |at: usize| words.get(at).map(|word| word.trim_matches([',', '`', '\\'])).unwrap_or_default();
        let is_name = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let mut command = word(0).to_owned();
        if !is_name(&command) {
            return None;
        }
        let Some(mut help) = self.help(&command) else {
            return Some(format!("there is no `outplane {command}`"));
        };
        if help.contains("\nCommands:\n") && is_name(word(1)) {
            command = format!("{command} {}", word(1));
            let Some(of_it) = self.help(&command) else {
                return Some(format!("there is no `outplane {command}`"));
            };
            help = of_it;
        }
        let options = words.iter().map(|word| word.trim_matches(['[', ']', '`', ',']));
        let mut options = options.filter(|word| word.starts_with("--") && word.len() > 2);
        options.find_map(|option| {
            let name = option.split('=').next().unwrap_or_default();
            let mut all = help.split(|letter: char| letter.is_whitespace() || "[],<>=`".contains(letter));
            (!all.any(|known| known == name)).then(|| format!("`outplane {command}` has no {name}"))
        })
    }
}

/// Tasks of xtask and examples that a page names are there.
fn of_cargo(words: &[&str]) -> Option<String> {
    if words.first() == Some(&"xtask") {
        let name = words.get(1)?;
        let named = name.bytes().all(|byte| byte.is_ascii_lowercase());
        let file = root().join(format!("xtask/src/{name}.rs"));
        return (named && !file.is_file()).then(|| format!("there is no `cargo xtask {name}`"));
    }
    let example = words.iter().position(|word| *word == "--example").and_then(|at| words.get(at + 1))?;
    let package =
        words.iter().position(|word| ["-p", "--package"].contains(word)).and_then(|at| words.get(at + 1));
    let is_there = members().iter().any(|folder| {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_default();
        package.is_none_or(|package| manifest.contains(&format!("name = \"{package}\"")))
            && [format!("{example}.rs"), format!("{example}/main.rs")]
                .iter()
                .any(|file| root().join(folder).join("examples").join(file).is_file())
    });
    (!is_there).then(|| format!("there is no example `{example}`"))
}

/// The folders of the workspace's packages.
fn members() -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (members, _) = members.expect("the workspace lists its packages");
    members.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

//! `outplane intent show`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use outplane_rmdp_core::object::{Generation, PolicyFile};
use serde::Serialize;

use super::generation;
use crate::exit::Exit;
use crate::node::NodeArguments;
use crate::options::Format;
use crate::output::{self, Report};
use crate::runtime;
use crate::times;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Which
    #[arg(value_name = "GENERATION")]
    generation: u64,
    /// Write the files to this folder, which is made if it is not there, instead of printing them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Serialize)]
struct Shown {
    generation: u64,
    /// RFC 3339.
    at: String,
    by: String,
    /// Rules that had expired by then are left out.
    as_of: String,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    /// As it was called where it was applied.
    name: String,
    /// Where it is now, with --out.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<PathBuf>,
    text: String,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let record = runtime::block_on(generation(&node.objects, arguments.generation))??;
    let mut shown = Shown::new(record);
    if let Some(folder) = &arguments.out {
        shown.write(folder)?;
    }
    output::print(format, &shown)?;
    Ok(Exit::Done)
}

impl Shown {
    fn new(record: Generation) -> Self {
        let text = |PolicyFile { name, text }| File { name, written: None, text };
        Self {
            generation: record.generation,
            at: times::time(record.at_ms),
            by: record.author,
            as_of: times::time(u64::try_from(record.as_of_ms).unwrap_or(0)),
            files: record.files.into_iter().map(text).collect(),
        }
    }

    fn write(&mut self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut taken = BTreeSet::new();
        for file in &mut self.files {
            let path = folder.join(plain_name(&file.name, &mut taken));
            // Never over what is there, nor to where a link leads.
            let mut to =
                std::fs::OpenOptions::new().write(true).create_new(true).open(&path).with_context(|| {
                    format!(
                        "cannot make {}: --out wants a folder without files of these names",
                        path.display()
                    )
                })?;
            to.write_all(file.text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
            file.written = Some(path);
        }
        Ok(())
    }
}

/// A name for a file in one folder: paths of elsewhere lead nowhere here, and what came from standard input has none.
fn plain_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let last = Path::new(name).file_name().and_then(|name| name.to_str());
    // Standard input is called `<stdin>`.
    let last = last.filter(|name| *name != "-" && !name.starts_with('<')).unwrap_or("policy.yaml");
    let (stem, extension) = match last.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (last, "yaml"),
    };
    let mut name = format!("{stem}.{extension}");
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{stem}-{number}.{extension}");
    }
    name
}

impl Report for Shown {
    /// What can be applied again: comments say where it is from.
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "# Generation {}, of {}, by {}", self.generation, self.at, self.by)?;
        for (place, file) in self.files.iter().enumerate() {
            if let Some(path) = &file.written {
                writeln!(out, "# {} is {}", file.name, path.display())?;
                continue;
            }
            if place > 0 {
                writeln!(out, "---")?;
            }
            writeln!(out, "# {}", file.name)?;
            write!(out, "{}", file.text)?;
            if !file.text.ends_with('\n') {
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_differ() {
        let mut taken = BTreeSet::new();
        let names =
            ["a/policy.yaml", "b/policy.yaml", "<stdin>", "../../etc/passwd", "/", "..", ".hidden", "x.json"];
        let names = names.map(|name| plain_name(name, &mut taken));
        let wanted = [
            "policy.yaml",
            "policy-2.yaml",
            "policy-3.yaml",
            "passwd.yaml",
            "policy-4.yaml",
            "policy-5.yaml",
            ".hidden.yaml",
            "x.json",
        ];
        assert_eq!(names, wanted);
    }
}

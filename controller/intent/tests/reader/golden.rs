//! Every fault, as people see it: `tests/golden/<name>.yaml` is read and rendered as `<name>.txt` has it.
//! `UPDATE_GOLDEN=1` writes the texts anew.

use std::fs;
use std::path::{Path, PathBuf};

use outplane_intent::reader::{Diagnostic, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn rendered(name: &str, text: &str) -> String {
    let all: Vec<Diagnostic> = match parse([(name, text)]) {
        Ok(loaded) => {
            let expired = loaded.expired("2026-01-01T00:00:00Z".parse().unwrap());
            loaded.warnings.into_iter().chain(expired).collect()
        }
        Err(diagnostics) => {
            let shown = diagnostics.render(false);
            return format!("{diagnostics}\n\n{shown}");
        }
    };
    let texts: Vec<String> = all.iter().map(|warning| warning.render(false)).collect();
    format!("warnings: {}\n\n{}", texts.len(), texts.join("\n"))
}

#[test]
fn faults() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut inputs: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|end| end != "txt"));
    inputs.sort();
    assert!(inputs.len() > 10, "the golden files are not there");
    let mut stale = Vec::new();
    for input in inputs {
        let name = input.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&input).unwrap();
        let shown = rendered(name, &text);
        let golden = folder().join(format!("{name}.txt"));
        if update {
            fs::write(&golden, &shown).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != shown {
            stale.push(format!("{name}:\n{shown}"));
        }
    }
    let help = "set UPDATE_GOLDEN=1 to accept what is new";
    assert!(stale.is_empty(), "these differ from tests/golden ({help}):\n{}", stale.join("\n"));
}

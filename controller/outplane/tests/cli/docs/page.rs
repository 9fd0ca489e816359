//! A page's console blocks: commands, what follows them, and what the page says to the test.

use std::fmt;
use std::path::PathBuf;

use crate::support::root;

/// Where something stands in a page.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) page: String,
    /// From 1.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.page, self.line)
    }
}

/// A command line, and the output that the page shows for it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) place: Place,
    /// As a shell reads it, heredoc and continued lines included.
    pub(super) command: String,
    pub(super) output: Vec<String>,
    /// The line of the first of them.
    pub(super) output_from: usize,
    /// The page shows Ctrl-C at the end of its output.
    pub(super) interrupted: bool,
}

impl Shown {
    /// It goes on while the next ones run.
    pub(super) fn is_background(&self) -> bool {
        self.command.trim_end().ends_with('&')
    }
}

/// What the page says about a block, in the comment before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Marker {
    /// It cannot be run here, and why.
    pub(super) not_run: Option<String>,
    /// What the last command ends with.
    pub(super) exit: i32,
    /// Words that may stand for each other.
    pub(super) either: Vec<String>,
}

/// A part of a page that a test runs, in its order.
#[derive(Debug)]
pub(super) enum Part {
    /// Lines of a comment that prepare what the page takes for granted.
    Setup(Place, String),
    /// What ran before ends; what follows begins in an empty folder, with a network of its own.
    New,
    Block(Marker, Vec<Shown>),
}

/// A page of the repository.
pub(super) struct Page {
    /// Its path from the root.
    pub(super) name: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn path(&self) -> PathBuf {
        root().join(&self.name)
    }

    fn place(&self, line: usize) -> Place {
        Place { page: self.name.clone(), line }
    }

    /// Its parts, or where it says what no test understands or sees.
    pub(super) fn parts(&self) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        let mut lines = self.text.lines().zip(1..);
        let mut marker: Option<Marker> = None;
        while let Some((line, number)) = lines.next() {
            let place = self.place(number);
            if let Some(rest) = line.strip_prefix("<!-- test setup:") {
                let mut script = rest.to_owned();
                while !script.contains("-->") {
                    let (next, _) = lines.next().ok_or_else(|| format!("{place}: the comment has no end"))?;
                    script = format!("{script}\n{next}");
                }
                parts.push(Part::Setup(place, script.trim_end().trim_end_matches("-->").to_owned()));
            } else if let Some(rest) = line.strip_prefix("<!-- test:") {
                match rest.trim() {
                    "new -->" => parts.push(Part::New),
                    _ => marker = Some(Marker::read(rest).map_err(|why| format!("{place}: {why}"))?),
                }
            } else if let Some(language) = line.trim_start().strip_prefix("```") {
                let body: Vec<_> =
                    lines.by_ref().take_while(|(line, _)| line.trim_start() != "```").collect();
                if language == "console" {
                    parts.push(Part::Block(marker.take().unwrap_or_default(), self.block(&body)?));
                } else if let Some((line, number)) = body.iter().find(|(line, _)| is_command(line)) {
                    return Err(format!(
                        "{}: no test sees `{line}`: it stands in a block that is no ```console",
                        self.place(*number)
                    ));
                }
            } else if marker.is_some() {
                return Err(format!("{place}: the marker before this line belongs to no block"));
            }
        }
        Ok(parts)
    }

    fn block(&self, body: &[(&str, usize)]) -> Result<Vec<Shown>, String> {
        let mut all: Vec<Shown> = Vec::new();
        let mut lines = body.iter();
        while let Some((line, number)) = lines.next() {
            let mut from = number + 1;
            let place = self.place(*number);
            let Some(command) = line.strip_prefix("$ ") else {
                let last = all.last_mut().ok_or_else(|| format!("{place}: output of no command"))?;
                match *line {
                    "^C" => last.interrupted = true,
                    line => last.output.push(line.to_owned()),
                }
                continue;
            };
            let mut command = command.to_owned();
            let mut more = |command: &mut String| {
                let (next, _) = lines.next().ok_or_else(|| format!("{place}: the command has no end"))?;
                *command = format!("{command}\n{next}");
                from += 1;
                Ok::<_, String>(*next == "EOF")
            };
            while command.ends_with('\\') {
                more(&mut command)?;
            }
            if command.contains("<<EOF") || command.contains("<<'EOF'") {
                while !more(&mut command)? {}
            }
            all.push(Shown { place, command, output: Vec::new(), output_from: from, interrupted: false });
        }
        Ok(all)
    }
}

impl Marker {
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim_end().strip_suffix("-->").ok_or("the marker goes over its line")?;
        let mut marker = Self::default();
        for part in text.split(';').map(str::trim) {
            let (word, rest) = part.split_once([' ', ':']).unwrap_or((part, ""));
            match (word, rest.trim()) {
                ("not", why) if why.starts_with("run: ") && why.len() > 8 => {
                    marker.not_run = Some(why[5..].to_owned());
                }
                ("exit", code) => marker.exit = code.parse().map_err(|_| format!("exit {code}"))?,
                ("either", words) if words.contains(' ') => {
                    marker.either = words.split(' ').map(ToOwned::to_owned).collect();
                }
                _ => return Err(format!("the test does not know `{part}`")),
            }
        }
        Ok(marker)
    }
}

/// Whether a line of a block is to be typed: nobody should read commands that no test has seen.
fn is_command(line: &str) -> bool {
    const PROGRAMS: [&str; 14] = [
        "apt-get",
        "cargo",
        "curl",
        "export",
        "install",
        "ip",
        "journalctl",
        "kubectl",
        "openssl",
        "outplane",
        "promtool",
        "sudo",
        "systemctl",
        "useradd",
    ];
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    // Drawings and logs name programs, too.
    first == "$"
        || PROGRAMS.contains(&first)
            && words.next().is_some_and(str::is_ascii)
            && !line.contains("──")
            && !line.starts_with(' ')
}

/// Every page that people read, by its path.
pub(super) fn pages() -> Vec<Page> {
    fn walk(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("it can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let page = |path: PathBuf| Page {
        name: path.strip_prefix(&root).expect("below the root").to_str().expect("UTF-8").to_owned(),
        text: std::fs::read_to_string(&path).expect("a page is text"),
    };
    found.into_iter().map(page).collect()
}

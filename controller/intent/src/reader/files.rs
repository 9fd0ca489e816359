//! Paths to files to text.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::diagnostic::{Code, Diagnostic, Severity};
use super::encoding::{self, NoText};
use super::limits::Limits;
use super::render::quoted;
use super::sink::Sink;

/// What standard input is called.
pub const STDIN: &str = "<stdin>";

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads files in the order of the paths, those of folders sorted. Each file is read once.
pub(crate) fn read(paths: &[PathBuf], limits: &Limits, sink: &mut Sink) -> Vec<(String, String)> {
    let mut found =
        Finder { limits, sink, files: Vec::new(), known: BTreeSet::new(), full: false, found: false };
    for path in paths {
        found.path(path);
    }
    let files = found.files;
    let mut left = limits.total_bytes;
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        let name = if is_stdin(&file) { STDIN.to_owned() } else { file.display().to_string() };
        match contents(&file, limits.file_bytes.min(left)) {
            Ok(bytes) => {
                left -= bytes.len();
                if let Some(text) = text(&name, bytes, sink) {
                    texts.push((name, text));
                }
            }
            Err(Unreadable::TooLarge) if left < limits.file_bytes => {
                let message = format!("the files together have more than {} bytes", limits.total_bytes);
                sink.push(fault(&name, Code::Limit, message).help("read fewer files at once"));
                break;
            }
            Err(Unreadable::TooLarge) => {
                let message = format!("{name} has more than {} bytes", limits.file_bytes);
                sink.push(fault(&name, Code::Limit, message).help("split it into several files"));
            }
            Err(Unreadable::Io(error)) => {
                sink.push(fault(&name, Code::File, format!("cannot read {name}: {error}")));
            }
        }
    }
    texts
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn fault(file: &str, code: Code, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, code, message).of_file(file)
}

struct Finder<'f> {
    limits: &'f Limits,
    sink: &'f mut Sink,
    files: Vec<PathBuf>,
    /// Real paths of the files so far.
    known: BTreeSet<PathBuf>,
    full: bool,
    /// The folder at hand has a file, be it one that is known already.
    found: bool,
}

impl Finder<'_> {
    /// A path that the user gave.
    fn path(&mut self, path: &Path) {
        if is_stdin(path) {
            self.file(path, PathBuf::from("-"));
            return;
        }
        let shown = path.display().to_string();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                self.found = false;
                self.folder(path, 1);
                if !self.found {
                    let message = format!("{shown} has no files that end with .yaml, .yml or .json");
                    let warning = Diagnostic::new(Severity::Warning, Code::File, message);
                    self.sink.push(warning.of_file(shown));
                }
            }
            Ok(_) => self.real_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no file or folder {}", quoted(&shown));
                self.sink
                    .push(fault(&shown, Code::File, message).help("check the path; `-` is standard input"));
            }
            Err(error) => self.sink.push(fault(&shown, Code::File, format!("cannot read {shown}: {error}"))),
        }
    }

    /// A folder's files, its folders' files, in the order of their names. Hidden ones and folders behind symbolic
    /// links are left out: a mounted `ConfigMap` holds its files a second time in such.
    fn folder(&mut self, path: &Path, depth: usize) {
        let shown = path.display().to_string();
        if depth > self.limits.folder_depth {
            let message = format!("{shown} is more than {} folders deep", self.limits.folder_depth);
            self.sink.push(fault(&shown, Code::Limit, message));
            return;
        }
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => {
                self.sink.push(fault(&shown, Code::File, format!("cannot read {shown}: {error}")));
                return;
            }
        };
        let mut paths: Vec<PathBuf> = entries
            .iter()
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(fs::DirEntry::path)
            .collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                if !path.is_symlink() {
                    self.folder(&path, depth + 1);
                }
            } else if path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known)) {
                // A pipe that nobody writes would be waited for without end. On the command line one is meant.
                if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
                    let shown = path.display().to_string();
                    let message = format!("{shown} is no regular file");
                    self.sink.push(
                        fault(&shown, Code::File, message)
                            .help("name it on the command line, or take it away"),
                    );
                    continue;
                }
                self.real_file(&path);
            }
        }
    }

    fn real_file(&mut self, path: &Path) {
        self.found = true;
        // A file that cannot be resolved cannot be opened either, which is reported then.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.file(path, real);
    }

    fn file(&mut self, path: &Path, real: PathBuf) {
        if self.full || !self.known.insert(real) {
            return;
        }
        if self.files.len() >= self.limits.files {
            self.full = true;
            let message = format!("more than {} files", self.limits.files);
            self.sink
                .push(fault(&path.display().to_string(), Code::Limit, message).help("read fewer at once"));
            return;
        }
        self.files.push(path.to_owned());
    }
}

enum Unreadable {
    TooLarge,
    Io(io::Error),
}

/// A file's bytes. Never more than the limit is read, whatever the file says of its size.
fn contents(path: &Path, limit: usize) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    let most = (limit as u64).saturating_add(1);
    let read = if is_stdin(path) {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) if bytes.len() > limit => Err(Unreadable::TooLarge),
        Ok(_) => Ok(bytes),
        Err(error) => Err(Unreadable::Io(error)),
    }
}

fn text(name: &str, bytes: Vec<u8>, sink: &mut Sink) -> Option<String> {
    match encoding::decode(bytes) {
        Ok(text) => Some(text),
        Err(NoText { encoding, line }) => {
            let message =
                format!("{name} is not {encoding}: line {line} has a byte that belongs to no character");
            sink.push(fault(name, Code::Encoding, message).help("save it as UTF-8"));
            None
        }
    }
}

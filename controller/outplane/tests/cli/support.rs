//! Runs the binary and looks at what it says.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// What a run ended with.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the command was not killed"),
            out: String::from_utf8(output.stdout).expect("output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }

    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- output\n{}\n--- messages\n{}", self.out, self.err);
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }
}

/// The binary with arguments, in the repository's root.
pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outplane"));
    command.args(arguments).current_dir(root()).env_remove("OUTPLANE_LOG").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn outplane<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Run {
    Run::new(command(arguments).output().expect("the binary starts"))
}

/// Runs it to its end with something on standard input.
pub(crate) fn outplane_reading<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
    arguments: I,
    input: &[u8],
) -> Run {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let input = input.to_vec();
    // Apart, because the binary answers while it reads.
    let writer = std::thread::spawn(move || {
        // It may end without having read everything.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the writer ends");
    Run::new(output)
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root is there")
}

/// A folder for one test, removed after it.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Writes a file into a folder and returns its path.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the file can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// Compares a text with a golden file beside the tests; `UPDATE_GOLDEN=1` writes the file instead.
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be created");
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    let differs = text.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        text == expected,
        "{} differs, first at {differs:?}; UPDATE_GOLDEN=1 accepts the change",
        path.display()
    );
}

/// A running `outplane softswitch`; ends with this.
pub(crate) struct SoftSwitch {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl SoftSwitch {
    /// With no ports, on a free port.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut child = command(["softswitch", "--no-ports", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address =
            line.trim_end().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Self { child, address }
    }

    /// Asks it to end, and how it did.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        signal(&self.child, "TERM");
        self.wait()
    }

    /// How it ends by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for SoftSwitch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status();
    assert!(status.expect("sh starts").success(), "the signal is sent");
}

/// A policy of so many rules, each with sources, destinations and a port of its own.
pub(crate) fn big_policy(name: &str, rules: usize, first_port: usize) -> String {
    let head = format!(
        "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {{name: {name}}}\nspec:\n  rules:\n"
    );
    let rule = |number: usize| {
        let (high, low, port) = (number >> 8, number & 255, first_port + number % 50);
        let (from, to) = (format!("10.{high}.{low}.0/24"), format!("172.16.{high}.{low}"));
        format!(
            "  - {{name: r{number}, action: allow, from: [{from}], to: [{to}], ports: [{{port: {port}}}]}}\n"
        )
    };
    std::iter::once(head).chain((0..rules).map(rule)).collect()
}

//! The binary as a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use outplane_rmdp_store::{Secret, Settings, Store};

pub(crate) const ACCESS: &str = "test-access-key";
pub(crate) const SECRET: &str = "test-secret-key";

/// The command with keys in its environment.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outplane"));
    command
        .args(["store", "--listen", "127.0.0.1:0", "--dir"])
        .arg(folder)
        .args(arguments)
        .env("OUTPLANE_STORE_ACCESS_KEY", ACCESS)
        .env("OUTPLANE_STORE_SECRET_KEY", SECRET)
        .env_remove("OUTPLANE_LOG")
        .stdin(Stdio::null());
    command
}

/// A running store; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) output: BufReader<std::process::ChildStdout>,
}

/// Starts it and waits until it can be talked to.
pub(crate) fn start(command: &mut Command) -> Process {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it says where it listens");
    let address = line.trim_end().strip_prefix("listening on ").expect("it says where it listens").to_owned();
    Process { child, address, output }
}

impl Process {
    /// A client of it.
    pub(crate) fn client(&self) -> Store {
        let endpoints = vec![format!("http://{}", self.address)];
        let mut settings = Settings::new(endpoints, "bucket", ACCESS, Secret::new(SECRET));
        // One that gives up soon when the store is gone.
        settings.deadline = std::time::Duration::from_secs(1);
        Store::new(settings).expect("good settings")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Sends a signal by name and waits for the end.
    pub(crate) fn end(&mut self, signal: &str) -> Option<i32> {
        let line = format!("kill -{signal} {}", self.child.id());
        let sent = Command::new("sh").arg("-c").arg(line).status().expect("sh starts");
        assert!(sent.success(), "the signal is sent");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one that does not get as far as serving.
pub(crate) fn fails(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("the binary starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

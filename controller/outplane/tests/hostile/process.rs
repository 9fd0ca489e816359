//! The binary as a process, and what it took.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The binary with arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outplane"));
    command.args(arguments).env_remove("OUTPLANE_LOG").stdin(Stdio::null());
    command
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
}

/// Starts one and waits until it can be talked to.
pub(crate) fn start(command: &mut Command) -> Daemon {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("it says where it listens");
    let address = line.trim_end().strip_prefix("listening on ").expect("it says where it listens").to_owned();
    Daemon { child, address }
}

impl Daemon {
    /// Its most memory so far must be below this, MiB.
    #[track_caller]
    pub(crate) fn stays_below(&self, most: u64) {
        let peak = peak(&self.child).expect("it runs");
        println!("peak: {peak} MiB, at most {most}");
        assert!(peak < most, "{peak} MiB");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Most memory that a process had, MiB; none once it has ended.
fn peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib.div_ceil(1024))
}

/// What came of a command.
pub(crate) struct Ended {
    code: Option<i32>,
    messages: String,
    /// MiB.
    peak: u64,
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}", self.messages);
    }

    /// It must have failed, and with less memory than this, MiB.
    #[track_caller]
    pub(crate) fn failed_below(&self, what: &str, most: u64) {
        println!("peak: {} MiB, at most {most}: {what}", self.peak);
        assert!(self.code.is_some_and(|code| code != 0), "{what}: {}", self.messages);
        assert!(self.peak < most, "{what}: {} MiB; {}", self.peak, self.messages);
    }
}

/// Runs a daemon for a while: it must not end, and stay below this, MiB.
#[track_caller]
pub(crate) fn run_for(
    command: &mut Command,
    time: Duration,
    most: u64,
) -> impl std::future::Future<Output = ()> {
    let mut child = command.stdout(Stdio::null()).spawn().expect("the binary starts");
    async move {
        tokio::time::sleep(time).await;
        let ended = child.try_wait().expect("it is ours");
        let peak = peak(&child);
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(ended, None, "it goes on");
        let peak = peak.expect("it runs");
        println!("peak: {peak} MiB, at most {most}");
        assert!(peak < most, "{peak} MiB");
    }
}

/// Runs a command to its end, and looks at its memory all the time.
pub(crate) async fn run(command: &mut Command) -> Ended {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stderr = child.stderr.take().expect("a pipe");
    let messages = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        text
    });
    let mut most = 0;
    let code = loop {
        most = most.max(peak(&child).unwrap_or_default());
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status.code();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    Ended { code, messages: messages.join().expect("it ends"), peak: most }
}

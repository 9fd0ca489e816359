//! Processes that end with their owner.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program whose standard output is read line by line. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Locked only so that owners can be shared between threads.
    lines: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts `command`; `name` is what messages call it. Standard input is null unless the caller piped it.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
        let lines = read_lines(child.stdout.take().context("standard output was not piped")?);
        Ok(Self { name: name.to_owned(), child, lines: Mutex::new(lines) })
    }

    /// Starts `command`, whose standard output goes where the caller said: [`Self::line`] has none.
    pub(crate) fn start_silent(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, lines: Mutex::new(channel().1) })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, if it was piped; once.
    pub(crate) fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The next line that it prints.
    pub fn line(&mut self, patience: Duration) -> Result<String> {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        match lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("{} said nothing for {patience:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!("{} ended early: {status}", self.name)
            }
        }
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            let line = self.line(end.saturating_duration_since(Instant::now()))?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Sends it a signal: SIGSTOP, SIGCONT, SIGTERM, ..
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("no process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits until it ends, and says how it did.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} still runs after {patience:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended by itself, if it did.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.status()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts processes on a thread of its own.
///
/// A process of ours dies with the thread that started it (`Namespace::command`), which must then live as long as its
/// owner: a test's thread that restarts something and ends would take it along.
#[derive(Debug)]
pub struct Starter {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = (String, Command, bool, Sender<Result<Process>>);

impl Default for Starter {
    fn default() -> Self {
        Self::new()
    }
}

impl Starter {
    /// With its thread.
    pub fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            for (name, mut command, silent, answer) in queue {
                let start = if silent { Process::start_silent } else { Process::start };
                // Who does not wait for the answer does not want the process.
                let _ = answer.send(start(&name, &mut command));
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Like [`Process::start`].
    pub fn start(&self, name: &str, command: Command) -> Result<Process> {
        self.ask(name, command, false)
    }

    /// Like [`Process::start_silent`].
    pub(crate) fn start_silent(&self, name: &str, command: Command) -> Result<Process> {
        self.ask(name, command, true)
    }

    fn ask(&self, name: &str, command: Command, silent: bool) -> Result<Process> {
        let (answer, answered) = channel();
        let jobs = self.jobs.as_ref().context("the starter has ended")?;
        jobs.send((name.to_owned(), command, silent, answer)).context("the starter has ended")?;
        answered.recv().context("the starter has ended")?
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

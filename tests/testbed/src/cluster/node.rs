//! One process of the cluster, through all its lives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::layout::Seat;
use crate::process::{Process, Starter};

#[derive(Debug)]
pub(super) struct Node {
    seat: Seat,
    process: Option<Process>,
}

/// Where a process's output goes.
pub(super) fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

impl Node {
    pub(super) fn new(seat: Seat) -> Self {
        Self { seat, process: None }
    }

    pub(super) fn start(&mut self, starter: &Starter, folder: &Path, mut command: Command) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.seat.name);
        let path = log(folder, &self.seat.name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(starter.start_silent(&self.seat.name, command)?);
        Ok(())
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} does not run", self.seat.name))
    }

    /// Of its process.
    pub(super) fn id(&mut self) -> Result<u32> {
        Ok(self.running()?.id())
    }

    pub(super) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        let process = self.running()?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait_for_end(patience)?;
        self.process = None;
        Ok(status)
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        // Dropping kills and waits.
        self.process.take().with_context(|| format!("{} does not run", self.seat.name)).map(drop)
    }

    pub(super) fn pause(&mut self) -> Result<()> {
        self.running()?.signal(Signal::SIGSTOP)
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        self.running()?.signal(Signal::SIGCONT)
    }

    /// How it ended by itself, if it did.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), Process::status)
    }
}

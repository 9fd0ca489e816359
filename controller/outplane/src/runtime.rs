//! The asynchronous part: a runtime for the commands that talk to switches, and the signals that end them.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output;

/// How long work that blocks a thread may go on after its command's end.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// Runs a command's asynchronous part to its end; tasks that are left end with it.
pub(crate) fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(future);
    // What waits for a file system that does not answer is left behind.
    runtime.shutdown_timeout(LEFT_BEHIND);
    Ok(result)
}

/// Runs something until it ends, or until a signal: then there is no result.
pub(crate) async fn interruptible<F: Future>(future: F) -> anyhow::Result<Option<F::Output>> {
    let signals = Signals::new()?;
    tokio::select! {
        () = signals.wait() => Ok(None),
        result = future => Ok(Some(result)),
    }
}

/// As [`interruptible`], for what goes on printing: also until nobody reads it any more.
pub(crate) async fn read_or_interrupted<F: Future>(future: F) -> anyhow::Result<Option<F::Output>> {
    tokio::select! {
        () = output::unread() => Ok(None),
        result = interruptible(future) => result,
    }
}

/// What is said where a server gets no address to listen at.
pub(crate) fn cannot_listen(address: SocketAddr) -> String {
    format!("cannot listen on {address}; does another process? `--listen` names another address or port")
}

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Until one of them arrives.
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

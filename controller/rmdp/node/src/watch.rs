//! Watches the streams of the switches that a controller has sessions with, and keeps looks out of changes' way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outplane_driver_p4runtime::Primacy;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Switches that have stirred and wait to be told of; what comes on top is found by the next audit.
const STIRRED: usize = 4096;

/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Watch {
    streams: Arc<Mutex<HashMap<String, Watcher>>>,
    switches: Arc<Mutex<HashMap<String, At>>>,
    tell: mpsc::Sender<String>,
    told: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
}

/// What is at work on a switch.
#[derive(Debug, Default)]
struct At {
    /// Changes; no look begins while there is one.
    changes: usize,
    /// Stops the looks.
    looks: CancellationToken,
}

#[derive(Debug)]
struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A change is at work, as long as this lives.
#[derive(Debug)]
pub(crate) struct Change<'w> {
    watch: &'w Watch,
    switch: String,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut switches = self.watch.switches();
        if let Some(at) = switches.get_mut(&self.switch) {
            at.changes -= 1;
            if at.changes == 0 {
                switches.remove(&self.switch);
            }
        }
    }
}

impl Watch {
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::channel(STIRRED);
        let told = Arc::new(tokio::sync::Mutex::new(told));
        Self { streams: Arc::default(), switches: Arc::default(), tell, told }
    }

    /// The next switch whose stream has ended, or that has another primary. Cancel safe.
    pub async fn stirred(&self) -> String {
        match self.told.lock().await.recv().await {
            Some(switch) => switch,
            // It lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn switches(&self) -> MutexGuard<'_, HashMap<String, At>> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<String, Watcher>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change begins: looks end, and the stream is about to be another one.
    pub(crate) fn change(&self, switch: &str) -> Change<'_> {
        self.streams().remove(switch);
        let mut switches = self.switches();
        let at = switches.entry(switch.to_owned()).or_default();
        at.changes += 1;
        at.looks.cancel();
        Change { watch: self, switch: switch.to_owned() }
    }

    /// What stops a look; none: a change is at work.
    pub(crate) fn look(&self, switch: &str) -> Option<CancellationToken> {
        let mut switches = self.switches();
        let at = switches.entry(switch.to_owned()).or_default();
        (at.changes == 0).then(|| at.looks.clone())
    }

    /// Whoever was at work on a switch is through: its stream is watched from here.
    pub(crate) fn over(&self, switch: &str, primacy: Option<watch::Receiver<Primacy>>) {
        let Some(mut primacy) = primacy.filter(|primacy| is_well(&primacy.borrow())) else { return };
        let (tell, name) = (self.tell.clone(), switch.to_owned());
        let watcher = Watcher(tokio::spawn(async move {
            // A stream that nobody holds any more has ended, too.
            let _ = primacy.wait_for(|primacy| !is_well(primacy)).await;
            tracing::debug!(switch = name, primacy = ?*primacy.borrow(), "stirred");
            let _ = tell.try_send(name);
        }));
        self.streams().insert(switch.to_owned(), watcher);
    }
}

fn is_well(primacy: &Primacy) -> bool {
    matches!(primacy, Primacy::Primary | Primacy::NotOffered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_ends_is_told_of_but_for_changes() {
        let watch = Watch::new();
        let (first, primacy) = watch::channel(Primacy::Primary);
        watch.over("leaf1", Some(primacy));
        // A change takes the stream's place.
        let change = watch.change("leaf1");
        first.send_replace(Primacy::Backup(Some(9)));
        drop(change);
        let (second, primacy) = watch::channel(Primacy::Primary);
        watch.over("leaf1", Some(primacy));
        tokio::task::yield_now().await;
        second.send_replace(Primacy::Lost("gone".to_owned()));
        assert_eq!(watch.stirred().await, "leaf1");
        assert!(watch.told.lock().await.try_recv().is_err(), "once");
    }

    #[tokio::test]
    async fn a_change_ends_looks() {
        let watch = Watch::new();
        let stop = watch.look("leaf1").unwrap();
        let change = watch.change("leaf1");
        assert!(stop.is_cancelled() && watch.look("leaf1").is_none());
        drop(change);
        assert!(!watch.look("leaf1").unwrap().is_cancelled());
    }
}

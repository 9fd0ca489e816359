//! The store of a cluster, if it is Ceph.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::layout::{self, Part, Seat};
use super::{Cluster, StoreKind};
use crate::ceph::Ceph;

fn gateways(count: u8) -> Vec<SocketAddr> {
    (0..u16::from(count)).map(layout::gateway).collect()
}

/// Where the store is found.
pub(super) fn endpoints(kind: StoreKind) -> Vec<String> {
    match kind {
        StoreKind::Embedded => vec![format!("http://{}", Seat::new(Part::Store, 1).address())],
        StoreKind::Ceph { gateways: count } => {
            gateways(count).into_iter().map(|address| format!("http://{address}")).collect()
        }
    }
}

/// How long nodes wait for one endpoint. The default is meant for stores on machines of their own; a whole Ceph beside
/// everything else on two processors is slower at times, and who gives up on it too soon only adds to its work.
pub(super) fn patience(kind: StoreKind) -> Duration {
    Duration::from_millis(match kind {
        StoreKind::Embedded => 150,
        StoreKind::Ceph { .. } => 600,
    })
}

impl Cluster {
    /// Starts Ceph in the store's namespace, if it is the store.
    pub(super) fn make_ceph(&mut self) -> Result<()> {
        let StoreKind::Ceph { gateways: count } = self.options.store else { return Ok(()) };
        ensure!(count > 0, "a store needs a gateway");
        let ceph = Ceph::start_in(self.namespace("store")?, &gateways(count))?;
        ceph.access_key().clone_into(&mut self.store.access_key);
        ceph.secret_key().clone_into(&mut self.store.secret_key);
        self.ceph = Some(Mutex::new(ceph));
        Ok(())
    }

    /// How the store is, in words, for whoever waits for it in vain.
    pub fn store_state(&self) -> String {
        match self.ceph() {
            Some(mut ceph) => ceph.state(),
            None => format!("ended by themselves: {:?}", self.casualties()),
        }
    }

    pub(super) fn ceph(&self) -> Option<MutexGuard<'_, Ceph>> {
        self.ceph.as_ref().map(|ceph| ceph.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The gateway of that name, by its index; none if it is no name of a gateway.
    pub(super) fn gateway(&self, name: &str) -> Result<Option<(MutexGuard<'_, Ceph>, usize)>> {
        let StoreKind::Ceph { gateways: count } = self.options.store else { return Ok(None) };
        let number = name.strip_prefix('g').and_then(|number| number.parse::<u8>().ok());
        let Some(number) = number else { return Ok(None) };
        ensure!((1..=count).contains(&number), "there is no gateway {name}");
        let ceph = self.ceph().context("Ceph does not run")?;
        Ok(Some((ceph, usize::from(number) - 1)))
    }
}

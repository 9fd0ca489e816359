//! What the tests of senders and receivers share.
#![allow(dead_code, reason = "each test uses some of it")]

use std::time::Duration;

use outplane_rmdp_transport::{Received, Receiver, Settings, Xdp};
use outplane_rmdp_wire::{Announce, Event, Key, NetworkId, Payload, TransactionId, Work};

pub(crate) const NETWORK: NetworkId = NetworkId::new(3);
pub(crate) const KEY: Key = Key { id: 1, secret: [7; 16] };
pub(crate) const NEXT: Key = Key { id: 2, secret: [8; 16] };

/// No test waits longer for a datagram.
const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver's settings: three senders, sockets, loopback.
pub(crate) fn settings() -> Settings {
    Settings {
        interface: Some("lo".to_owned()),
        xdp: Xdp::Off,
        network: NETWORK,
        keys: vec![KEY],
        senders: vec![1, 2, 3],
        ..Settings::default()
    }
}

/// Tasks by number.
pub(crate) struct TaskList {
    switches: Vec<String>,
}

impl TaskList {
    pub(crate) fn new(count: usize) -> Self {
        Self { switches: (0..count).map(|number| format!("leaf{number}")).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.switches.len()
    }

    pub(crate) fn announce(&self, number: usize) -> Announce<'_> {
        let switch = &self.switches[number];
        let event = Event {
            network: NETWORK,
            source: "intent",
            kind: "generation",
            object: "",
            switch,
            occurrence: 3,
        };
        Announce { event, work: Work::Converge { generation: 3, desired: [5; 32], entries: 7 } }
    }

    /// Transaction ids of all, sorted.
    pub(crate) fn ids(&self) -> Vec<TransactionId> {
        let mut ids: Vec<_> =
            (0..self.len()).map(|number| self.announce(number).event.id().unwrap()).collect();
        ids.sort_unstable();
        ids
    }
}

/// The next datagram.
pub(crate) async fn next(receiver: &mut Receiver) -> Received {
    tokio::time::timeout(PATIENCE, receiver.next()).await.expect("no datagram came")
}

/// Takes announces until there are so many; gives their ids, sorted.
pub(crate) async fn receive_all(receiver: &mut Receiver, count: usize) -> Vec<TransactionId> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let datagram = next(receiver).await;
        assert!(matches!(datagram.payload(), Ok(Payload::Announce(_))), "{datagram:?}");
        ids.push(datagram.header.id);
    }
    ids.sort_unstable();
    ids
}

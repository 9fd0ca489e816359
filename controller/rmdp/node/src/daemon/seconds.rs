//! What is looked at every second: the receiver's counters, the store's pulse, rights that are refused.

use std::time::Duration;

use outplane_rmdp_core::io::Input;
use outplane_rmdp_transport::{copies_between, monotonic_nanos};

use super::Daemon;
use super::inside::Inside;
use crate::clock;

/// Another network's datagrams are in the log this often at most.
const STRANGERS: Duration = Duration::from_mins(1);

/// How long whoever drains goes on asking for what the store refuses.
const REFUSED: Duration = Duration::from_secs(5);

impl<M: Inside> Daemon<M> {
    pub(super) fn every_second(&mut self) {
        if let Err(error) = self.receiver.tick(monotonic_nanos()) {
            tracing::warn!(%error, "receiver");
        }
        match self.receiver.counters() {
            Ok(counters) => {
                self.see_forged(&counters);
                let datagrams = &self.shell.config.datagrams;
                let ways = self.receiver.groups().count()
                    + usize::from(datagrams.fan_out || datagrams.groups.is_empty());
                let per_task = u32::try_from(ways.max(1)).unwrap_or(1) * u32::from(datagrams.burst.max(1));
                let copies = copies_between(&self.copies, &counters, per_task);
                self.shell.metrics.set_receiver(counters.clone(), self.receiver.mode());
                let strangers = counters.drops.foreign_network
                    - self.copies.drops.foreign_network.min(counters.drops.foreign_network);
                if strangers > 0 && self.strangers.is_none_or(|told| told.elapsed() >= STRANGERS) {
                    self.strangers = Some(std::time::Instant::now());
                    tracing::warn!(
                        datagrams = strangers,
                        "another network sends to the same group and port, or a node of this one has not been restarted since \
                         its store was made anew; its datagrams are dropped"
                    );
                }
                self.copies = counters;
                if copies.tasks > 0 || !copies.senders.is_empty() {
                    self.shell.step(Input::Copies(copies));
                }
            }
            Err(error) => tracing::warn!(%error, "receiver"),
        }
        if self.shell.feel_store(&self.objects.pulse(), self.since) {
            self.objects.refusals().forget();
        }
        let refusals = self.objects.refusals().all();
        self.shell.metrics.set_refused(&refusals);
        self.shell.feel_rights(refusals);
        if self.shell.is_refused() && self.shell.load().executions == 0 {
            // What is left waits for a right, and not for the store.
            self.ends_by = self.ends_by.map(|end| end.min(clock::instant() + REFUSED));
        }
        self.remember();
        self.publish();
        if self.shell.changed {
            self.write_status();
        }
    }
}

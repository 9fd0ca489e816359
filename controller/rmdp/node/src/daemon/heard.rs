//! What comes in datagrams: tasks, heartbeats, hints.

use outplane_rmdp_core::config::Role;
use outplane_rmdp_core::io::{Heartbeat, Input};
use outplane_rmdp_core::task::Task;
use outplane_rmdp_transport::Received;
use outplane_rmdp_wire::{HintOf, Payload};

use super::Daemon;
use super::inside::Inside;
use crate::epoch::COMMANDS;

impl<M: Inside> Daemon<M> {
    pub(super) fn received(&mut self, received: &Received) {
        let sender = received.header.sender;
        let epoch = self.epochs.entry(sender).or_default();
        *epoch = received.header.epoch.max(*epoch);
        match received.payload() {
            Ok(Payload::Hint(hint)) => {
                let hints = match hint.what {
                    HintOf::Intent => &self.intent_hint,
                    HintOf::Config => &self.config_hint,
                    HintOf::Probes => &self.probe_hint,
                };
                tracing::debug!(sender, what = ?hint.what, number = hint.number, "hint");
                // Numbers that are nonsense cost a GET.
                hints.send_replace(hint.number);
                if hint.what == HintOf::Intent {
                    self.shell.step(Input::Logged { generation: hint.number });
                }
            }
            // Commands have nothing else to say.
            Ok(_) if sender == COMMANDS => {}
            Ok(Payload::Announce(announce)) => match Task::of_announce(&announce) {
                Ok(task) => {
                    tracing::debug!(task = %task.id(), sender, switch = task.switch(), "first copy");
                    self.shell.step(Input::Announced { task, sender });
                }
                Err(error) => tracing::warn!(sender, %error, "an announce that is none"),
            },
            Ok(Payload::Heartbeat(heartbeat)) => {
                let heartbeat = Heartbeat::of_wire(&heartbeat);
                self.ahead.heard(sender, heartbeat.generation, self.shell.generation);
                if self.setup.role == Role::Controller && heartbeat.generation > *self.intent_hint.borrow() {
                    // What it should keep its switches at.
                    self.intent_hint.send_replace(heartbeat.generation);
                }
                let (epoch, sequence) = (received.header.epoch, received.header.sequence);
                self.shell.step(Input::Heartbeat { sender, epoch, sequence, heartbeat });
            }
            Err(error) => tracing::warn!(sender, %error, "an authentic datagram with nonsense in it"),
        }
    }
}

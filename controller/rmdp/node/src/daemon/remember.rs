//! What a node remembers of its network, for itself when it starts again, and for who recovers the store; and who tells of
//! generations that the log does not have.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Daemon;
use super::inside::Inside;
use crate::chain::Chain;
use crate::clock;
use crate::epoch::{COMMANDS, COMMANDS_NAME};

/// So long a generation that somebody tells of may be missing: it is looked for at once, and every few seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Generations that others tell of in heartbeats, by sender, and since when.
#[derive(Debug, Default)]
pub(super) struct Ahead(BTreeMap<u32, Told>);

#[derive(Debug)]
struct Told {
    generation: u64,
    since: Duration,
    last: Duration,
}

impl Ahead {
    /// A heartbeat's generation, where the log's newest is `known`. Whoever may send is a member: there are 64 at most.
    pub(super) fn heard(&mut self, sender: u32, generation: u64, known: u64) {
        if generation <= known {
            self.0.remove(&sender);
            return;
        }
        let now = clock::now();
        let told = self.0.entry(sender).or_insert(Told { generation, since: now, last: now });
        (told.generation, told.last) = (generation, now);
    }

    /// Those that have told for long of what is not there, and still do: sender and generation.
    fn lasting(&self, known: u64) -> impl Iterator<Item = (u32, u64)> {
        let now = clock::now();
        let lasts = move |told: &Told| {
            told.generation > known
                && now.saturating_sub(told.since) >= PATIENCE
                && now.saturating_sub(told.last) < PATIENCE
        };
        self.0.iter().filter(move |(_, told)| lasts(told)).map(|(sender, told)| (*sender, told.generation))
    }
}

impl<M: Inside> Daemon<M> {
    /// Takes down what is new, and writes it to the file.
    pub(super) fn remember(&mut self) {
        for (sender, epoch) in &self.epochs {
            let name = if *sender == COMMANDS { COMMANDS_NAME.to_owned() } else { self.name_of(*sender) };
            self.memory.heard(&name, *epoch);
        }
        let memory = &mut self.memory;
        memory.generation = memory.generation.max(self.objects.newest_of(&Chain::Generations));
        memory.config = memory.config.max(self.objects.newest_of(&Chain::Configs)).max(self.version);
        while let Some(written) = self.writing.try_join_next() {
            // A panic, which its own message has told.
            let Ok((memory, outcome)) = written else { continue };
            match outcome {
                Ok(()) => {
                    self.told_unwritten = false;
                    self.written = memory;
                }
                // Tried again a second later.
                Err(error) => {
                    if !std::mem::replace(&mut self.told_unwritten, true) {
                        tracing::warn!(
                            alert = true,
                            %error,
                            "the file of [state] memory cannot be written: after a restart this node does not know whether the \
                             store has gone back"
                        );
                    }
                }
            }
        }
        let Some(path) = self.setup.file.memory.clone() else { return };
        if self.written != self.memory && self.writing.is_empty() {
            let memory = self.memory.clone();
            self.writing.spawn_blocking(move || {
                let outcome = memory.write(&path);
                (memory, outcome)
            });
        }
    }

    /// What is to be said of other networks and times, while it is so.
    pub(super) fn estrangements(&self) -> Vec<String> {
        let known = self.shell.generation;
        let ahead = self.ahead.lasting(known).map(|(sender, generation)| {
            format!(
                "{} tells of generation {generation}, and the store's newest is {known}: was it restored from a backup? \
                 `outplane store recover` says who remembers what (docs/operations.md)",
                self.name_of(sender)
            )
        });
        let before = self.estranged.iter().filter(|before| known <= before.until);
        before.map(|before| before.why.clone()).chain(ahead).collect()
    }
}

//! Settings, counters and the change of generations, while the program runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use outplane_rmdp_wire::{Key, NetworkId, TransactionId, Window};

use crate::abi::{self, Active};
use crate::counters::{self, BPF_F_LOCK, Counters};
use crate::error::XdpError;
use crate::kernel::{Maps, Stream};
use crate::settings::{self, Settings};

/// Longer than any run of the program that began before takes to end.
const GRACE: Duration = Duration::from_millis(10);

/// What the program has seen of a sender's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSeen {
    /// Which datagrams, delivered or dropped as duplicates.
    pub window: Window,
    /// Announces that it passed to the stack, for want of room in the ring, since the pins were made: not in the window.
    pub announces_passed: u64,
}

/// A handle on the running program's maps. All calls are short system calls, but [`Self::tick`], which says so.
#[derive(Clone)]
pub struct XdpControl {
    shared: Arc<Shared>,
}

struct Shared {
    maps: Mutex<Maps>,
    window: Duration,
}

impl std::fmt::Debug for XdpControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdpControl").field("window", &self.shared.window).finish_non_exhaustive()
    }
}

impl XdpControl {
    /// Sets everything up; what the maps remember stays, unless it is of another network.
    pub(crate) fn new(maps: Maps, settings: &Settings) -> Result<Self, XdpError> {
        let control = Self { shared: Arc::new(Shared { maps: Mutex::new(maps), window: settings.window }) };
        let mut before = NetworkId::NONE;
        control.change(|values| {
            before = NetworkId::new(values.network);
            values.targets = settings::targets(&settings.groups)?;
            values.keys = settings::keys(&settings.keys)?;
            values.network = settings.network.number();
            Ok(())
        })?;
        if !before.is_none() && before != settings.network {
            tracing::warn!(%before, now = %settings.network, "another network: what is known of streams begins anew");
            control.forget_streams()?;
        }
        control.set_senders(&settings.senders)?;
        let mut maps = control.maps();
        if active(&maps, Active::Switched)? == 0 {
            set_active(&mut maps, Active::Switched, now()?)?;
        }
        drop(maps);
        Ok(control)
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        // A panic elsewhere leaves the maps as they are in the kernel.
        self.shared.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts these keys from now on: while keys are rotated, the current one and the next. No datagram is lost by
    /// the change.
    pub fn set_keys(&self, keys: &[Key]) -> Result<(), XdpError> {
        let slots = settings::keys(keys)?;
        self.change(|values| {
            values.keys = slots;
            Ok(())
        })
    }

    /// Takes these destinations from now on.
    pub fn set_groups(&self, groups: &[(IpAddr, u16)]) -> Result<(), XdpError> {
        let targets = settings::targets(groups)?;
        self.change(|values| {
            values.targets = targets;
            Ok(())
        })
    }

    /// Writes the settings that are not in use, then switches to them: the program sees the old ones or the new ones.
    fn change(&self, edit: impl FnOnce(&mut abi::Settings) -> Result<(), XdpError>) -> Result<(), XdpError> {
        let mut maps = self.maps();
        let current = active(&maps, Active::Settings)? & 1;
        let mut values = maps.settings.get(&current, 0).map_err(XdpError::map("reading the settings"))?;
        edit(&mut values)?;
        // Runs of the program that began before the last switch may still read what is overwritten now.
        std::thread::sleep(GRACE);
        maps.settings.set(current ^ 1, values, 0).map_err(XdpError::map("writing the settings"))?;
        set_active(&mut maps, Active::Settings, current ^ 1)
    }

    /// Accepts these senders from now on. What is known of the streams of others is kept, for when they come back.
    pub fn set_senders(&self, senders: &[u32]) -> Result<(), XdpError> {
        let failed = XdpError::map("writing the senders");
        let mut maps = self.maps();
        let known = known(&maps)?;
        let wanted: BTreeSet<u32> = senders.iter().copied().collect();
        let mut next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let new = wanted.iter().filter(|sender| !known.iter().any(|(id, _)| id == *sender)).count();
        if known.len() + new > abi::SENDERS {
            return Err(XdpError::Settings(format!(
                "{} senders were configured in the life of the pins, {new} more do not fit in {}: detach to begin anew",
                known.len(),
                abi::SENDERS
            )));
        }
        for (id, sender) in &known {
            let enabled = u32::from(wanted.contains(id));
            if sender.enabled != enabled {
                maps.senders.insert(id, abi::Sender { enabled, ..*sender }, 0).map_err(&failed)?;
            }
        }
        for id in wanted {
            if !known.iter().any(|(other, _)| *other == id) {
                maps.senders.insert(id, abi::Sender { index: next, enabled: 1 }, 0).map_err(&failed)?;
                next += 1;
            }
        }
        Ok(())
    }

    /// Another network's epochs say nothing of this one's.
    fn forget_streams(&self) -> Result<(), XdpError> {
        // Runs of the program that began before the settings were switched may still mark something.
        std::thread::sleep(GRACE);
        let mut maps = self.maps();
        for (_, sender) in known(&maps)? {
            let stream = maps.streams.set(sender.index, Stream::default(), BPF_F_LOCK);
            stream.map_err(XdpError::map("forgetting a stream"))?;
        }
        Ok(())
    }

    /// What the program has seen of a sender; nothing of one that was never configured.
    pub fn stream(&self, sender: u32) -> Result<Option<StreamSeen>, XdpError> {
        let failed = XdpError::map("reading a stream");
        let maps = self.maps();
        let index = match maps.senders.get(&sender, 0) {
            Ok(sender) => sender.index,
            Err(aya::maps::MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // What it passes on is counted before the stack has it, so that the count is never behind.
        let counts = maps.counts.get(&index, 0).map_err(&failed)?;
        let announces = counts.iter().map(|counts| counts.types[0].ring_full).sum();
        let window = maps.streams.get(&index, BPF_F_LOCK).map_err(&failed)?.state.window;
        Ok(Some(StreamSeen { window, announces_passed: announces }))
    }

    /// Everything that was counted since the pins were made.
    pub fn counters(&self) -> Result<Counters, XdpError> {
        let maps = self.maps();
        counters::read(&maps, &known(&maps)?)
    }

    /// Whether the deduplication knows this task, and how long ago its first copy came by the monotonic clock.
    pub fn remembers(&self, id: TransactionId) -> Result<bool, XdpError> {
        let maps = self.maps();
        for generation in &maps.generations {
            match generation.get(&id.into(), 0) {
                Ok(_) => return Ok(true),
                Err(aya::maps::MapError::KeyNotFound) => {}
                Err(error) => return Err(XdpError::map("looking for a task")(error)),
            }
        }
        Ok(false)
    }

    /// How many tasks each generation remembers. Walks them: for tests and tools.
    pub fn remembered(&self) -> Result<[usize; 2], XdpError> {
        let maps = self.maps();
        let mut counts = [0; 2];
        for (count, generation) in counts.iter_mut().zip(&maps.generations) {
            for key in generation.keys() {
                key.map_err(XdpError::map("walking a generation"))?;
                *count += 1;
            }
        }
        Ok(counts)
    }

    /// To be called about every second. Once a window it clears the older generation and lets it take over; gives
    /// whether it did.
    pub async fn tick(&self) -> Result<bool, XdpError> {
        let due = {
            let maps = self.maps();
            let since = now()?.wrapping_sub(active(&maps, Active::Switched)?);
            Duration::from_secs(since.into()) >= self.shared.window
        };
        if !due {
            return Ok(false);
        }
        let control = self.clone();
        tokio::task::spawn_blocking(move || control.switch_generation())
            .await
            .map_err(|error| XdpError::Ended(error.to_string()))??;
        Ok(true)
    }

    /// Clears the older generation, has it told of each task for a moment, then lets it decide: no copy is delivered
    /// twice over the change. Blocks: about 1 µs for each task of the window before the last.
    pub fn switch_generation(&self) -> Result<(), XdpError> {
        let deciding = active(&self.maps(), Active::Generation)? >> 1 & 1;
        let older = deciding ^ 1;
        loop {
            // The lock is given back now and then: counters are read while a large generation is cleared.
            let mut maps = self.maps();
            let generation = &mut maps.generations[older as usize];
            let keys: Vec<_> = generation.keys().flatten().take(4096).collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                match generation.remove(&key) {
                    Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
                    Err(error) => return Err(XdpError::map("clearing a generation")(error)),
                }
            }
        }
        set_active(&mut self.maps(), Active::Generation, deciding << 1 | 1)?;
        std::thread::sleep(GRACE);
        let mut maps = self.maps();
        set_active(&mut maps, Active::Generation, older << 1)?;
        set_active(&mut maps, Active::Switched, now()?)
    }
}

fn active(maps: &Maps, which: Active) -> Result<u32, XdpError> {
    maps.active.get(&(which as u32), 0).map_err(XdpError::map("reading what is active"))
}

fn set_active(maps: &mut Maps, which: Active, value: u32) -> Result<(), XdpError> {
    maps.active.set(which as u32, value, 0).map_err(XdpError::map("writing what is active"))
}

/// All senders that were ever configured.
fn known(maps: &Maps) -> Result<Vec<(u32, abi::Sender)>, XdpError> {
    let mut known =
        maps.senders.iter().collect::<Result<Vec<_>, _>>().map_err(XdpError::map("reading the senders"))?;
    known.sort_by_key(|(id, _)| *id);
    Ok(known)
}

/// Seconds of the clock that the program stamps with.
fn now() -> Result<u32, XdpError> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_err(|errno| XdpError::call("clock_gettime", "CLOCK_MONOTONIC")(errno.into()))?;
    Ok(u32::try_from(now.tv_sec()).unwrap_or(u32::MAX).max(1))
}

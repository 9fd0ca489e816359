//! A disk in memory that loses power: what was not synced is kept, lost or torn, as chance has it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::disk::{Disk, File};

/// Pages reach a disk one by one.
#[cfg(test)]
const PAGE: usize = 512;

#[derive(Clone, Default)]
struct Content {
    /// What would be there after a power failure that lost all that may be lost.
    durable: Vec<u8>,
    current: Vec<u8>,
}

type Shared = Arc<Mutex<Content>>;

#[derive(Default)]
struct State {
    current: BTreeMap<String, Shared>,
    /// Names and files that a folder's sync has made durable.
    durable: BTreeMap<String, Shared>,
}

/// What will go wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// Calls that change something until the power goes, and every later call fails.
    pub(crate) power: Option<u64>,
    /// Syncs until one fails.
    pub(crate) sync: Option<u64>,
    /// Bytes that can be written until the disk is full.
    pub(crate) room: Option<usize>,
    /// Files that can be opened or created until there are too many.
    pub(crate) files: Option<usize>,
    /// Of the room, what is taken by the reserve.
    pub(crate) reserved: usize,
}

/// The disk.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
}

struct SimFile {
    content: Shared,
    faults: Arc<Mutex<Faults>>,
}

fn step(faults: &Mutex<Faults>) -> io::Result<()> {
    match &mut faults.lock().unwrap().power {
        Some(0) => Err(io::Error::other("the power is off")),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

/// A file is opened.
fn descriptor(faults: &Mutex<Faults>) -> io::Result<()> {
    match &mut faults.lock().unwrap().files {
        Some(0) => Err(nix::errno::Errno::EMFILE.into()),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

impl SimDisk {
    /// A file that is there, with all its bytes durable.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Arc::new(Mutex::new(Content { durable: bytes.clone(), current: bytes }));
        let mut state = self.state.lock().unwrap();
        state.current.insert(name.to_owned(), Arc::clone(&content));
        state.durable.insert(name.to_owned(), content);
    }

    /// What is there after the power was off.
    #[cfg(test)]
    pub(crate) fn after_power_loss(&self, rng: &mut fastrand::Rng) -> Self {
        let state = self.state.lock().unwrap();
        let mut names: BTreeMap<&String, &Shared> = BTreeMap::new();
        for (name, file) in state.durable.iter().chain(&state.current) {
            let (durable, current) = (state.durable.contains_key(name), state.current.contains_key(name));
            if durable && current || rng.bool() {
                names.insert(name, file);
            }
        }
        let after = |file: &Shared| {
            let content = file.lock().unwrap();
            let (short, long) = (content.durable.len().min(content.current.len()), content.current.len());
            let length = if short == long { long } else { rng.usize(short..=long) };
            let mut bytes = content.current[..length].to_vec();
            for (number, page) in bytes.chunks_mut(PAGE).enumerate() {
                if rng.bool() {
                    continue;
                }
                // The old page, and nothing where the file had no such page.
                for (place, byte) in page.iter_mut().enumerate() {
                    *byte = content.durable.get(number * PAGE + place).copied().unwrap_or(0);
                }
            }
            Arc::new(Mutex::new(Content { durable: bytes.clone(), current: bytes }))
        };
        let mut after = after;
        let files: BTreeMap<String, Shared> =
            names.into_iter().map(|(name, file)| (name.clone(), after(file))).collect();
        Self {
            state: Arc::new(Mutex::new(State { current: files.clone(), durable: files })),
            faults: Arc::default(),
        }
    }

    /// A copy in which all is durable, to be changed by the test.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        let state = self.state.lock().unwrap();
        let deep = |file: &Shared| {
            let current = file.lock().unwrap().current.clone();
            Arc::new(Mutex::new(Content { durable: current.clone(), current }))
        };
        let files: BTreeMap<String, Shared> =
            state.current.iter().map(|(name, file)| (name.clone(), deep(file))).collect();
        Self {
            state: Arc::new(Mutex::new(State { current: files.clone(), durable: files })),
            faults: Arc::default(),
        }
    }

    /// All names.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<String> {
        self.state.lock().unwrap().current.keys().cloned().collect()
    }

    /// Changes a file's bytes behind everybody's back.
    #[cfg(test)]
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let state = self.state.lock().unwrap();
        let mut content = state.current[name].lock().unwrap();
        change(&mut content.current);
        content.durable = content.current.clone();
    }

    /// Removes a file behind everybody's back.
    #[cfg(test)]
    pub(crate) fn lose(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.current.remove(name);
        state.durable.remove(name);
    }
}

impl Disk for SimDisk {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock().unwrap();
        Ok(state.current.keys().filter(|name| name.starts_with(&format!("{folder}/"))).cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        step(&self.faults)?;
        descriptor(&self.faults)?;
        let content = Shared::default();
        let before = self.state.lock().unwrap().current.insert(name.to_owned(), Arc::clone(&content));
        assert!(before.is_none(), "{name} is there already");
        Ok(Arc::new(SimFile { content, faults: Arc::clone(&self.faults) }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let state = self.state.lock().unwrap();
        let content = state.current.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { content: Arc::clone(content), faults: Arc::clone(&self.faults) }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        step(&self.faults)?;
        let removed = self.state.lock().unwrap().current.remove(name);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        step(&self.faults)?;
        let mut state = self.state.lock().unwrap();
        let inside = format!("{folder}/");
        state.durable.retain(|name, _| !name.starts_with(&inside));
        let now: Vec<_> = state
            .current
            .iter()
            .filter(|(name, _)| name.starts_with(&inside))
            .map(|(name, file)| (name.clone(), Arc::clone(file)))
            .collect();
        state.durable.extend(now);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        let bytes = usize::try_from(bytes).unwrap();
        let room = faults.room.map(|room| room + faults.reserved);
        faults.reserved = 0;
        faults.room = room;
        if let Some(room) = room {
            faults.room = Some(room.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?);
        }
        faults.reserved = bytes;
        Ok(())
    }

    fn give_back(&self) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        faults.room = faults.room.map(|room| room + faults.reserved);
        faults.reserved = 0;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

impl File for SimFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let bytes = content.current.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let powered = step(&self.faults);
        let mut faults = self.faults.lock().unwrap();
        let mut content = self.content.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        // Losing power in the middle of a write leaves a part of it, or none.
        let mut written = if powered.is_ok() { bytes.len() } else { 0 };
        let room = faults.room.unwrap_or(usize::MAX);
        written = written.min(room);
        if let Some(room) = &mut faults.room {
            *room -= written;
        }
        if content.current.len() < start + written {
            content.current.resize(start + written, 0);
        }
        content.current[start..start + written].copy_from_slice(&bytes[..written]);
        powered?;
        if written < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        step(&self.faults)?;
        if let Some(left) = &mut self.faults.lock().unwrap().sync {
            if *left == 0 {
                return Err(io::Error::other("input/output error"));
            }
            *left -= 1;
        }
        let mut content = self.content.lock().unwrap();
        let Content { durable, current } = &mut *content;
        durable.clone_from(current);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        step(&self.faults)?;
        self.content.lock().unwrap().current.truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().current.len() as u64)
    }
}

//! The folder of the pins: `<pin root>/v<ABI>/<interface>/`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{MapInfo, MapType};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::abi;
use crate::error::XdpError;
use crate::settings::{Mode, Settings};

/// A map of the program.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: fn(&Settings) -> u32,
}

/// Bytes of a stream with its lock before it.
pub(crate) const STREAM: usize = 8 + size_of::<abi::StreamState>();

macro_rules! shape {
    ($name:literal, $kind:ident, $key:expr, $value:expr, $entries:expr) => {
        Shape { name: $name, kind: MapType::$kind, key: $key, value: $value, entries: $entries }
    };
}

/// All maps that are pinned. `ebpf/program/src/maps.rs` is the other side.
pub(crate) const SHAPES: [Shape; 9] = [
    shape!("settings", Array, 4, size_of::<abi::Settings>(), |_| 2),
    shape!("active", Array, 4, 4, |_| count(abi::ACTIVES)),
    shape!("senders", Hash, 4, size_of::<abi::Sender>(), |_| count(abi::SENDERS)),
    shape!("streams", Array, 4, STREAM, |_| count(abi::SENDERS)),
    shape!("counts", PerCpuArray, 4, size_of::<abi::SenderCounts>(), |_| count(abi::SENDERS)),
    shape!("reasons", PerCpuArray, 4, 8, |_| count(abi::REASONS)),
    shape!("first_0", Hash, 16, size_of::<abi::First>(), |settings| settings.capacity),
    shape!("first_1", Hash, 16, size_of::<abi::First>(), |settings| settings.capacity),
    shape!("ring", RingBuf, 0, 0, |settings| settings.ring_bytes),
];

#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const fn count(entries: usize) -> u32 {
    entries as u32
}

/// The folder of an interface, held against other processes of ours.
#[derive(Debug)]
pub(crate) struct Pins {
    folder: PathBuf,
    _lock: File,
}

impl Pins {
    /// Makes the folder if it is not there, and holds it.
    pub(crate) fn open(settings: &Settings) -> Result<Self, XdpError> {
        let interface = &settings.interface;
        if interface.contains('/') || interface.starts_with('.') || interface.is_empty() {
            return Err(XdpError::NoInterface(interface.clone()));
        }
        let root = &settings.pin_root;
        let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let kind =
            statfs(existing).map_err(|errno| XdpError::call("statfs", root.display())(errno.into()))?;
        if kind.filesystem_type() != BPF_FS_MAGIC {
            return Err(XdpError::NoBpffs(root.clone()));
        }
        let folder = root.join(format!("v{}", abi::VERSION)).join(interface);
        fs::create_dir_all(&folder).map_err(|source| match source.kind() {
            std::io::ErrorKind::PermissionDenied => XdpError::NotPermitted {
                call: "mkdir in the pin folder",
                interface: interface.clone(),
                source,
            },
            _ => XdpError::call("mkdir", folder.display())(source),
        })?;
        let lock = File::open(&folder).map_err(XdpError::call("open", folder.display()))?;
        // A process that we start holds our files for the moment before it becomes another program.
        let mut tries = 10;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(XdpError::InUse(folder)),
                Err(TryLockError::Error(source)) => {
                    return Err(XdpError::call("flock", folder.display())(source));
                }
            }
        }
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn link(&self, mode: Mode) -> PathBuf {
        self.folder.join(link_name(mode))
    }

    /// Pinned links of this interface: ours first, then those of other ABI versions.
    pub(crate) fn links(&self) -> Vec<(PathBuf, Mode)> {
        let mut folders = vec![self.folder.clone()];
        if let (Some(interface), Some(root)) =
            (self.folder.file_name(), self.folder.parent().and_then(Path::parent))
            && let Ok(versions) = fs::read_dir(root)
        {
            let mut others: Vec<_> =
                versions.flatten().map(|version| version.path().join(interface)).collect();
            others.sort();
            folders.extend(others.into_iter().filter(|folder| *folder != self.folder));
        }
        folders
            .into_iter()
            .flat_map(|folder| [Mode::Driver, Mode::Generic].map(|mode| (folder.join(link_name(mode)), mode)))
            .filter(|(path, _)| path.exists())
            .collect()
    }

    /// Compares the maps that are there with what we would make.
    pub(crate) fn check(&self, settings: &Settings) -> Result<(), XdpError> {
        for shape in &SHAPES {
            let path = self.map(shape.name);
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&path).map_err(XdpError::map("reading a pinned map's shape"))?;
            let kind = info.map_type().map_err(XdpError::map("reading a pinned map's type"))?;
            for (what, found, expected) in [
                ("its type", kind as u64, shape.kind as u64),
                ("its key size", u64::from(info.key_size()), shape.key as u64),
                ("its value size", u64::from(info.value_size()), shape.value as u64),
                ("its size", u64::from(info.max_entries()), u64::from((shape.entries)(settings))),
            ] {
                if found != expected {
                    return Err(XdpError::Shape { path, what, found, expected });
                }
            }
        }
        Ok(())
    }

    /// Removes everything that is pinned in the folder, and the folder.
    pub(crate) fn remove(&self) -> Result<(), XdpError> {
        remove(&self.folder)
    }
}

/// Removes a folder of pins; the version's and the root's folder too if they are empty then.
pub(crate) fn remove(folder: &Path) -> Result<(), XdpError> {
    for entry in fs::read_dir(folder).map_err(XdpError::call("readdir", folder.display()))?.flatten() {
        fs::remove_file(entry.path()).map_err(XdpError::call("unlink", entry.path().display()))?;
    }
    fs::remove_dir(folder).map_err(XdpError::call("rmdir", folder.display()))?;
    // Others may use them.
    for above in folder.ancestors().skip(1).take(2) {
        if fs::remove_dir(above).is_err() {
            break;
        }
    }
    Ok(())
}

fn link_name(mode: Mode) -> String {
    format!("link-{}", mode.name())
}

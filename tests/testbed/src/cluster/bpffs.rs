//! A bpffs of a cluster's own, where XDP programs stay pinned between two lives of a controller.
//!
//! `ip netns exec` gives each process a `/sys` without a bpffs in it, so ours lies in the cluster's folder. What is
//! pinned goes with the mount.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::netns::{self, PREFIX, owner};

/// A mounted bpffs; dropping it unmounts.
#[derive(Debug)]
pub(super) struct BpfFs {
    path: PathBuf,
}

impl BpfFs {
    /// Mounts one at `path`, which is made.
    pub(super) fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
        netns::run("mount", &["-t", "bpf", "bpf", &path.to_string_lossy()])?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        // Lazily: a process that is just being killed may still hold it.
        let _ = netns::run("umount", &["--lazy", &self.path.to_string_lossy()]);
    }
}

/// What folders of clusters are called: the pid tells whether their owner still lives.
pub(super) fn folder_prefix() -> String {
    format!("{PREFIX}{}-cluster-", std::process::id())
}

/// Removes folders of owners that are gone, with the bpffs in them.
pub(super) fn sweep() -> Result<()> {
    let abandoned = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let gone = !Path::new("/proc").join(owner(name)?.to_string()).exists();
        (gone && name.contains("-cluster-")).then(|| path.to_owned())
    };
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(path), Some("bpf")) = (words.next(), words.next()) else { continue };
        if Path::new(path).parent().and_then(abandoned).is_some() {
            netns::run("umount", &["--lazy", path])?;
        }
    }
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        if let Some(folder) = abandoned(&entry.path()) {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    Ok(())
}

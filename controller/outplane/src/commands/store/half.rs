//! What is written beside its place, and gets its name when it is whole.

use std::path::{Path, PathBuf};

/// A file or a folder of ours that is deleted unless it has become whole: half of it is of use to nobody.
pub(super) struct Half(Option<PathBuf>);

impl Half {
    /// Of what was just made there, by us.
    pub(super) fn of(path: &Path) -> Self {
        Self(Some(path.to_owned()))
    }

    /// It has its name.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let Some(path) = &self.0 else { return };
        let is_folder = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let _ = if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}

/// Where it lies until then.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    // Without a slash at its end.
    let mut name = path.components().as_path().as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_it_goes_and_all_of_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (file, dir) = (folder.path().join("file"), folder.path().join("dir"));
        for whole in [false, true] {
            std::fs::write(&file, "x").unwrap();
            std::fs::create_dir_all(dir.join("inside")).unwrap();
            for half in [Half::of(&file), Half::of(&dir)] {
                if whole {
                    half.keep();
                }
            }
            assert_eq!((file.exists(), dir.exists()), (whole, whole));
        }
        assert_eq!(unfinished(Path::new("a/b/")), Path::new("a/b.unfinished"));
    }
}

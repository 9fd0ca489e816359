//! The one access key and its secret.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Environment variable, and name in a keys file, of the access key.
pub const ACCESS_KEY: &str = "OUTPLANE_STORE_ACCESS_KEY";
/// Environment variable, and name in a keys file, of the secret key.
pub const SECRET_KEY: &str = "OUTPLANE_STORE_SECRET_KEY";

/// Longest keys file, bytes.
const LARGEST: u64 = 4096;

/// What clients sign their requests with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Names the client.
    pub access: String,
    /// Proves that it is the client.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Keys {
    /// Checks them: an access key has 3 to 128 letters, digits and `-_.`, a secret 8 to 256 printable characters.
    pub fn new(access: String, secret: String) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(3..=128).contains(&access.len()) || !access.bytes().all(plain) {
            return Err(Error::Keys(format!("{ACCESS_KEY} must have 3 to 128 letters, digits, - _ and .")));
        }
        if !(8..=256).contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Keys(format!(
                "{SECRET_KEY} must have 8 to 256 printable characters without spaces"
            )));
        }
        Ok(Self { access, secret })
    }

    /// Those of the environment, if it has them; having one of them alone is an error.
    pub fn from_environment() -> Result<Option<Self>, Error> {
        let variable = |name: &str| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(Error::Keys(format!("{name} is not UTF-8"))),
        };
        match (variable(ACCESS_KEY)?, variable(SECRET_KEY)?) {
            (Some(access), Some(secret)) => Self::new(access, secret).map(Some),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Error::Keys(format!("{ACCESS_KEY} is set, but {SECRET_KEY} is not"))),
            (None, Some(_)) => Err(Error::Keys(format!("{SECRET_KEY} is set, but {ACCESS_KEY} is not"))),
        }
    }

    /// Reads a file of `NAME=value` lines with [`ACCESS_KEY`] and [`SECRET_KEY`]. A file that others than its owner
    /// can read is refused.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let refuse = |what: String| Error::Keys(format!("{}: {what}", path.display()));
        let metadata = fs::metadata(path).map_err(Error::file(path.to_owned(), "the keys can't be read"))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(refuse(
                "others can read the keys: make it mode 0600 (chmod 600), and new keys if they did".into(),
            ));
        }
        if metadata.len() > LARGEST {
            return Err(refuse(format!("it has more than {LARGEST} bytes: it is no keys file")));
        }
        let text =
            fs::read_to_string(path).map_err(Error::file(path.to_owned(), "the keys can't be read"))?;
        let (mut access, mut secret) = (None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = match line.split_once('=') {
                Some((ACCESS_KEY, value)) => Some((&mut access, value)),
                Some((SECRET_KEY, value)) => Some((&mut secret, value)),
                _ => None,
            };
            // The line itself may be a secret.
            let Some((place, value)) = place else {
                return Err(refuse(format!(
                    "line {} is neither {ACCESS_KEY}=.. nor {SECRET_KEY}=..",
                    number + 1
                )));
            };
            if place.replace(value.to_owned()).is_some() {
                return Err(refuse(format!("line {} says something for the second time", number + 1)));
            }
        }
        let (Some(access), Some(secret)) = (access, secret) else {
            return Err(refuse(format!("it must have {ACCESS_KEY}=.. and {SECRET_KEY}=..")));
        };
        Self::new(access, secret).map_err(|error| refuse(error.to_string()))
    }

    /// Those of the file `keys` in a folder, which is made with new random ones if it is not there. Says which file it
    /// is.
    pub fn in_folder(folder: &Path) -> Result<(Self, PathBuf), Error> {
        let path = folder.join("keys");
        if path.exists() {
            return Ok((Self::from_file(&path)?, path));
        }
        crate::store::make(folder).map_err(Error::file(folder.to_owned(), "it can't be made"))?;
        let keys = Self::new(random(10)?, random(20)?)?;
        // Under its name only when it is whole.
        let new = folder.join("keys.new");
        let text = format!("{ACCESS_KEY}={}\n{SECRET_KEY}={}\n", keys.access, keys.secret);
        let write = || {
            let _ = fs::remove_file(&new);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(Error::file(path.clone(), "new keys can't be written"))?;
        Ok((keys, path))
    }
}

/// So many random bytes in hexadecimal.
fn random(bytes: usize) -> Result<String, Error> {
    use std::fmt::Write as _;
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer)
        .map_err(|error| Error::Keys(format!("the system gives no random bytes: {error}")))?;
    Ok(buffer.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn new_keys_are_kept_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, path) = Keys::in_folder(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Keys::in_folder(folder.path()).unwrap(), (keys.clone(), path.clone()));
        assert_ne!(Keys::in_folder(&folder.path().join("other")).unwrap().0, keys);
        assert!(!format!("{keys:?}").contains(&keys.secret));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Keys::from_file(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn bad_files_are_refused_without_telling_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for (text, words) in [
            ("", "it must have"),
            ("OUTPLANE_STORE_ACCESS_KEY=abc\n", "it must have"),
            ("secret-words", "line 1"),
            ("OUTPLANE_STORE_ACCESS_KEY=abc\nOUTPLANE_STORE_ACCESS_KEY=abc\n", "line 2"),
            ("OUTPLANE_STORE_ACCESS_KEY=abc\nOUTPLANE_STORE_SECRET_KEY=short\n", "8 to 256"),
            ("OUTPLANE_STORE_ACCESS_KEY=a b\nOUTPLANE_STORE_SECRET_KEY=secret-words\n", "3 to 128"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = Keys::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("secret-words"), "{error}");
        }
        let text = "# ours\n\nOUTPLANE_STORE_ACCESS_KEY=abc\nOUTPLANE_STORE_SECRET_KEY=long=enough\n";
        fs::write(&path, text).unwrap();
        assert_eq!(Keys::from_file(&path).unwrap(), Keys::new("abc".into(), "long=enough".into()).unwrap());
    }
}

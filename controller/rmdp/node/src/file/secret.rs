//! Secrets: by value, from a file or from the environment; never in logs.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longest file that is read, in bytes.
const LONGEST_FILE: u64 = 256 * 1024;

/// Something that must not be seen: its [`fmt::Debug`] does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Keeps `value` from being shown.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for who needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The text of a file, if it is not too long.
pub(super) fn read_bounded(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("it is longer than {LONGEST_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// The same of a file that is named inside another one: only a regular file, since opening a pipe may never end.
pub(super) fn read_regular(path: &Path) -> Result<String, String> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => read_bounded(path),
        Ok(_) => Err("it is not a regular file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether users other than the file's owner and group may read it. A file that is gone is read by nobody.
pub(super) fn world_readable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// 16 bytes from 32 hexadecimal digits. The message does not repeat the digits.
pub(super) fn key_from_hex(text: &str) -> Result<[u8; 16], String> {
    let mut key = [0; 16];
    if text.len() != 32 {
        return Err(format!(
            "a key has 32 hexadecimal digits (16 bytes), this has {} characters",
            text.chars().count()
        ));
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(
                "a key has 32 hexadecimal digits (16 bytes), and this has other characters".to_owned()
            );
        };
        *byte = u8::try_from(high << 4 | low).unwrap_or_default();
    }
    if key == [0; 16] {
        return Err("a key of nothing but zeros authenticates nobody".to_owned());
    }
    Ok(key)
}

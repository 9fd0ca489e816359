//! How contents and deltas lie in the store: a version, their length, and themselves, compressed. Pure.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use thiserror::Error;

/// The version of what this program packs, and unpacks.
const VERSION: u8 = 1;

/// Of the version and the length.
const HEAD: usize = 9;

/// Why bytes cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadPack {
    #[error(
        "it is packed by version {0} of the format, this program reads {VERSION}: is another version of outplane at work?"
    )]
    Version(u8),
    #[error("it says that it has {length} bytes, and at most {limit} are taken")]
    TooLarge { length: u64, limit: u64 },
    #[error("it cannot be decompressed to what it says it is")]
    Broken,
}

/// Compresses.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![VERSION];
    packed.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    let mut encoder = DeflateEncoder::new(packed, Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes what is written")
}

/// What was compressed, if it has no more than so many bytes.
///
/// # Errors
/// [`BadPack`]; of what says that it has more nothing is decompressed.
pub(crate) fn unpack(packed: &[u8], limit: u64) -> Result<Vec<u8>, BadPack> {
    let (head, body) = packed.split_first_chunk::<HEAD>().ok_or(BadPack::Broken)?;
    let [version, length @ ..] = *head;
    if version != VERSION {
        return Err(BadPack::Version(version));
    }
    let length = u64::from_be_bytes(length);
    if length > limit {
        return Err(BadPack::TooLarge { length, limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(|_| BadPack::Broken)?);
    let mut decoder = DeflateDecoder::new(body);
    // One more shows that there is more.
    (&mut decoder).take(length + 1).read_to_end(&mut bytes).map_err(|_| BadPack::Broken)?;
    let is_whole = bytes.len() as u64 == length && decoder.total_in() == body.len() as u64;
    if is_whole { Ok(bytes) } else { Err(BadPack::Broken) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_hold_before_anything_is_decompressed() {
        let zeros = vec![0; 1 << 20];
        let packed = pack(&zeros);
        assert!(packed.len() < 2000);
        assert_eq!(unpack(&packed, 1 << 20).as_ref(), Ok(&zeros));
        assert_eq!(
            unpack(&packed, (1 << 20) - 1),
            Err(BadPack::TooLarge { length: 1 << 20, limit: (1 << 20) - 1 })
        );
        // What says that it is less, or more, than it is.
        for length in [0, 1 << 19, (1 << 20) + 1] {
            let mut lying = packed.clone();
            lying[1..9].copy_from_slice(&u64::to_be_bytes(length));
            assert_eq!(unpack(&lying, 1 << 30), Err(BadPack::Broken), "{length}");
        }
        assert_eq!(unpack(&[&packed[..], b"x"].concat(), 1 << 30), Err(BadPack::Broken));
        assert_eq!(unpack(&[&[2], &packed[1..]].concat(), 1 << 30), Err(BadPack::Version(2)));
        assert_eq!(unpack(b"", 0), Err(BadPack::Broken));
    }

    proptest! {
        #[test]
        fn packed_and_unpacked(bytes in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
            let packed = pack(&bytes);
            prop_assert_eq!(unpack(&packed, bytes.len() as u64), Ok(bytes));
            prop_assert!(unpack(&packed[..cut.index(packed.len())], 1 << 20).is_err());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(packed in any::<Vec<u8>>(), is_current: bool) {
            let packed = if is_current { [&[VERSION, 0, 0, 0, 0, 0, 0, 0], &packed[..]].concat() } else { packed };
            if let Ok(bytes) = unpack(&packed, 255) {
                prop_assert!(bytes.len() <= 255);
            }
        }
    }
}

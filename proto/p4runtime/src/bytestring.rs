//! Unsigned numbers as byte strings (section 8.3): big-endian, of any length as long as the value fits its width.
//!
//! Senders use the canonical form: no leading zero bytes, and one zero byte for zero. Receivers take any length.
//! Compare values, not bytes.

use thiserror::Error;

/// Widest number that [`parse`] and [`canonical`] handle, bits. The P4 language knows no limit; the functions that
/// take and return byte strings ([`fits`], [`canonicalize`], [`is_canonical`], [`bit_length`]) have none either.
pub const MAX_BITS: u32 = u128::BITS;

/// A byte string that is not a number of the expected width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BytestringError {
    /// The value does not fit.
    #[error("the value needs {needed} bits, but there is room for {bits}")]
    TooWide {
        /// Bits that the value needs.
        needed: usize,
        /// Bits that there are.
        bits: u32,
    },
    /// It is empty, which is no number.
    #[error("the byte string is empty: zero is one zero byte")]
    Empty,
}

/// The canonical form of a value: shortest, big-endian; zero is one zero byte.
pub fn canonical(value: u128) -> Vec<u8> {
    canonicalize(&value.to_be_bytes()).to_vec()
}

/// The canonical form of a byte string: without leading zeros. An empty one becomes one zero byte.
pub fn canonicalize(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|&byte| byte != 0) {
        Some(first) => &bytes[first..],
        None => &[0],
    }
}

/// Whether a byte string is in canonical form. An empty one is not.
pub fn is_canonical(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [_] => true,
        [first, ..] => *first != 0,
    }
}

/// How many bits the value needs: the position of its highest one. 0 for zero.
pub fn bit_length(bytes: &[u8]) -> usize {
    match bytes.iter().position(|&byte| byte != 0) {
        Some(first) => (bytes.len() - first) * 8 - bytes[first].leading_zeros() as usize,
        None => 0,
    }
}

/// Whether the byte string is a number of at most `bits` bits. An empty one is no number.
pub fn fits(bytes: &[u8], bits: u32) -> bool {
    !bytes.is_empty() && bit_length(bytes) <= bits as usize
}

/// The value of a byte string of any length, which must fit into `bits` bits (at most [`MAX_BITS`] are looked at).
///
/// # Errors
/// [`BytestringError`] for an empty string or a value that does not fit.
pub fn parse(bytes: &[u8], bits: u32) -> Result<u128, BytestringError> {
    if bytes.is_empty() {
        return Err(BytestringError::Empty);
    }
    let bits = bits.min(MAX_BITS);
    let needed = bit_length(bytes);
    if needed > bits as usize {
        return Err(BytestringError::TooWide { needed, bits });
    }
    Ok(canonicalize(bytes).iter().fold(0, |value, &byte| (value << 8) | u128::from(byte)))
}

/// The largest value of a width: `bits` ones, at most [`MAX_BITS`].
pub fn max_value(bits: u32) -> u128 {
    match bits {
        0 => 0,
        1..MAX_BITS => (1 << bits) - 1,
        _ => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_standards_examples() {
        // Section 8.3, tables of valid and invalid byte strings, unsigned rows.
        for (bits, bytes, value, symmetric) in [
            (8, &[0x63][..], 99, true),
            (16, &[0x00, 0x63], 99, false),
            (16, &[0x63], 99, true),
            (16, &[0x30, 0x64], 12388, true),
            (16, &[0x00, 0x30, 0x64], 12388, false),
            (12, &[0x00, 0x63], 99, false),
            (12, &[0x63], 99, true),
            (12, &[0x00, 0x00, 0x63], 99, false),
            (16, &[0x00, 0x00], 0, false),
            (16, &[0x00], 0, true),
        ] {
            assert_eq!(parse(bytes, bits), Ok(value), "{bytes:x?}");
            assert!(fits(bytes, bits), "{bytes:x?}");
            assert_eq!(is_canonical(bytes), symmetric, "{bytes:x?}");
            assert_eq!(canonicalize(bytes), canonical(value), "{bytes:x?}");
        }
        for (bits, bytes, error) in [
            (8, &[0x01, 0x63][..], BytestringError::TooWide { needed: 9, bits: 8 }),
            (8, &[], BytestringError::Empty),
            (16, &[0x01, 0x00, 0x63], BytestringError::TooWide { needed: 17, bits: 16 }),
            (12, &[0x10, 0x63], BytestringError::TooWide { needed: 13, bits: 12 }),
            (12, &[0x01, 0x00, 0x63], BytestringError::TooWide { needed: 17, bits: 12 }),
            (12, &[0x00, 0x40, 0x63], BytestringError::TooWide { needed: 15, bits: 12 }),
        ] {
            assert_eq!(parse(bytes, bits), Err(error), "{bytes:x?}");
            assert!(!fits(bytes, bits), "{bytes:x?}");
        }
    }

    #[test]
    fn widths_at_the_edges() {
        assert_eq!(parse(&[0; 1000], 1), Ok(0));
        assert_eq!(parse(&[0xff; 16], 128), Ok(u128::MAX));
        assert_eq!(
            parse(&[1; 17], 4096),
            Err(BytestringError::TooWide { needed: 129, bits: 128 }),
            "wider than a u128, whatever the field's width"
        );
        assert!(fits(&[1; 17], 129));
        assert!(!fits(&[1; 17], 128));
        assert!(!fits(&[1], 0));
        assert_eq!(max_value(0), 0);
        assert_eq!(max_value(9), 511);
        assert_eq!(max_value(127), u128::MAX >> 1);
        assert_eq!(max_value(128), u128::MAX);
        assert_eq!(max_value(u32::MAX), u128::MAX);
        assert_eq!(canonicalize(&[]), [0]);
        assert!(!is_canonical(&[]));
    }

    proptest! {
        #[test]
        fn round_trip(value: u128, shift in 0u32..128, padding in 0usize..20) {
            let value = value >> shift;
            let bytes = canonical(value);
            prop_assert!(is_canonical(&bytes));
            let bits = 128 - value.leading_zeros();
            prop_assert_eq!(bit_length(&bytes), bits as usize);
            let padded = [vec![0; padding], bytes.clone()].concat();
            prop_assert_eq!(canonicalize(&padded), &bytes[..]);
            for bits in bits..=128 {
                prop_assert_eq!(parse(&padded, bits), Ok(value));
                prop_assert!(fits(&padded, bits));
                prop_assert!(value <= max_value(bits));
            }
            if bits > 0 {
                prop_assert!(parse(&padded, bits - 1).is_err());
                prop_assert!(value > max_value(bits - 1));
            }
        }

        #[test]
        fn any_bytes_have_one_canonical_form(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let canonical = canonicalize(&bytes);
            prop_assert!(is_canonical(canonical));
            prop_assert_eq!(bit_length(canonical), bit_length(&bytes));
            prop_assert_eq!(is_canonical(&bytes), canonical == bytes);
        }
    }
}

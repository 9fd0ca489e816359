//! Bytes to text: UTF-8, UTF-16 and UTF-32, told apart as YAML 1.2.2, section 5.2 has it.
//!
//! A byte order mark says it; without one the zero bytes of the first character do, which is always an ASCII one.

/// Why bytes are no text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoText {
    /// What they were taken for.
    pub(crate) encoding: &'static str,
    /// The line, from 1, with the first byte that belongs to no character.
    pub(crate) line: usize,
}

#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

/// Decodes a file. A byte order mark at its start stays in the text.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, NoText> {
    match *bytes.as_slice() {
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, _, ..] => utf32(&bytes, Order::Big),
        [0xff, 0xfe, 0, 0, ..] | [_, 0, 0, 0, ..] => utf32(&bytes, Order::Little),
        [0xfe, 0xff, ..] | [0, _, ..] => utf16(&bytes, Order::Big),
        [0xff, 0xfe, ..] | [_, 0, ..] => utf16(&bytes, Order::Little),
        _ => String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.split(|byte| *byte == b'\n').count();
            NoText { encoding: "UTF-8", line }
        }),
    }
}

fn utf16(bytes: &[u8], order: Order) -> Result<String, NoText> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| match order {
        Order::Big => u16::from_be_bytes(*unit),
        Order::Little => u16::from_le_bytes(*unit),
    });
    let characters = char::decode_utf16(units).map(Result::ok).chain((!rest.is_empty()).then_some(None));
    collect(characters, "UTF-16", bytes.len() / 2)
}

fn utf32(bytes: &[u8], order: Order) -> Result<String, NoText> {
    let (units, rest) = bytes.as_chunks::<4>();
    let characters = units.iter().map(|unit| {
        char::from_u32(match order {
            Order::Big => u32::from_be_bytes(*unit),
            Order::Little => u32::from_le_bytes(*unit),
        })
    });
    collect(characters.chain((!rest.is_empty()).then_some(None)), "UTF-32", bytes.len() / 4)
}

fn collect(
    characters: impl Iterator<Item = Option<char>>,
    encoding: &'static str,
    expected: usize,
) -> Result<String, NoText> {
    let mut text = String::with_capacity(expected);
    for character in characters {
        let Some(character) = character else {
            return Err(NoText { encoding, line: text.matches('\n').count() + 1 });
        };
        text.push(character);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: \"ä€𐍈\"\n";

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    fn utf32(text: &str, order: fn(u32) -> [u8; 4]) -> Vec<u8> {
        text.chars().map(u32::from).flat_map(order).collect()
    }

    #[test]
    fn every_encoding_with_and_without_a_mark() {
        for mark in ["", "\u{feff}"] {
            let text = format!("{mark}{TEXT}");
            for bytes in [
                text.clone().into_bytes(),
                utf16(&text, u16::to_be_bytes),
                utf16(&text, u16::to_le_bytes),
                utf32(&text, u32::to_be_bytes),
                utf32(&text, u32::to_le_bytes),
            ] {
                assert_eq!(decode(bytes.clone()).as_ref(), Ok(&text), "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_short() {
        assert_eq!(decode(Vec::new()).unwrap(), "");
        assert_eq!(decode(b"a".to_vec()).unwrap(), "a");
        assert_eq!(decode(vec![0xff, 0xfe]).unwrap(), "\u{feff}");
        assert_eq!(decode(vec![0, b'a']).unwrap(), "a");
    }

    #[test]
    fn broken_bytes() {
        let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 1].to_vec();
        for (bytes, encoding, line) in [
            (b"a\nb\xff".to_vec(), "UTF-8", 2),
            (cut(utf16("a\nb", u16::to_be_bytes)), "UTF-16", 2),
            (vec![0xff, 0xfe, 0x00, 0xd8, b'a', 0], "UTF-16", 1),
            (cut(utf32("\u{feff}a\nb\n", u32::to_le_bytes)), "UTF-32", 2),
            (vec![0, 0, 0, b'a', 0, 0x11, 0, 0], "UTF-32", 1),
        ] {
            assert_eq!(decode(bytes.clone()), Err(NoText { encoding, line }), "{bytes:?}");
        }
    }
}

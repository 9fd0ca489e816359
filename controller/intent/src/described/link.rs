//! What stands before the network layer: EtherTypes, VLAN tags, LLC and SNAP headers.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::packet::{Llc, TPIDS, Tag};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

/// 16 bits as users write them: `0x88cc`, `35020`.
fn number(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(hexadecimal) => u16::from_str_radix(hexadecimal, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Reads a number, or text that [`FromStr`] reads.
pub(super) fn number_or_text<'de, T, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err = String>,
    D: Deserializer<'de>,
{
    struct Either<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: FromStr<Err = String>> Visitor<'_> for Either<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
            number.to_string().parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Either(expected, std::marker::PhantomData))
}

/// An EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl FromStr for EtherType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match number(text) {
            Some(number @ 0x0600..) => Ok(Self(number)),
            Some(_) => {
                Err("an EtherType is 0x600 or more; below that it is a length: give llc or snap".to_owned())
            }
            None => Err(format!("`{text}` is no EtherType: a number from 0x600 to 0xffff, as in 0x88cc")),
        }
    }
}

impl<'de> Deserialize<'de> for EtherType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_text(deserializer, "an EtherType: a number, or text like \"0x88cc\"")
    }
}

/// A VLAN tag: `10`, `0x88a8:10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagSpec(pub Tag);

impl TagSpec {
    /// A tag that this TPID announces; an error in words where it announces none, or the VLAN id is too high.
    pub(crate) fn new(tpid: u16, vlan: u16) -> Result<Self, String> {
        if !TPIDS.contains(&tpid) {
            let known: Vec<String> = TPIDS.iter().map(|tpid| format!("{tpid:#06x}")).collect();
            return Err(format!("{tpid:#06x} announces no tag: {}", known.join(", ")));
        }
        if vlan > 4095 {
            Err(format!("vlan {vlan}: VLAN ids end at 4095"))
        } else {
            Ok(Self(Tag { tpid, vlan }))
        }
    }
}

impl FromStr for TagSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tpid, vlan) = match text.split_once(':') {
            Some((tpid, vlan)) => (number(tpid), number(vlan)),
            None => (Some(TPIDS[0]), number(text)),
        };
        match (tpid, vlan) {
            (Some(tpid), Some(vlan)) => Self::new(tpid, vlan),
            _ => {
                Err(format!("`{text}` is no tag: a VLAN id, or with what announces the tag, as in 0x88a8:10"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for TagSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            tpid: Option<EtherType>,
            vlan: u16,
        }
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Vlan(u16),
            Text(String),
            Fields(Fields),
        }
        match Form::deserialize(deserializer)? {
            Form::Vlan(vlan) => Self::new(TPIDS[0], vlan),
            Form::Text(text) => text.parse(),
            Form::Fields(Fields { tpid, vlan }) => Self::new(tpid.map_or(TPIDS[0], |tpid| tpid.0), vlan),
        }
        .map_err(D::Error::custom)
    }
}

/// A SNAP header: an EtherType, or an organization and its protocol, as in `00000c:0x2000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snap(pub Llc);

impl FromStr for Snap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (oui, protocol) = match text.split_once(':') {
            Some((oui, protocol)) => (bytes(oui).and_then(|bytes| bytes.try_into().ok()), number(protocol)),
            None => (Some([0; 3]), number(text)),
        };
        match (oui, protocol) {
            (Some(oui), Some(protocol)) => Ok(Self(Llc::snap(oui, protocol))),
            _ => Err(format!(
                "`{text}` is no SNAP header: an EtherType like 0x0800, or an organization and its protocol like \
                 00000c:0x2000"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Snap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_text(deserializer, "a SNAP header: an EtherType, or text like \"00000c:0x2000\"")
    }
}

/// An LLC header and what follows, in hexadecimal: three to eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LlcSpec(pub Llc);

impl FromStr for LlcSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no LLC header: three to eight bytes in hexadecimal, as in 424203");
        let mut bytes = bytes(text).filter(|bytes| (3..=8).contains(&bytes.len())).ok_or_else(wrong)?;
        bytes.resize(8, 0);
        let [dsap, ssap, control, o0, o1, o2, p0, p1] = <[u8; 8]>::try_from(bytes).map_err(|_| wrong())?;
        let protocol = u16::from_be_bytes([p0, p1]);
        Ok(Self(Llc { dsap, ssap, control, oui: [o0, o1, o2], protocol }))
    }
}

impl<'de> Deserialize<'de> for LlcSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Bytes in hexadecimal; spaces, `:` and `-` between them do not matter.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|character| !matches!(character, ' ' | ':' | '-'))
        .map(|character| character.to_digit(16))
        .collect::<Option<_>>()?;
    let whole = digits.len().is_multiple_of(2);
    let pairs = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
    whole.then(|| pairs.filter_map(|byte| u8::try_from(byte).ok()).collect())
}

/// An LLC header as [`LlcSpec`] reads it.
pub(super) fn llc_text(llc: Llc) -> String {
    let Llc { dsap, ssap, control, oui, protocol } = llc;
    let bytes = [&[dsap, ssap, control][..], &oui, &protocol.to_be_bytes()].concat();
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_and_fields() {
        let tag = |tpid, vlan| Some(TagSpec(Tag { tpid, vlan }));
        for (json, wanted) in [
            ("10", tag(0x8100, 10)),
            (r#""0x88a8:10""#, tag(0x88a8, 10)),
            (r#"{"vlan":0}"#, tag(0x8100, 0)),
            (r#"{"tpid":37120,"vlan":4095}"#, tag(0x9100, 4095)),
            (r#"{"tpid":"0x88a8","vlan":7}"#, tag(0x88a8, 7)),
            (r#"{"tpid":2048,"vlan":7}"#, None),
            ("4096", None),
            (r#"{"vlan":1,"pcp":2}"#, None),
        ] {
            assert_eq!(serde_json::from_str::<TagSpec>(json).ok(), wanted, "{json}");
        }
        for (json, wanted) in [("35020", Some(0x88cc)), (r#""0x88cc""#, Some(0x88cc)), ("1500", None)] {
            assert_eq!(serde_json::from_str::<EtherType>(json).ok().map(|found| found.0), wanted, "{json}");
        }
    }

    #[test]
    fn llc_and_snap() {
        assert_eq!("0x0800".parse(), Ok(Snap(Llc::snap([0; 3], 0x0800))));
        assert_eq!("00000c:0x2000".parse(), Ok(Snap(Llc::snap([0, 0, 0x0c], 0x2000))));
        let stp = Llc { dsap: 0x42, ssap: 0x42, control: 3, ..Llc::default() };
        assert_eq!("424203".parse(), Ok(LlcSpec(stp)));
        assert_eq!("42-42-03 00".parse(), Ok(LlcSpec(stp)));
        assert_eq!(llc_text(Llc::snap([0, 0, 0xf8], 0x86dd)), "aaaa030000f886dd");
        assert_eq!("aaaa030000f886dd".parse(), Ok(LlcSpec(Llc::snap([0, 0, 0xf8], 0x86dd))));
        for wrong in ["4242", "42420", "424203000000000000", "xx4203"] {
            assert!(wrong.parse::<LlcSpec>().is_err(), "{wrong}");
        }
    }
}

//! Numbers as bytes: a table after the other, each record by itself and in order, so that a small change of the numbers is
//! a small change of the bytes.
//!
//! All integers in network byte order; lengths of lists as 32 bits. Decoding takes no more memory than some ten times the
//! bytes: every length is held against what is left before anything is made.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{AddressPrefix, Numbers, PolicyNumbers, PortNumbers, SlotNumbers};
use crate::classes::{ClassRange, Cube, Prefix};
use crate::ranges::Point;

/// The first bytes.
const MAGIC: &[u8; 4] = b"ONB2";

/// Those of before it was kept how few prefixes there could be.
const FORMER: &[u8; 4] = b"ONB1";

/// These bytes are no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NumbersError {
    /// They begin otherwise.
    #[error("they are of another format, or no numbers at all")]
    Format,
    /// They end amid a record.
    #[error("they end too early")]
    Short,
    /// A record is not where it can be.
    #[error("{0} are not in order, or out of bounds")]
    Order(&'static str),
    /// Something follows.
    #[error("something follows behind their end")]
    Long,
}

impl Numbers {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        slots(&mut bytes, &self.segments);
        list(&mut bytes, self.policies.len());
        for policies in &self.policies {
            prefixes(&mut bytes, &policies.v4, |value| value.to_be_bytes().to_vec());
            prefixes(&mut bytes, &policies.v6, |value| value.to_be_bytes().to_vec());
            covers(&mut bytes, &policies.filter_covers);
            covers(&mut bytes, &policies.pod_covers);
            for PortNumbers { ports, covers: of_ports } in [&policies.sport, &policies.dport] {
                list(&mut bytes, ports.len());
                for (low, high, id) in ports {
                    bytes.extend([low, high, id].into_iter().flat_map(|number| number.to_be_bytes()));
                }
                covers(&mut bytes, of_ports);
            }
            list(&mut bytes, policies.places.len());
            for ((line, level), places) in &policies.places {
                bytes.push(*line);
                bytes.extend(level.to_be_bytes());
                list(&mut bytes, places.len());
                for (digest, place) in places {
                    bytes.extend(digest.to_be_bytes());
                    bytes.extend(place.to_be_bytes());
                }
            }
            slots(&mut bytes, &policies.cells);
            bytes.extend(policies.entries_anew.unwrap_or(u32::MAX).to_be_bytes());
            let (v4, v6) = policies.fewest.unwrap_or((u32::MAX, u32::MAX));
            bytes.extend([v4, v6].into_iter().flat_map(u32::to_be_bytes));
        }
        list(&mut bytes, self.switches.len());
        for (switch, number) in &self.switches {
            list(&mut bytes, switch.len());
            bytes.extend(switch.as_bytes());
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    /// Reads them.
    pub fn decode(bytes: &[u8]) -> Result<Self, NumbersError> {
        let (is_former, rest) = match bytes.split_first_chunk() {
            Some((MAGIC, rest)) => (false, rest),
            Some((FORMER, rest)) => (true, rest),
            _ => return Err(NumbersError::Format),
        };
        let mut reader = Reader(rest);
        let segments = reader.slots("segments")?;
        let mut policies = Vec::new();
        for _ in 0..reader.list(44)? {
            policies.push(reader.policies(is_former)?);
        }
        let mut switches = BTreeMap::new();
        for _ in 0..reader.list(8)? {
            let length = reader.list(1)?;
            let name = std::str::from_utf8(reader.bytes(length)?);
            let name = name.map_err(|_| NumbersError::Order("names of switches"))?.to_owned();
            let number = u32::from_be_bytes(reader.array()?);
            if number as usize >= policies.len() || !follows(switches.keys().next_back(), &name) {
                return Err(NumbersError::Order("switches"));
            }
            switches.insert(name, number);
        }
        if !reader.0.is_empty() {
            return Err(NumbersError::Long);
        }
        Ok(Self { segments, policies, switches })
    }
}

fn list(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u32::try_from(length).expect("lists of fewer than 2^32").to_be_bytes());
}

fn slots(bytes: &mut Vec<u8>, slots: &SlotNumbers) {
    list(bytes, slots.len());
    for (digest, slot) in slots {
        bytes.extend(digest.to_be_bytes());
        bytes.extend(slot.to_be_bytes());
    }
}

fn prefixes<T: Point>(bytes: &mut Vec<u8>, prefixes: &[AddressPrefix<T>], number: impl Fn(T) -> Vec<u8>) {
    list(bytes, prefixes.len());
    for Prefix { value, length, class } in prefixes {
        bytes.extend(number(*value));
        bytes.push(u8::try_from(*length).expect("at most 128"));
        bytes.extend([class.0, class.1].into_iter().flat_map(u16::to_be_bytes));
    }
}

fn covers(bytes: &mut Vec<u8>, covers: &[Vec<Cube>]) {
    list(bytes, covers.len());
    for cubes in covers {
        list(bytes, cubes.len());
        for cube in cubes {
            bytes.extend([cube.value, cube.mask].into_iter().flat_map(u16::to_be_bytes));
        }
    }
}

/// Whether something may come behind the last.
fn follows<T: Ord>(last: Option<&T>, next: &T) -> bool {
    last.is_none_or(|last| last < next)
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn bytes(&mut self, length: usize) -> Result<&'b [u8], NumbersError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(NumbersError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NumbersError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(NumbersError::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// How many records follow, each of so many bytes at least.
    fn list(&mut self, least: usize) -> Result<usize, NumbersError> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        if length.saturating_mul(least) > self.0.len() { Err(NumbersError::Short) } else { Ok(length) }
    }

    fn slots(&mut self, what: &'static str) -> Result<SlotNumbers, NumbersError> {
        let mut slots = SlotNumbers::new();
        for _ in 0..self.list(12)? {
            let (digest, slot) = (u64::from_be_bytes(self.array()?), u32::from_be_bytes(self.array()?));
            if !follows(slots.keys().next_back(), &digest) {
                return Err(NumbersError::Order(what));
            }
            slots.insert(digest, slot);
        }
        Ok(slots)
    }

    fn policies(&mut self, is_former: bool) -> Result<PolicyNumbers, NumbersError> {
        let mut policies = PolicyNumbers {
            v4: self.prefixes("classes of IPv4 addresses", u32::from_be_bytes)?,
            v6: self.prefixes("classes of IPv6 addresses", u128::from_be_bytes)?,
            filter_covers: self.covers()?,
            pod_covers: self.covers()?,
            sport: self.ports()?,
            dport: self.ports()?,
            ..PolicyNumbers::default()
        };
        for _ in 0..self.list(7)? {
            let [line] = self.array()?;
            let key = (line, u16::from_be_bytes(self.array()?));
            let mut places = Vec::new();
            for _ in 0..self.list(12)? {
                places.push((u64::from_be_bytes(self.array()?), u32::from_be_bytes(self.array()?)));
            }
            if !follows(policies.places.keys().next_back(), &key)
                || !places.is_sorted_by(|one, other| one.1 < other.1)
            {
                return Err(NumbersError::Order("places of rules"));
            }
            policies.places.insert(key, places);
        }
        policies.cells = self.slots("cells")?;
        policies.entries_anew =
            Some(u32::from_be_bytes(self.array()?)).filter(|entries| *entries != u32::MAX);
        if !is_former {
            let fewest = (u32::from_be_bytes(self.array()?), u32::from_be_bytes(self.array()?));
            policies.fewest = Some(fewest).filter(|fewest| *fewest != (u32::MAX, u32::MAX));
        }
        Ok(policies)
    }

    fn ports(&mut self) -> Result<PortNumbers, NumbersError> {
        let mut ports: Vec<ClassRange<u16>> = Vec::new();
        for _ in 0..self.list(6)? {
            let (low, high, id) = (self.number()?, self.number()?, self.number()?);
            if ports.last().is_some_and(|last| low <= last.1) || high < low || id == 0 {
                return Err(NumbersError::Order("classes of ports"));
            }
            ports.push((low, high, id));
        }
        Ok(PortNumbers { ports, covers: self.covers()? })
    }

    fn covers(&mut self) -> Result<Vec<Vec<Cube>>, NumbersError> {
        let mut covers: Vec<Vec<Cube>> = Vec::new();
        for _ in 0..self.list(4)? {
            let mut cubes = Vec::new();
            for _ in 0..self.list(4)? {
                cubes.push(Cube { value: self.number()?, mask: self.number()? });
            }
            let in_order = cubes.is_sorted_by(|one, other| one < other);
            let outside = cubes.iter().any(|cube| cube.value & !cube.mask != 0);
            if !in_order || outside || !follows(covers.last(), &cubes) {
                return Err(NumbersError::Order("cubes"));
            }
            covers.push(cubes);
        }
        Ok(covers)
    }

    fn number(&mut self) -> Result<u16, NumbersError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn prefixes<T: Point, const N: usize>(
        &mut self,
        what: &'static str,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<AddressPrefix<T>>, NumbersError> {
        let mut prefixes: Vec<AddressPrefix<T>> = Vec::new();
        for _ in 0..self.list(N + 5)? {
            let value = number(self.array()?);
            let [length] = self.array()?;
            let length = u32::from(length);
            let class = (self.number()?, self.number()?);
            let follows = prefixes.last().is_none_or(|last| (last.value, last.length) < (value, length));
            if !follows || length > T::BITS || value.prefix(length).0 != value {
                return Err(NumbersError::Order(what));
            }
            prefixes.push(Prefix { value, length, class });
        }
        Ok(prefixes)
    }
}

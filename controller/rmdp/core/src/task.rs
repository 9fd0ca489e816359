//! Events, tasks, and what is to be done.

use std::fmt;
use std::str::FromStr;

use outplane_rmdp_wire as wire;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

pub use wire::{NetworkId, TransactionId};

use crate::name::{BadName, check_name};

/// Longest of an event's strings, in bytes.
pub const MAX_STRING: usize = 255;

/// The source of events about generations of the intent: the intent log.
pub const GENERATIONS: &str = "intent";
/// The source of events about entries of the log of probes.
pub const PROBES: &str = "probe";

/// The source of repairs: the log of audits.
pub const AUDITS: &str = "audit";

/// The highest number of an audit: what a switch takes for a fence has room for no higher one beside the generation and an
/// attempt of up to [`MAX_ATTEMPT`].
pub const MAX_AUDIT: u64 = (1 << 44) - 1;

/// The highest attempt: a key has room for no higher one.
pub const MAX_ATTEMPT: u32 = 999_999;

/// What happened, told by whoever noticed it: the metadata of a task, from which its transaction id is derived.
///
/// Equal events have equal ids on every machine, whoever noticed them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The network that it happened in, as its store has issued it.
    #[serde(with = "network_text")]
    pub network: NetworkId,
    /// Who issues the occurrences: `intent` for the intent log, `probe` for the log of probes, `audit` for the log of
    /// audits. A name, see [`check_name`].
    pub source: String,
    /// What kind of event: `generation` for a new generation of the intent, `probe` for an entry of `p/`, `audit` for one
    /// of `a/`.
    pub kind: String,
    /// What it happened to, in the source's words; may be empty.
    pub object: String,
    /// Which time it happened, issued by the source and growing: for the logs, the entry's number. Never a clock.
    pub occurrence: u64,
    /// The switch that the task is about. Not empty.
    pub switch: String,
}

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// A string is too long for the canonical encoding.
    #[error("event: the {field} has {length} bytes, at most {MAX_STRING} are allowed")]
    TooLong {
        /// Which of the strings.
        field: &'static str,
        /// Its length.
        length: usize,
    },
    /// The task would be about no switch.
    #[error("event: the switch is empty")]
    NoSwitch,
    /// The wire's encoding refuses it.
    #[error("event: {0}")]
    Encoding(String),
    /// The source becomes part of keys in the store.
    #[error("event: source: {0}")]
    Source(#[from] BadName),
}

impl Event {
    /// The event that generation `generation` of the network's intent is for `switch`.
    pub fn generation(network: NetworkId, generation: u64, switch: &str) -> Self {
        Self {
            network,
            source: GENERATIONS.to_owned(),
            kind: "generation".to_owned(),
            object: String::new(),
            occurrence: generation,
            switch: switch.to_owned(),
        }
    }

    /// The event that entry `number` of the network's log of probes is for `switch`.
    pub fn probe(network: NetworkId, number: u64, switch: &str) -> Self {
        let (source, kind) = (PROBES.to_owned(), "probe".to_owned());
        Self { source, kind, ..Self::generation(network, number, switch) }
    }

    /// The event that entry `number` of the network's log of audits is for `switch`: it is brought back to its generation.
    pub fn audit(network: NetworkId, number: u64, switch: &str) -> Self {
        let (source, kind) = (AUDITS.to_owned(), "audit".to_owned());
        Self { source, kind, ..Self::generation(network, number, switch) }
    }

    /// Whether it is of the log of audits. Such tasks are made by whoever keeps the switch, and never travel.
    pub fn is_audit(&self) -> bool {
        self.source == AUDITS && self.kind == "audit"
    }

    /// Whether an id can be derived and keys be made of it.
    pub fn check(&self) -> Result<(), BadEvent> {
        check_name(&self.source)?;
        let fields = [
            ("kind", &self.kind),
            ("object", &self.object),
            ("switch", &self.switch),
            ("source", &self.source),
        ];
        if let Some((field, text)) = fields.into_iter().find(|(_, text)| text.len() > MAX_STRING) {
            return Err(BadEvent::TooLong { field, length: text.len() });
        }
        if self.switch.is_empty() { Err(BadEvent::NoSwitch) } else { Ok(()) }
    }

    /// The transaction id: docs/rmdp.md, "Transaction ids". The same for equal events on every machine.
    pub fn id(&self) -> Result<TransactionId, BadEvent> {
        self.check()?;
        self.wire().id().map_err(|error| BadEvent::Encoding(error.to_string()))
    }

    /// As the wire crate borrows it.
    pub fn wire(&self) -> wire::Event<'_> {
        wire::Event {
            network: self.network,
            source: &self.source,
            kind: &self.kind,
            object: &self.object,
            occurrence: self.occurrence,
            switch: &self.switch,
        }
    }
}

impl From<wire::Event<'_>> for Event {
    fn from(event: wire::Event<'_>) -> Self {
        Self {
            network: event.network,
            source: event.source.to_owned(),
            kind: event.kind.to_owned(),
            object: event.object.to_owned(),
            occurrence: event.occurrence,
            switch: event.switch.to_owned(),
        }
    }
}

/// A network id in JSON: 16 hexadecimal digits.
pub(crate) mod network_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::NetworkId;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(crate) fn serialize<S: Serializer>(network: &NetworkId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(network)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NetworkId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A SHA-256: what names a desired state, `b/<sha256>`, and other contents. As text: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// A text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: 64 lower-case hexadecimal digits are expected")]
pub struct BadDigest;

impl Digest {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digit = |character: u8| match character {
            b'0'..=b'9' => Ok(character - b'0'),
            b'a'..=b'f' => Ok(character - b'a' + 10),
            _ => Err(BadDigest),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(BadDigest) };
        if pairs.len() != 32 {
            return Err(BadDigest);
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Work {
    /// Bring the switch to a desired state.
    Converge {
        /// The generation of the intent that wants it: the high half of the fence.
        generation: u64,
        /// The desired state.
        desired: Digest,
        /// How many entries it has: the lease grows with it.
        entries: u32,
    },
    /// Ask whether the switch answers; writes nothing.
    #[serde(rename = "probe")]
    Ask {},
}

/// What sets kinds of work apart. A new one is described here, and nothing else in the core looks at which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Whether it gives way: to other work on its switch, and in what is full. Who waits for it can ask again.
    pub gives_way: bool,
    /// Whether people have to look where it has failed; otherwise whoever wanted it has the answer.
    pub alerts: bool,
    /// The most attempts that it is worth; none: as many as the configuration says.
    pub attempts: Option<u32>,
}

/// A switch is brought to a desired state.
const CONVERGE: Kind = Kind { gives_way: false, alerts: true, attempts: None };
/// A switch that does not answer is what is to be found out: it has one more attempt, by the next controller in rank, in case
/// that the fault lies between the first one and the switch.
const ASK: Kind = Kind { gives_way: true, alerts: false, attempts: Some(2) };

impl Work {
    /// What sets it apart from other work.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Converge { .. } => CONVERGE,
            Self::Ask {} => ASK,
        }
    }

    /// The generation of a converging task.
    pub fn generation(&self) -> Option<u64> {
        match self {
            Self::Converge { generation, .. } => Some(*generation),
            Self::Ask {} => None,
        }
    }

    /// Whether it brings a switch to this desired state.
    pub fn is_same_state(&self, of: Digest, with: u32) -> bool {
        matches!(*self, Self::Converge { desired, entries, .. } if desired == of && entries == with)
    }

    /// How many attempts it has where the configuration says `most`.
    pub fn attempts(&self, most: u32) -> u32 {
        self.kind().attempts.map_or(most, |own| most.min(own))
    }

    /// The entries that its lease must leave time for.
    pub fn entries(&self) -> u32 {
        match self {
            Self::Converge { entries, .. } => *entries,
            Self::Ask {} => 0,
        }
    }

    /// As it travels.
    pub fn wire(&self) -> wire::Work {
        match *self {
            Self::Converge { generation, desired, entries } => {
                wire::Work::Converge { generation, desired: desired.0, entries }
            }
            Self::Ask {} => wire::Work::Ask,
        }
    }
}

impl From<wire::Work> for Work {
    fn from(work: wire::Work) -> Self {
        match work {
            wire::Work::Converge { generation, desired, entries } => {
                Self::Converge { generation, desired: Digest(desired), entries }
            }
            wire::Work::Ask => Self::Ask {},
        }
    }
}

/// One piece of work on one switch because of one event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    id: TransactionId,
    event: Event,
    work: Work,
}

impl Task {
    /// The task that does `work` because of `event`.
    pub fn new(event: Event, work: Work) -> Result<Self, BadEvent> {
        Ok(Self { id: event.id()?, event, work })
    }

    /// From an announce; its id is derived again, not taken over.
    pub fn of_announce(announce: &wire::Announce<'_>) -> Result<Self, BadEvent> {
        Self::new(announce.event.into(), announce.work.into())
    }

    /// As it is announced.
    pub fn announce(&self) -> wire::Announce<'_> {
        wire::Announce { event: self.event.wire(), work: self.work.wire() }
    }

    /// Its transaction id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Why.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// What.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Where.
    pub fn switch(&self) -> &str {
        &self.event.switch
    }

    /// The fence of an attempt at it.
    pub fn fence(&self, attempt: u32) -> Fence {
        let audit = if self.event.is_audit() { self.event.occurrence } else { 0 };
        Fence { generation: self.work.generation().unwrap_or(0), audit, attempt }
    }
}

/// What a switch enforces: it refuses writes under a lower fence than the highest it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Of the intent; 0 for work that belongs to none.
    pub generation: u64,
    /// Number of the audit whose repair it is, at most [`MAX_AUDIT`]; 0 for a generation's own task. So a repair stands
    /// above every attempt at the task that installed the generation, and each repair above those before it.
    pub audit: u64,
    /// Of the task, from 1.
    pub attempt: u32,
}

impl Fence {
    /// The event of a network whose task has this fence, if it is one of ours.
    pub fn event(self, network: NetworkId, switch: &str) -> Event {
        match self.audit {
            0 => Event::generation(network, self.generation, switch),
            number => Event::audit(network, number, switch),
        }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, audit, attempt } = self;
        write!(f, "generation {generation}, ")?;
        if *audit > 0 {
            write!(f, "audit {audit}, ")?;
        }
        write!(f, "attempt {attempt}")
    }
}

/// The network of tests.
#[cfg(any(test, feature = "sim"))]
pub(crate) const NETWORK: NetworkId = NetworkId::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let event = Event::generation(NETWORK, 7, "leaf1");
        let id = event.id().unwrap();
        assert_eq!(id, Event::generation(NETWORK, 7, "leaf1").id().unwrap());
        let changes: [fn(&mut Event); 6] = [
            |event| event.network = NetworkId::new(2),
            |event| event.source = "other".to_owned(),
            |event| event.kind = "other".to_owned(),
            |event| event.object = "other".to_owned(),
            |event| event.occurrence = 8,
            |event| event.switch = "leaf2".to_owned(),
        ];
        for change in changes {
            let mut other = event.clone();
            change(&mut other);
            assert_ne!(other.id().unwrap(), id, "{other:?}");
        }
    }

    #[test]
    fn bad_events() {
        let with = |change: fn(&mut Event)| {
            let mut event = Event::generation(NETWORK, 7, "leaf1");
            change(&mut event);
            event.id()
        };
        assert_eq!(with(|event| event.switch.clear()), Err(BadEvent::NoSwitch));
        let long = with(|event| event.object = "x".repeat(256));
        assert_eq!(long, Err(BadEvent::TooLong { field: "object", length: 256 }));
        assert!(matches!(with(|event| event.source = "a/b".to_owned()), Err(BadEvent::Source(_))));
        assert!(with(|event| event.object = "x".repeat(255)).is_ok());
    }

    #[test]
    fn digests() {
        let digest = Digest([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "ab", &"AB".repeat(32), &"ab".repeat(33), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(BadDigest), "{bad}");
        }
    }

    #[test]
    fn fences() {
        let fence = |generation, audit, attempt| Fence { generation, audit, attempt };
        // A repair is above every attempt at the generation's own task, and below the next generation.
        let order = [
            fence(5, 0, 1),
            fence(5, 0, MAX_ATTEMPT),
            fence(5, 1, 1),
            fence(5, 1, MAX_ATTEMPT),
            fence(5, 2, 1),
            fence(5, MAX_AUDIT, 1),
            fence(6, 0, 1),
        ];
        assert!(order.is_sorted());
        let audit = Event::audit(NETWORK, 4, "leaf1");
        assert!(audit.is_audit() && !Event::probe(NETWORK, 4, "leaf1").is_audit());
        assert_eq!(
            (fence(5, 4, 1).event(NETWORK, "leaf1"), fence(5, 0, 1).event(NETWORK, "leaf1")),
            (audit, Event::generation(NETWORK, 5, "leaf1"))
        );
    }
}

//! Every key of the store: docs/rmdp.md, "Store layout".

use std::fmt;

pub use crate::name::{BadName, MAX_NAME, check_name};
pub use crate::task::MAX_ATTEMPT;
use crate::task::{Digest, Event, GENERATIONS, NetworkId, PROBES, TransactionId};

/// Digits of a generation, an occurrence, a version or an epoch in a key: sorting keys sorts numbers.
const NUMBER_DIGITS: usize = 20;
/// Digits of an attempt.
const ATTEMPT_DIGITS: usize = 6;
/// Where the network's id is.
const NETWORK: &str = "network";
/// Where recoveries are.
const RECOVERY: &str = "recovery";

/// The name of one object in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `network`: which network this store is of.
    Network,
    /// `recovery/<network>`: the store was recovered, and is of this network since.
    Recovery(NetworkId),
    /// `i/<generation>`: a generation of the intent.
    Generation(u64),
    /// `i/s/<generation>/<sha256>`: a part of a generation as a whole, packed, binary. The hash is its bytes'.
    Snapshot(u64, Digest),
    /// `p/<number>`: switches to be probed.
    Probe(u64),
    /// `a/<number>/<switch>`: a switch is brought back to what it should hold. The switch stands as [`switch_id`], since
    /// its name may have any bytes.
    Audit(u64, TransactionId),
    /// `b/<sha256>`: a desired state, binary.
    Blob(Digest),
    /// `q/<id[0:2]>/<id>`: a task.
    Queue(TransactionId),
    /// `c/<id>/<attempt>`: who owns an attempt.
    Claim(TransactionId, u32),
    /// `r/<id>/<attempt>`: an attempt that failed.
    Result(TransactionId, u32),
    /// `d/<id>`: how a task ended.
    Decision(TransactionId),
    /// `h/<source>/<occurrence>`: occurrences of the source below this one are closed.
    Horizon(String, u64),
    /// `config/<version>`: the shared configuration.
    Config(u64),
    /// `e/<node>/<epoch>`: a node's stream epoch is taken.
    Epoch(String, u64),
    /// `n/<node>`: a node's status.
    Status(String),
    /// `k/<node>`: the switches that a controller keeps.
    Kept(String),
    /// `degraded/<node>`: an alert about a node.
    Degraded(String),
    /// `l/<node>/<number>`: packets that rules with `log` denied.
    Packets(String, u64),
    /// `t/<switch>`: what the rules of a switch have counted. The switch stands as [`switch_id`].
    Totals(TransactionId),
}

/// How a switch stands in a key.
pub fn switch_id(switch: &str) -> Option<TransactionId> {
    Event::audit(NetworkId::NONE, 0, switch).id().ok()
}

/// A path in the store that is no key of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is no key of this store's layout")]
pub struct BadKey {
    /// The path, cut to a readable length.
    pub path: String,
}

impl Key {
    /// The path in the bucket.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// The key at a path. Only the spelling that [`Key::path`] gives is taken.
    pub fn parse(path: &str) -> Result<Self, BadKey> {
        parse(path).ok_or_else(|| BadKey { path: path.chars().take(128).collect() })
    }

    /// The object of a log that bears an event's task out: it names the switch, and what is to be done. None if no log issues such
    /// events.
    pub fn evidence(event: &Event) -> Option<Self> {
        if event.occurrence == 0 || !event.object.is_empty() {
            return None;
        }
        match (event.source.as_str(), event.kind.as_str()) {
            (GENERATIONS, "generation") => Some(Self::Generation(event.occurrence)),
            (PROBES, "probe") => Some(Self::Probe(event.occurrence)),
            _ => None,
        }
    }

    /// The task that the object is about.
    pub fn id(&self) -> Option<TransactionId> {
        match self {
            Self::Queue(id) | Self::Claim(id, _) | Self::Result(id, _) | Self::Decision(id) => Some(*id),
            _ => None,
        }
    }

    /// Whether the object is overwritten: by its owner, or (totals) by whoever has read what is there. All others are
    /// written once.
    pub fn is_overwritten(&self) -> bool {
        let by_its_owner =
            matches!(self, Self::Status(_) | Self::Kept(_) | Self::Degraded(_) | Self::Packets(..));
        by_its_owner || matches!(self, Self::Totals(_))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str(NETWORK),
            Self::Recovery(network) => write!(f, "{RECOVERY}/{network}"),
            Self::Generation(number) => write!(f, "i/{number:0NUMBER_DIGITS$}"),
            Self::Snapshot(number, digest) => write!(f, "i/s/{number:0NUMBER_DIGITS$}/{digest}"),
            Self::Probe(number) => write!(f, "p/{number:0NUMBER_DIGITS$}"),
            Self::Audit(number, switch) => write!(f, "a/{number:0NUMBER_DIGITS$}/{switch}"),
            Self::Blob(digest) => write!(f, "b/{digest}"),
            Self::Queue(id) => write!(f, "q/{id:.2}/{id}"),
            Self::Claim(id, attempt) => write!(f, "c/{id}/{attempt:0ATTEMPT_DIGITS$}"),
            Self::Result(id, attempt) => write!(f, "r/{id}/{attempt:0ATTEMPT_DIGITS$}"),
            Self::Decision(id) => write!(f, "d/{id}"),
            Self::Horizon(source, occurrence) => write!(f, "h/{source}/{occurrence:0NUMBER_DIGITS$}"),
            Self::Config(version) => write!(f, "config/{version:0NUMBER_DIGITS$}"),
            Self::Epoch(node, epoch) => write!(f, "e/{node}/{epoch:0NUMBER_DIGITS$}"),
            Self::Status(node) => write!(f, "n/{node}"),
            Self::Kept(node) => write!(f, "k/{node}"),
            Self::Degraded(node) => write!(f, "degraded/{node}"),
            Self::Packets(node, number) => write!(f, "l/{node}/{number:0NUMBER_DIGITS$}"),
            Self::Totals(switch) => write!(f, "t/{switch}"),
        }
    }
}

fn parse(path: &str) -> Option<Key> {
    if path == NETWORK {
        return Some(Key::Network);
    }
    let (folder, rest) = path.split_once('/')?;
    let key = match folder {
        RECOVERY => Key::Recovery(network(rest)?),
        "i" => match rest.strip_prefix("s/") {
            Some(rest) => {
                let (generation, digest) = rest.split_once('/')?;
                Key::Snapshot(number(generation)?, digest.parse().ok()?)
            }
            None => Key::Generation(number(rest)?),
        },
        "p" => Key::Probe(number(rest)?),
        "a" => {
            let (audit, switch) = rest.split_once('/')?;
            Key::Audit(number(audit)?, switch.parse().ok()?)
        }
        "b" => Key::Blob(rest.parse().ok()?),
        "q" => {
            let (shard, id) = rest.split_once('/')?;
            id.starts_with(shard).then_some(())?;
            (shard.len() == 2).then_some(())?;
            Key::Queue(id.parse().ok()?)
        }
        "c" | "r" => {
            let (id, attempt) = rest.split_once('/')?;
            let (id, attempt) = (id.parse().ok()?, digits(attempt, ATTEMPT_DIGITS)?);
            let attempt = u32::try_from(attempt).ok().filter(|attempt| *attempt > 0)?;
            if folder == "c" { Key::Claim(id, attempt) } else { Key::Result(id, attempt) }
        }
        "d" => Key::Decision(rest.parse().ok()?),
        "h" => {
            let (source, occurrence) = named_number(rest)?;
            Key::Horizon(source, occurrence)
        }
        "config" => Key::Config(number(rest)?),
        "e" => {
            let (node, epoch) = named_number(rest)?;
            Key::Epoch(node, epoch)
        }
        "n" => Key::Status(named(rest)?),
        "k" => Key::Kept(named(rest)?),
        "degraded" => Key::Degraded(named(rest)?),
        "l" => {
            let (node, number) = named_number(rest)?;
            Key::Packets(node, number)
        }
        "t" => Key::Totals(rest.parse().ok()?),
        _ => return None,
    };
    Some(key)
}

fn digits(text: &str, width: usize) -> Option<u64> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Only the spelling that it is written in.
fn network(text: &str) -> Option<NetworkId> {
    text.parse::<NetworkId>().ok().filter(|network| network.to_string() == text)
}

fn number(text: &str) -> Option<u64> {
    digits(text, NUMBER_DIGITS)
}

fn named(text: &str) -> Option<String> {
    check_name(text).ok().map(|()| text.to_owned())
}

fn named_number(text: &str) -> Option<(String, u64)> {
    let (name, rest) = text.split_once('/')?;
    Some((named(name)?, number(rest)?))
}

/// What a listing is restricted to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// All of `i/`: first the generations, then the snapshots.
    Generations,
    /// All of `p/`.
    Probes,
    /// All of `a/`.
    Audits,
    /// All of `q/`.
    Queue,
    /// All of `c/`.
    Claims,
    /// The claims of one task.
    ClaimsOf(TransactionId),
    /// All of `r/`.
    Results,
    /// All of `d/`.
    Decisions,
    /// All of `h/`.
    Horizons,
    /// All of `config/`.
    Configs,
    /// All of `e/`.
    Epochs,
    /// The epochs of one node.
    EpochsOf(String),
    /// All of `b/`.
    Blobs,
    /// All of `n/`.
    Statuses,
    /// All of `k/`.
    Kept,
    /// All of `degraded/`.
    Degraded,
    /// All of `l/`.
    Packets,
    /// All of `recovery/`.
    Recoveries,
    /// The batches of packets of one node.
    PacketsOf(String),
    /// All of `t/`.
    Totals,
}

impl Prefix {
    /// The folder that the paths are in.
    pub fn root(&self) -> &'static str {
        match self {
            Self::Generations => "i/",
            Self::Probes => "p/",
            Self::Audits => "a/",
            Self::Queue => "q/",
            Self::Claims | Self::ClaimsOf(_) => "c/",
            Self::Results => "r/",
            Self::Decisions => "d/",
            Self::Horizons => "h/",
            Self::Configs => "config/",
            Self::Epochs | Self::EpochsOf(_) => "e/",
            Self::Blobs => "b/",
            Self::Statuses => "n/",
            Self::Kept => "k/",
            Self::Degraded => "degraded/",
            Self::Packets | Self::PacketsOf(_) => "l/",
            Self::Totals => "t/",
            Self::Recoveries => "recovery/",
        }
    }

    /// The beginning of the paths.
    pub fn path(&self) -> String {
        match self {
            Self::ClaimsOf(id) => format!("c/{id}/"),
            Self::EpochsOf(node) => format!("e/{node}/"),
            Self::PacketsOf(node) => format!("l/{node}/"),
            _ => self.root().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01020304-0506-8708-890a-0b0c0d0e0ff0";

    #[test]
    fn paths() {
        let id = ID.parse().unwrap();
        let cases = [
            (Key::Network, "network".to_owned()),
            (Key::Recovery(NetworkId::new(0x1abe)), "recovery/0000000000001abe".to_owned()),
            (Key::Generation(7), "i/00000000000000000007".to_owned()),
            (Key::Generation(u64::MAX), "i/18446744073709551615".to_owned()),
            (Key::Snapshot(64, Digest([0xab; 32])), format!("i/s/00000000000000000064/{}", "ab".repeat(32))),
            (Key::Probe(8), "p/00000000000000000008".to_owned()),
            (Key::Audit(9, id), format!("a/00000000000000000009/{ID}")),
            (Key::Blob(Digest([0xab; 32])), format!("b/{}", "ab".repeat(32))),
            (Key::Queue(id), format!("q/01/{ID}")),
            (Key::Claim(id, 1), format!("c/{ID}/000001")),
            (Key::Result(id, MAX_ATTEMPT), format!("r/{ID}/999999")),
            (Key::Decision(id), format!("d/{ID}")),
            (Key::Horizon("intent".to_owned(), 9), "h/intent/00000000000000000009".to_owned()),
            (Key::Config(2), "config/00000000000000000002".to_owned()),
            (Key::Epoch("c1".to_owned(), 3), "e/c1/00000000000000000003".to_owned()),
            (Key::Status("c1".to_owned()), "n/c1".to_owned()),
            (Key::Kept("c1".to_owned()), "k/c1".to_owned()),
            (Key::Degraded("d-1.x_y".to_owned()), "degraded/d-1.x_y".to_owned()),
            (Key::Packets("c1".to_owned(), 5), "l/c1/00000000000000000005".to_owned()),
            (Key::Totals(id), format!("t/{ID}")),
        ];
        for (key, path) in cases {
            assert_eq!(key.path(), path);
            assert_eq!(Key::parse(&path), Ok(key));
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let more = [
            format!("q/02/{ID}"),
            format!("q/0/{ID}"),
            format!("q//{ID}"),
            format!("c/{ID}/1"),
            format!("c/{ID}/000000"),
            format!("c/{ID}/+00001"),
            format!("d/{}", ID.to_uppercase()),
            format!("d/{ID}/"),
            "i/99999999999999999999".to_owned(),
            "i/s/00000000000000000064".to_owned(),
            format!("i/s/64/{}", "ab".repeat(32)),
            format!("i/s/00000000000000000064/{}", "AB".repeat(32)),
            format!("n/{}", "x".repeat(64)),
        ];
        let bad = [
            "",
            "/",
            "network/",
            "network/x",
            "recovery/1abe",
            "recovery/0000000000001ABE",
            "q",
            "i/7",
            "x/y",
            "n/",
            "n/A",
            "n/../x",
            "n/-x",
            "e/c1",
            "h/a/b/00000000000000000001",
        ];
        for path in bad.into_iter().chain(more.iter().map(String::as_str)) {
            assert!(Key::parse(path).is_err(), "{path}");
        }
    }
}

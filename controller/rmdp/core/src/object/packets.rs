use serde::{Deserialize, Serialize};

/// Most bytes that the lines of a batch take.
pub const MAX_LINES: usize = 48 * 1024;

/// `l/<node>/<N>`: packets that rules with `log` denied, as a controller heard of them from the switches whose primary it
/// is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketBatch {
    /// The controller.
    pub node: String,
    /// Its number: the controller's stream epoch above, a count below ([`batch_number`]).
    pub number: u64,
    /// In the order in which they came.
    pub lines: Vec<PacketLine>,
    /// Packets since the batch before that have no line: there were too many.
    pub left_out: u64,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// The number of a batch: later ones of a node are higher, across its starts.
pub fn batch_number(epoch: u64, count: u32) -> u64 {
    epoch << 32 | u64::from(count)
}

/// A packet that a rule with `log` denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketLine {
    /// When the controller had it, Unix milliseconds.
    pub at_ms: u64,
    /// The switch that denied it.
    pub switch: String,
    /// The generation whose entries name the rule; null where none is known that has the tag.
    pub generation: Option<u64>,
    /// The policy, as `FilterPolicy/edge`; null where nobody knows the tag.
    pub policy: Option<String>,
    /// Its rule.
    pub rule: Option<String>,
    /// The rule's tag, as the switch said it: `0x840a4f21`.
    pub tag: String,
    /// The segment that it entered in: its name, or its number where the name is not known; null for none.
    pub segment: Option<String>,
    /// MAC addresses of sender and receiver.
    pub src_mac: Option<String>,
    /// See `src_mac`.
    pub dst_mac: Option<String>,
    /// Bytes of the frame.
    pub length: u32,
    /// What the packet was, by the fields of `outplane trace --batch`.
    pub packet: LoggedPacket,
}

/// A packet's fields: `outplane trace --batch` takes them as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggedPacket {
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<String>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<String>,
    /// A protocol's name or number, or `arp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<String>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// Names of TCP flags, as `SYN,ACK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// ICMP type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// A fragment after the first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fragment: bool,
    /// Of frames that are neither IP nor ARP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ether_type: Option<u16>,
    /// Of frames without an EtherType: LLC and what follows it, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llc: Option<String>,
    /// The VLAN of its one tag, where that is an 802.1Q tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Of other tagged frames: the tags, from the outermost inwards, as `0x88a8:10`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The port that it came in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

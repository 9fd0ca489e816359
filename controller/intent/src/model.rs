//! The intent: everything that users asked for, checked and without syntax.
//!
//! Maps are ordered, so that whoever walks them does so in the same order on every machine. References between
//! objects are names that the reader has checked: what they name exists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

/// Everything that users asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// Switches by name.
    pub switches: BTreeMap<String, Switch>,
    /// Segments by name.
    pub segments: BTreeMap<String, Segment>,
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Address groups by name.
    pub groups: BTreeMap<String, AddressGroup>,
    /// Filter policies by name.
    pub filters: BTreeMap<String, FilterPolicy>,
    /// Namespaces by name. Every namespace that a pod or policy lives in is here, declared or not, with the label
    /// `kubernetes.io/metadata.name` that the API server gives it.
    pub namespaces: BTreeMap<String, Labels>,
    /// Pods by namespace and name. Only pods that have addresses of their own and still run: no host-network pods,
    /// none in phase Succeeded or Failed.
    pub pods: BTreeMap<ObjectName, Pod>,
    /// Kubernetes nodes by name (ClusterNetworkPolicy egress peers select them).
    pub nodes: BTreeMap<String, Node>,
    /// NetworkPolicies by namespace and name.
    pub network_policies: BTreeMap<ObjectName, NetworkPolicy>,
    /// ClusterNetworkPolicies by name.
    pub cluster_policies: BTreeMap<String, ClusterNetworkPolicy>,
    /// What holds where policies of Kubernetes say nothing.
    pub defaults: KubernetesDefaults,
}

impl Intent {
    /// When rules expire, in no order.
    pub fn expiries(&self) -> impl Iterator<Item = Timestamp> {
        self.filters.values().flat_map(|policy| &policy.rules).filter_map(|rule| rule.expires)
    }
}

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Namespace and name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

// ---------------------------------------------------------------------------------------------------------------
// The network

/// A switch that Outplane drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// `host:port` that it is driven by.
    pub address: String,
    /// TLS, none for plain text.
    pub tls: Option<Tls>,
    /// What it is driven by.
    pub protocol: Protocol,
    /// Its ports by number, 1..=509.
    pub ports: BTreeMap<u16, Port>,
}

/// The protocol that a switch is driven by, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `p4runtime`
    P4Runtime(P4Runtime),
}

impl Default for Protocol {
    fn default() -> Self {
        Self::P4Runtime(P4Runtime::default())
    }
}

/// What P4Runtime has to know of a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P4Runtime {
    /// Device id.
    pub device_id: u64,
    /// Role; none is the full-access default role.
    pub role: Option<String>,
    /// The P4 program that it runs. Only `outplane` today.
    pub program: String,
}

impl Default for P4Runtime {
    /// The first device, in the default role.
    fn default() -> Self {
        Self { device_id: 1, role: None, program: "outplane".to_owned() }
    }
}

/// TLS with client certificates. Paths are as written, relative ones to the file that says them (already joined).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the authorities that the switch's certificate must come from.
    pub ca: std::path::PathBuf,
    /// PEM file with our certificate, for mTLS.
    pub cert: Option<std::path::PathBuf>,
    /// PEM file with our private key, for mTLS.
    pub key: Option<std::path::PathBuf>,
    /// Name to expect in the switch's certificate, if it is not the address.
    pub server_name: Option<String>,
}

/// A switch port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// What people call it.
    pub name: Option<String>,
    /// The port that it is transparently paired with (symmetric: the reader has checked that both say so or one does).
    pub cross_connect: Option<u16>,
    /// Any source address may enter by it (`antiSpoofing: none`): an uplink, another switch.
    pub trusted: bool,
}

/// A segment: a broadcast domain, where frames enter by port and VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// VLAN id of its frames (outer tag), 1..=4094; none means frames without a tag.
    pub vlan: Option<u16>,
    /// Its addresses. As a peer, a segment means these.
    pub subnets: Vec<IpNet>,
    /// Ports that belong to it, per switch. Empty: with a VLAN, every port of every switch; without one, none.
    pub ports: BTreeMap<String, Vec<u16>>,
    /// Which source addresses may enter in it.
    pub anti_spoofing: SegmentGuard,
}

/// Which source addresses may enter in a segment ("Spoofing" in docs/policy-semantics.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentGuard {
    /// Any.
    None,
    /// By ports that hosts are on, theirs and those of the subnets; theirs by no other port.
    #[default]
    Hosts,
    /// That, and by all other ports those of the subnets.
    Subnets,
}

/// Which source addresses may come from where a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostGuard {
    /// Any: it is a router, say.
    None,
    /// Its own and those of its segment's subnets.
    Hosts,
    /// Its own, and those of other hosts on the port.
    Strict,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its segment.
    pub segment: Option<String>,
    /// Its MAC address.
    pub mac: Option<[u8; 6]>,
    /// VLAN id of its frames; none: the segment's.
    pub vlan: Option<u16>,
    /// Where it is plugged in: switch and port.
    pub port: Option<(String, u16)>,
    /// Which source addresses may come from there. None: [`HostGuard::Hosts`], and for a node of Kubernetes, behind which
    /// there are pods, [`HostGuard::None`].
    pub anti_spoofing: Option<HostGuard>,
}

/// Addresses under one name; nested groups are already expanded here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressGroup {
    /// CIDRs, own and nested groups', as written.
    pub cidrs: Vec<IpNet>,
}

// ---------------------------------------------------------------------------------------------------------------
// FilterPolicy

/// An ordered list of rules.
///
/// Within a tier, policies are taken by priority (lower first), then name; rules in their order. The first rule that
/// matches decides: allow and deny are final, pass leaves the tier. If none matches, the policy's default decides;
/// without a default the next policy is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterPolicy {
    /// Before or after the pods' policies.
    pub tier: FilterTier,
    /// 0..=1000, lower is asked first. Default 500.
    pub priority: u16,
    /// Switches that it is installed on; empty means all.
    pub switches: Vec<String>,
    /// Segments whose packets it looks at (by where they enter the switch); empty means all packets.
    pub segments: Vec<String>,
    /// The verdict when no rule matches, for IP packets only (ARP, neighbour discovery and control protocols are matched
    /// by rules that name them and by nothing else), and for what may hold some.
    pub default: Option<FilterAction>,
    /// How replies to what its rules allow get through.
    pub replies: Replies,
    /// Whether ICMP errors about what its rules allow get through.
    pub related_errors: RelatedErrors,
    /// Rules in order.
    pub rules: Vec<FilterRule>,
}

/// Where filter policies stand: before or after NetworkPolicy and ClusterNetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterTier {
    /// First of all: before ClusterNetworkPolicies of the Admin tier.
    Admin,
    /// Last of all, for packets that a side of NetworkPolicy and ClusterNetworkPolicy has left undecided.
    Baseline,
}

/// What a filter rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterAction {
    /// The packet passes, whatever later policies say.
    Allow,
    /// The packet is dropped.
    Deny,
    /// This tier has no opinion.
    Pass,
}

/// How a stateless switch lets replies through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replies {
    /// Not at all: only what rules allow by themselves.
    None,
    /// TCP segments with ACK or RST whose mirror image (addresses and ports swapped) is allowed. The default: nobody can
    /// open a connection with such a segment.
    #[default]
    Established,
    /// That, and UDP and SCTP packets whose mirror image is allowed by a rule, and echo replies where echo requests are.
    /// Whoever can send from the allowed port can reach any port of the other side.
    Reverse,
}

/// Whether ICMP errors about allowed traffic get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelatedErrors {
    /// Only where rules allow them by themselves.
    None,
    /// Towards addresses that may have sent what they answer. The default: without them a path's MTU is not found.
    #[default]
    Allow,
}

/// A rule of a filter policy. All conditions must hold; an absent one always does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    /// Its name, unique in the policy; `rule-<n>` (from 1) where none was given.
    pub name: String,
    /// What it does.
    pub action: FilterAction,
    /// Sources, any of them; empty means every address.
    pub from: Vec<FilterPeer>,
    /// Destinations, any of them; empty means every address.
    pub to: Vec<FilterPeer>,
    /// Traffic, any of them; empty means every IP packet except neighbour discovery.
    pub traffic: Vec<TrafficMatch>,
    /// Send a copy of the packet's start to the controller. Only for deny.
    pub log: bool,
    /// Let through at most this much. Only for allow.
    pub rate_limit: Option<RateLimit>,
    /// From this moment on the rule is as if it were not there.
    pub expires: Option<Timestamp>,
}

impl FilterRule {
    /// Whether it has not expired at a moment.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > at)
    }
}

/// Packets a second, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    /// Packets a second, at least 1.
    pub packets_per_second: u32,
    /// Packets that may come at once, at least 1. Default: one tenth of a second's worth, at least 1.
    pub burst: u32,
}

/// A source or destination in a filter rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterPeer {
    /// A CIDR without its exceptions.
    Cidr {
        /// The CIDR.
        cidr: IpNet,
        /// Cut out of it; each lies within `cidr`.
        except: Vec<IpNet>,
    },
    /// An address group, by name.
    Group(String),
    /// A segment's subnets and the addresses of hosts in it, by name.
    Segment(String),
    /// A host's addresses, by name.
    Host(String),
    /// Pods by label; no namespace selector means all namespaces.
    Pods {
        /// Namespaces.
        namespaces: Option<LabelSelector>,
        /// Pods.
        pods: LabelSelector,
    },
}

/// What kind of packet a filter rule means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficMatch {
    /// An IP protocol with ports: TCP, UDP or SCTP.
    Ports {
        /// Protocol.
        protocol: PortProtocol,
        /// Source ports, low and high; none means all.
        source: Option<(u16, u16)>,
        /// Destination ports, low and high; none means all.
        destination: Option<(u16, u16)>,
        /// TCP flags; only with TCP.
        tcp_flags: Option<TcpFlags>,
    },
    /// ICMP (v4).
    Icmp(IcmpMatch),
    /// ICMPv6, except neighbour discovery; multicast listener discovery only if its type is given.
    IcmpV6(IcmpMatch),
    /// Any other IP protocol by number. 6, 17, 132, 1 and 58 are also possible and mean the protocol without conditions.
    Protocol(u8),
    /// ARP; addresses are the sender's and target's protocol addresses.
    Arp,
    /// IPv6 neighbour discovery, ICMPv6 types 133 to 137, and multicast listener discovery, 130 to 132 and 143.
    NeighborDiscovery,
    /// Everything but IP and ARP, whether or not the switch can read it; addresses cannot be given.
    NonIp,
    /// Of that, frames of one EtherType.
    EtherType(u16),
}

/// ICMP type and code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IcmpMatch {
    /// Type; none means all.
    pub icmp_type: Option<u8>,
    /// Code; only with a type.
    pub code: Option<u8>,
}

/// TCP flags that must be set and must not be. Bits: CWR 0x80, ECE 0x40, URG 0x20, ACK 0x10, PSH 0x08, RST 0x04,
/// SYN 0x02, FIN 0x01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags {
    /// Must be set.
    pub set: u8,
    /// Must not be set; shares no bit with `set`.
    pub clear: u8,
}

/// IP protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortProtocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 132
    Sctp,
}

impl PortProtocol {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Kubernetes

/// What holds for a pod of whose policies none says anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KubernetesDefaults {
    /// How replies get past what policies deny.
    pub replies: Replies,
    /// Whether ICMP errors do.
    pub related_errors: RelatedErrors,
}

/// A pod with addresses of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Labels.
    pub labels: Labels,
    /// Its addresses (status.podIPs), at most one of each family as Kubernetes has it.
    pub addresses: Vec<IpAddr>,
    /// Its container ports by name and protocol: named ports in policies resolve to these.
    pub named_ports: BTreeMap<(String, PortProtocol), u16>,
    /// The addresses of the node that it runs on, ascending: those of its status (hostIPs) and of the Node that
    /// spec.nodeName names. Isolation never concerns packets from there. Empty: not known.
    pub node_addresses: Vec<IpAddr>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Labels.
    pub labels: Labels,
    /// Its addresses (status.addresses of type InternalIP and ExternalIP).
    pub addresses: Vec<IpAddr>,
}

/// A label selector: all requirements must hold, none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector {
    /// Requirements (matchLabels become `In` with one value).
    pub requirements: Vec<Requirement>,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
}

/// Operators of a label requirement. `NotIn` also holds where the label is absent, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelOperator {
    /// The label is there with one of these values.
    In(Vec<String>),
    /// The label is absent or has none of these values.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A NetworkPolicy (networking.k8s.io/v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Pods of its namespace that it isolates.
    pub pods: LabelSelector,
    /// It isolates for ingress, with these rules.
    pub ingress: Option<Vec<NetworkPolicyRule>>,
    /// It isolates for egress, with these rules.
    pub egress: Option<Vec<NetworkPolicyRule>>,
    /// How replies get past the isolation (annotation `outplane.dev/replies`). None: it has no say.
    pub replies: Option<Replies>,
    /// Whether ICMP errors do (annotation `outplane.dev/related-errors`). None: it has no say.
    pub related_errors: Option<RelatedErrors>,
    /// Packets that the isolation drops are logged (annotation `outplane.dev/log: "true"`).
    pub log: bool,
}

/// One ingress or egress rule of a NetworkPolicy. It is known as `ingress[<n>]` or `egress[<n>]`, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicyRule {
    /// Peers, any of them; none given means everything.
    pub peers: Vec<NetworkPeer>,
    /// Ports, any of them; none given means all traffic.
    pub ports: Vec<NetworkPort>,
}

/// A peer of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkPeer {
    /// ipBlock.
    IpBlock {
        /// The CIDR.
        cidr: IpNet,
        /// Cut out of this peer only.
        except: Vec<IpNet>,
    },
    /// Pods, by selectors that must both hold; no namespace selector means the policy's own namespace.
    Pods {
        /// Namespaces.
        namespaces: Option<LabelSelector>,
        /// Pods (none given means all).
        pods: LabelSelector,
    },
}

/// A port of a NetworkPolicy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkPort {
    /// All ports of a protocol.
    All(PortProtocol),
    /// Ports low to high.
    Range(PortProtocol, u16, u16),
    /// The port that the destination pod calls so.
    Named(PortProtocol, String),
    /// ClusterNetworkPolicy's destinationNamedPort: as above, whatever its protocol.
    NamedAnyProtocol(String),
}

/// A ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNetworkPolicy {
    /// Admin stands before NetworkPolicy, Baseline after it.
    pub tier: ClusterTier,
    /// 0..=1000, lower is asked first; equal ones by name.
    pub priority: u16,
    /// The pods that it is about.
    pub subject: PodsAnywhere,
    /// Rules for packets to the subject, in order.
    pub ingress: Vec<ClusterRule>,
    /// Rules for packets from the subject, in order.
    pub egress: Vec<ClusterRule>,
    /// How replies get past what it denies (annotation `outplane.dev/replies`). None: it has no say.
    pub replies: Option<Replies>,
    /// Whether ICMP errors do (annotation `outplane.dev/related-errors`). None: it has no say.
    pub related_errors: Option<RelatedErrors>,
}

/// Tier of a ClusterNetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterTier {
    /// Before NetworkPolicy.
    Admin,
    /// After NetworkPolicy, for directions in which no NetworkPolicy isolates the pod.
    Baseline,
}

/// Pods in namespaces, both by label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsAnywhere {
    /// Namespaces.
    pub namespaces: LabelSelector,
    /// Pods.
    pub pods: LabelSelector,
}

/// A rule of a ClusterNetworkPolicy. Without a name it is known as `ingress[<n>]` or `egress[<n>]`, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRule {
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub action: ClusterAction,
    /// Peers, any of them (at least one).
    pub peers: Vec<ClusterPeer>,
    /// Ports, any of them; none given means all traffic.
    pub ports: Vec<NetworkPort>,
}

/// What a rule of a ClusterNetworkPolicy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterAction {
    /// This direction is allowed, whatever later tiers say.
    Accept,
    /// The packet is dropped.
    Deny,
    /// This tier has no opinion.
    Pass,
}

/// A peer of a ClusterNetworkPolicy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterPeer {
    /// Pods.
    Pods(PodsAnywhere),
    /// Nodes by label (egress only).
    Nodes(LabelSelector),
    /// CIDRs (egress only).
    Networks(Vec<IpNet>),
}

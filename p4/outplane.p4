// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The static firewall's data plane: classify, decide, forward.
//
// Addresses and ports are first mapped to small class ids; the policy tables match on class ids, so a
// rule between n sources and m destinations costs entries for its classes and not n x m addresses.
// Every table that a policy update must change at one instant carries the policy version as a ternary
// key; the one default action of `policy_version` says which version packets see.
// p4/README.md explains each table with an example entry.

#include <core.p4>
#include <v1model.p4>

// ---------------------------------------------------------------------------------------------------
// Types and constants

typedef bit<9>   port_t;
typedef bit<16>  class_t;
typedef bit<16>  segment_t;
typedef bit<8>   version_t;

const port_t CPU_PORT = 510;

const bit<16> ETHERTYPE_IPV4 = 0x0800;
const bit<16> ETHERTYPE_ARP  = 0x0806;
const bit<16> ETHERTYPE_IPV6 = 0x86dd;

const bit<8> PROTO_HOPOPT   = 0;
const bit<8> PROTO_ICMP     = 1;
const bit<8> PROTO_TCP      = 6;
const bit<8> PROTO_UDP      = 17;
const bit<8> PROTO_ROUTING  = 43;
const bit<8> PROTO_FRAGMENT = 44;
const bit<8> PROTO_AH       = 51;
const bit<8> PROTO_ICMPV6   = 58;
const bit<8> PROTO_DSTOPTS  = 60;
const bit<8> PROTO_SCTP     = 132;

// What kind of traffic a frame is, as the policy tables see it.
const bit<3> TRAFFIC_IP     = 0; // IPv4 or IPv6, except neighbour discovery
const bit<3> TRAFFIC_ARP    = 1; // addresses are the ARP sender and target protocol addresses
const bit<3> TRAFFIC_ND     = 2; // neighbour and multicast listener discovery
const bit<3> TRAFFIC_NON_IP = 3; // control protocols that carry no IP
const bit<3> TRAFFIC_UNREAD = 4; // everything else: some host may find IP in it

const bit<8> ICMP_ECHO_REPLY   = 0;
const bit<8> ICMPV6_ECHO_REPLY = 129;

// ICMP errors that a host answers a packet with: RFC 792, RFC 4443 section 2.1.
const bit<8> ICMP_UNREACHABLE       = 3;
const bit<8> ICMP_TIME_EXCEEDED     = 11;
const bit<8> ICMP_PARAMETER_PROBLEM = 12;
const bit<8> ICMPV6_UNREACHABLE       = 1; // 2: packet too big, 3: time exceeded
const bit<8> ICMPV6_PARAMETER_PROBLEM = 4;

// Multicast listener discovery, RFC 2710 and RFC 3810, and neighbour discovery, RFC 4861.
const bit<8> MLD_QUERY         = 130; // 131: report
const bit<8> MLD_DONE          = 132;
const bit<8> ND_FIRST          = 133;
const bit<8> ND_LAST           = 137;
const bit<8> MLD_REPORT_V2     = 143;

const bit<2> VERDICT_NONE   = 0;
const bit<2> VERDICT_PERMIT = 1;
const bit<2> VERDICT_DENY   = 2;

const bit<2> COLOR_RED = 2;

const bit<8> REASON_DENY_LOG = 1; // packet-in reason: a rule with `log` denied the packet

// Why a frame is dropped: the cells of the counter `drops`.
const bit<32> DROP_TOO_SHORT       = 0;  // the parser: the frame ends inside a header
const bit<32> DROP_TOO_MANY_TAGS   = 1;
const bit<32> DROP_IPV4_HEADER     = 2;
const bit<32> DROP_IPV6_HEADER     = 3;
const bit<32> DROP_IP_LENGTH       = 4;
const bit<32> DROP_IPV6_EXTENSIONS = 5;
const bit<32> DROP_PARSER          = 6;  // any other error of the parser
const bit<32> DROP_NO_POLICY       = 7;
const bit<32> DROP_TINY_FRAGMENT   = 8;
const bit<32> DROP_SPOOFED         = 9;  // a source address that may not enter here
const bit<32> DROP_DENIED          = 10; // by a policy
const bit<32> DROP_DENIED_LOGGED   = 11; // by a policy, and told
const bit<32> DROP_RATE_LIMITED    = 12;
const bit<32> DROP_BLOCKED         = 13; // an entry of l2_forward
const bit<32> DROP_NO_WAY_OUT      = 14;

error {
    TooManyTags,
    IPv4HeaderInvalid,
    IPv6HeaderInvalid,
    IPLengthInvalid,
    IPv6TooManyExtensionHeaders
}

// ---------------------------------------------------------------------------------------------------
// Headers

@controller_header("packet_in")
header packet_in_t {
    port_t    ingress_port;
    @padding bit<7> pad;
    bit<8>    reason;
    segment_t segment;
    bit<32>   rule;          // the rule tag of the entry that sent it
}

@controller_header("packet_out")
header packet_out_t {
    port_t    egress_port;
    @padding bit<7> pad;
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> ether_type;
}

header vlan_t {
    bit<3>  pcp;
    bit<1>  dei;
    bit<12> vid;
    bit<16> ether_type;
}

// IEEE 802.2 LLC, and the SNAP header that follows AA AA 03. Of other frames these bytes are payload.
header llc_t {
    bit<8>  dsap;
    bit<8>  ssap;
    bit<8>  control_field;
    bit<24> oui;
    bit<16> protocol;
}

header arp_t {
    bit<16> hardware_type;
    bit<16> protocol_type;
    bit<8>  hardware_size;
    bit<8>  protocol_size;
    bit<16> operation;
    bit<48> sender_mac;
    bit<32> sender_ip;
    bit<48> target_mac;
    bit<32> target_ip;
}

header ipv4_t {
    bit<4>  version;
    bit<4>  ihl;
    bit<8>  tos;
    bit<16> total_length;
    bit<16> identification;
    bit<3>  flags;
    bit<13> fragment_offset;
    bit<8>  ttl;
    bit<8>  protocol;
    bit<16> checksum;
    bit<32> src;
    bit<32> dst;
    varbit<320> options;
}

header ipv6_t {
    bit<4>   version;
    bit<8>   traffic_class;
    bit<20>  flow_label;
    bit<16>  payload_length;
    bit<8>   next_header;
    bit<8>   hop_limit;
    bit<128> src;
    bit<128> dst;
}

// Any IPv6 extension header: hop-by-hop, routing, destination options, fragment, authentication.
header ipv6_extension_t {
    bit<8> next_header;
    bit<8> length;
    varbit<16368> body;
}

header tcp_t {
    bit<16> sport;
    bit<16> dport;
    bit<32> seq;
    bit<32> ack;
    bit<4>  data_offset;
    bit<4>  reserved;
    bit<8>  flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent;
}

// UDP, and the first eight bytes of SCTP: source port, destination port, then what we never look at.
header ports_t {
    bit<16> sport;
    bit<16> dport;
    bit<32> rest;
}

header icmp_t {
    bit<8>  type;
    bit<8>  code;
    bit<16> checksum;
}

struct headers_t {
    packet_in_t      packet_in;
    packet_out_t     packet_out;
    ethernet_t       ethernet;
    vlan_t           vlan_outer;
    vlan_t           vlan_inner;
    llc_t            llc;
    arp_t            arp;
    ipv4_t           ipv4;
    ipv6_t           ipv6;
    ipv6_extension_t extension_0;
    ipv6_extension_t extension_1;
    ipv6_extension_t extension_2;
    ipv6_extension_t extension_3;
    tcp_t            tcp;
    ports_t          ports;
    icmp_t           icmp;
}

struct metadata_t {
    version_t version;
    segment_t segment;
    bit<3>    traffic;
    bit<16>   ether_type;        // behind the tags; a length where LLC follows
    bit<1>    vlan_present;
    bit<12>   vlan_id;
    bit<8>    protocol;
    bit<16>   left;              // bytes that the IP packet still has, by its own length
    bit<1>    fragment;          // 1: a fragment that is not the first, so without ports, flags, type
    bit<16>   sport;
    bit<16>   dport;
    bit<8>    tcp_flags;         // CWR ECE URG ACK PSH RST SYN FIN
    bit<1>    established;       // 1: TCP with ACK or RST
    bit<1>    reply;             // 1: may answer something: established, UDP, SCTP, an echo reply
    bit<1>    related;           // 1: an ICMP error
    bit<8>    icmp_type;
    bit<8>    icmp_code;
    class_t   src_class;         // for the filter tables
    class_t   dst_class;
    class_t   src_pod_class;     // for the pod tables
    class_t   dst_pod_class;
    class_t   sport_class;
    class_t   dport_class;
    bit<2>    verdict;
    bit<2>    egress_verdict;
    bit<2>    ingress_verdict;
    bit<1>    log;
    bit<32>   rule;
    bit<2>    color;
    bit<16>   limiter;           // the cell that has said the colour
    bit<1>    spoofed;           // 1: its source address may not enter here
    bit<1>    same_host;         // source and destination address are one
}

// ---------------------------------------------------------------------------------------------------
// Parser

parser OutplaneParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                      inout standard_metadata_t std) {
    state start {
        meta.traffic = TRAFFIC_UNREAD;
        transition select(std.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }

    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition accept;
    }

    // Tags: 802.1Q, 802.1ad, and what was in use before 802.1ad.
#define TAG(NEXT)                                                                                       \
            0x8100: NEXT;                                                                               \
            0x88a8: NEXT;                                                                               \
            0x9100: NEXT;                                                                               \
            0x9200: NEXT;                                                                               \
            0x9300: NEXT;

    state parse_ethernet {
        packet.extract(hdr.ethernet);
        meta.ether_type = hdr.ethernet.ether_type;
        transition select(hdr.ethernet.ether_type) {
            TAG(parse_vlan_outer)
            default: parse_network;
        }
    }

    state parse_vlan_outer {
        packet.extract(hdr.vlan_outer);
        meta.ether_type = hdr.vlan_outer.ether_type;
        meta.vlan_present = 1;
        meta.vlan_id = hdr.vlan_outer.vid;
        transition select(hdr.vlan_outer.ether_type) {
            TAG(parse_vlan_inner)
            default: parse_network;
        }
    }

    state parse_vlan_inner {
        packet.extract(hdr.vlan_inner);
        meta.ether_type = hdr.vlan_inner.ether_type;
        transition select(hdr.vlan_inner.ether_type) {
            TAG(too_many_tags)
            default: parse_network;
        }
    }

    state too_many_tags {
        verify(false, error.TooManyTags); // a host may take off as many as there are
        transition accept;
    }

    // What is not listed here is unread: a new protocol, or a tunnel's header, is no way around the policy.
    state parse_network {
        transition select(meta.ether_type) {
            ETHERTYPE_ARP: parse_arp;
            ETHERTYPE_IPV4: parse_ipv4;
            ETHERTYPE_IPV6: parse_ipv6;
            0x0000 &&& 0xfc00: parse_llc; // below 0x0600 it is a length
            0x0400 &&& 0xfe00: parse_llc;
            0x0842: parse_non_ip; // Wake-on-LAN
            0x22ea: parse_non_ip; // stream reservation, MSRP
            0x8035: parse_non_ip; // RARP
            0x8808: parse_non_ip; // MAC control: pause
            0x8809: parse_non_ip; // slow protocols: LACP, OAM
            0x8863: parse_non_ip; // PPPoE discovery
            0x888e: parse_non_ip; // EAPOL
            0x8892: parse_non_ip; // PROFINET
            0x88a2: parse_non_ip; // ATA over Ethernet
            0x88b8: parse_non_ip; // GOOSE
            0x88b9: parse_non_ip; // GSE management
            0x88ba: parse_non_ip; // sampled values
            0x88c7: parse_non_ip; // 802.11 pre-authentication
            0x88cc: parse_non_ip; // LLDP
            0x88e3: parse_non_ip; // media redundancy, MRP
            0x88ee: parse_non_ip; // E-LMI
            0x88f5: parse_non_ip; // MVRP
            0x88f6: parse_non_ip; // MMRP
            0x88f7: parse_non_ip; // PTP
            0x8902: parse_non_ip; // connectivity fault management
            0x8940: parse_non_ip; // edge control protocol
            0x9000: parse_non_ip; // loopback test
            default: accept;
        }
    }

    state parse_llc {
        packet.extract(hdr.llc);
        transition select(hdr.llc.dsap, hdr.llc.ssap, hdr.llc.control_field, hdr.llc.oui, hdr.llc.protocol) {
            (0x42, 0x42, 0x03, _, _): parse_non_ip;                            // spanning tree
            (0xfe, 0xfe, 0x03, 0x820000 &&& 0xff0000, _): parse_non_ip;        // ES-IS
            (0xfe, 0xfe, 0x03, 0x830000 &&& 0xff0000, _): parse_non_ip;        // IS-IS
            (0xaa, 0xaa, 0x03, 0x00000c, 0x010b): parse_non_ip;                // PVST+
            (0xaa, 0xaa, 0x03, 0x00000c, 0x0111): parse_non_ip;                // UDLD
            (0xaa, 0xaa, 0x03, 0x00000c, 0x2000): parse_non_ip;                // CDP
            (0xaa, 0xaa, 0x03, 0x00000c, 0x2003): parse_non_ip;                // VTP
            (0xaa, 0xaa, 0x03, 0x00000c, 0x2004): parse_non_ip;                // DTP
            default: accept;
        }
    }

    state parse_non_ip {
        meta.traffic = TRAFFIC_NON_IP;
        transition accept;
    }

    state parse_arp {
        packet.extract(hdr.arp);
        meta.traffic = TRAFFIC_ARP;
        transition accept;
    }

    state parse_ipv4 {
        bit<8> first = packet.lookahead<bit<8>>();
        verify(first[7:4] == 4 && first[3:0] >= 5, error.IPv4HeaderInvalid);
        packet.extract(hdr.ipv4, (bit<32>)(((bit<16>)first[3:0] - 5) << 5));
        meta.traffic = TRAFFIC_IP;
        meta.protocol = hdr.ipv4.protocol;
        // What lies behind the packet's own end is padding: a host does not read ports and flags there.
        verify(hdr.ipv4.total_length >= ((bit<16>)hdr.ipv4.ihl << 2), error.IPLengthInvalid);
        meta.left = hdr.ipv4.total_length - ((bit<16>)hdr.ipv4.ihl << 2);
        transition select(hdr.ipv4.fragment_offset) {
            0: parse_transport;
            default: parse_later_fragment;
        }
    }

    state parse_later_fragment {
        meta.fragment = 1;
        transition accept;
    }

    state parse_ipv6 {
        packet.extract(hdr.ipv6);
        verify(hdr.ipv6.version == 6, error.IPv6HeaderInvalid);
        meta.traffic = TRAFFIC_IP;
        meta.protocol = hdr.ipv6.next_header;
        meta.left = hdr.ipv6.payload_length;
        transition select(hdr.ipv6.next_header) {
            PROTO_HOPOPT: parse_extension_0;
            PROTO_ROUTING: parse_extension_0;
            PROTO_DSTOPTS: parse_extension_0;
            PROTO_AH: parse_authentication_0;
            PROTO_FRAGMENT: parse_fragment_0;
            default: parse_transport;
        }
    }

#define EXTENSION(N, NEXT_EXTENSION, NEXT_AUTHENTICATION, NEXT_FRAGMENT)                                \
    state parse_extension_##N {                                                                         \
        bit<16> first = packet.lookahead<bit<16>>();                                                    \
        packet.extract(hdr.extension_##N, (((bit<32>)first[7:0] + 1) << 6) - 16);                       \
        verify(meta.left >= (((bit<16>)first[7:0] + 1) << 3), error.IPLengthInvalid);                   \
        meta.left = meta.left - (((bit<16>)first[7:0] + 1) << 3);                                       \
        transition parse_after_extension_##N;                                                           \
    }                                                                                                   \
    state parse_authentication_##N {                                                                    \
        bit<16> first = packet.lookahead<bit<16>>();                                                    \
        packet.extract(hdr.extension_##N, (((bit<32>)first[7:0] + 2) << 5) - 16);                       \
        verify(meta.left >= (((bit<16>)first[7:0] + 2) << 2), error.IPLengthInvalid);                   \
        meta.left = meta.left - (((bit<16>)first[7:0] + 2) << 2);                                       \
        transition parse_after_extension_##N;                                                           \
    }                                                                                                   \
    state parse_fragment_##N {                                                                          \
        bit<32> first = packet.lookahead<bit<32>>();                                                    \
        packet.extract(hdr.extension_##N, 48);                                                          \
        verify(meta.left >= 8, error.IPLengthInvalid);                                                  \
        meta.left = meta.left - 8;                                                                      \
        meta.protocol = hdr.extension_##N.next_header;                                                  \
        transition select(first[15:3]) {                                                                \
            0: parse_after_extension_##N;                                                               \
            default: parse_later_fragment;                                                              \
        }                                                                                               \
    }                                                                                                   \
    state parse_after_extension_##N {                                                                   \
        meta.protocol = hdr.extension_##N.next_header;                                                  \
        transition select(hdr.extension_##N.next_header) {                                              \
            PROTO_HOPOPT: NEXT_EXTENSION;                                                               \
            PROTO_ROUTING: NEXT_EXTENSION;                                                              \
            PROTO_DSTOPTS: NEXT_EXTENSION;                                                              \
            PROTO_AH: NEXT_AUTHENTICATION;                                                              \
            PROTO_FRAGMENT: NEXT_FRAGMENT;                                                              \
            default: parse_transport;                                                                   \
        }                                                                                               \
    }

    EXTENSION(0, parse_extension_1, parse_authentication_1, parse_fragment_1)
    EXTENSION(1, parse_extension_2, parse_authentication_2, parse_fragment_2)
    EXTENSION(2, parse_extension_3, parse_authentication_3, parse_fragment_3)
    EXTENSION(3, too_many_extensions, too_many_extensions, too_many_extensions)

    state too_many_extensions {
        verify(false, error.IPv6TooManyExtensionHeaders); // ends in the parser error check of the ingress control
        transition accept;
    }

    state parse_transport {
        transition select(meta.protocol) {
            PROTO_TCP: parse_tcp;
            PROTO_UDP: parse_ports;
            PROTO_SCTP: parse_ports;
            PROTO_ICMP: parse_icmp;
            PROTO_ICMPV6: parse_icmp;
            default: accept;
        }
    }

    state parse_tcp {
        packet.extract(hdr.tcp);
        verify(meta.left >= 20, error.IPLengthInvalid);
        meta.sport = hdr.tcp.sport;
        meta.dport = hdr.tcp.dport;
        meta.tcp_flags = hdr.tcp.flags;
        meta.established = hdr.tcp.flags[4:4] | hdr.tcp.flags[2:2];
        transition accept;
    }

    state parse_ports {
        packet.extract(hdr.ports);
        verify(meta.left >= 8, error.IPLengthInvalid);
        meta.sport = hdr.ports.sport;
        meta.dport = hdr.ports.dport;
        transition accept;
    }

    state parse_icmp {
        packet.extract(hdr.icmp);
        verify(meta.left >= 4, error.IPLengthInvalid);
        meta.icmp_type = hdr.icmp.type;
        meta.icmp_code = hdr.icmp.code;
        transition accept;
    }
}

control OutplaneVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

// ---------------------------------------------------------------------------------------------------
// Decide and forward

control OutplaneIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {

    // --- What is dropped, by reason, by segment, by rate limit --------------------------------------
    counter(16, CounterType.packets_and_bytes) drops;
    counter(65536, CounterType.packets_and_bytes) segment_drops; // of those that have been in a segment
    counter(1024, CounterType.packets_and_bytes) limiter_drops;

    action discard(bit<32> reason) {
        drops.count(reason);
        mark_to_drop(std);
    }

    action discard_in_segment(bit<32> reason) {
        drops.count(reason);
        segment_drops.count((bit<32>)meta.segment);
        mark_to_drop(std);
    }

    // --- Which policy version this packet sees: one default action, changed in one write ------------
    action set_version(version_t version) {
        meta.version = version;
    }

    table policy_version {
        key = { }
        actions = { set_version; }
        default_action = set_version(0);
    }

    // --- Ingress port and VLAN -> segment ------------------------------------------------------------
    action set_segment(segment_t segment) {
        meta.segment = segment;
    }

    table segment_of {
        key = {
            meta.version      : ternary @name("version");
            std.ingress_port  : ternary @name("ingress_port");
            meta.vlan_present : ternary @name("vlan_present");
            meta.vlan_id      : ternary @name("vlan_id");
        }
        actions = { set_segment; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 4096;
    }

    // --- Which source addresses may enter here: a miss passes ----------------------------------------
    direct_counter(CounterType.packets_and_bytes) source_guard_v4_counter;
    direct_counter(CounterType.packets_and_bytes) source_guard_v6_counter;

    action source_v4_allow() {
        source_guard_v4_counter.count();
    }

    action source_v4_deny() {
        source_guard_v4_counter.count();
        meta.spoofed = 1;
    }

    action source_v6_allow() {
        source_guard_v6_counter.count();
    }

    action source_v6_deny() {
        source_guard_v6_counter.count();
        meta.spoofed = 1;
    }

    // --- Addresses -> class ids ----------------------------------------------------------------------
    action set_src_class(class_t filter_class, class_t pod_class) {
        meta.src_class = filter_class;
        meta.src_pod_class = pod_class;
    }

    action set_dst_class(class_t filter_class, class_t pod_class) {
        meta.dst_class = filter_class;
        meta.dst_pod_class = pod_class;
    }

    bit<32> src_v4 = 0;
    bit<32> dst_v4 = 0;

    table source_guard_v4 {
        key = {
            meta.version     : ternary @name("version");
            std.ingress_port : ternary @name("ingress_port");
            meta.segment     : ternary @name("segment");
            src_v4           : ternary @name("address");
        }
        actions = { source_v4_allow; source_v4_deny; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = source_guard_v4_counter;
        size = 16384;
    }

    table source_guard_v6 {
        key = {
            meta.version     : ternary @name("version");
            std.ingress_port : ternary @name("ingress_port");
            meta.segment     : ternary @name("segment");
            hdr.ipv6.src     : ternary @name("address");
        }
        actions = { source_v6_allow; source_v6_deny; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = source_guard_v6_counter;
        size = 16384;
    }

    table src_v4_class {
        key = {
            meta.version : ternary @name("version");
            src_v4       : ternary @name("address");
        }
        actions = { set_src_class; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 65536;
    }

    table dst_v4_class {
        key = {
            meta.version : ternary @name("version");
            dst_v4       : ternary @name("address");
        }
        actions = { set_dst_class; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 65536;
    }

    table src_v6_class {
        key = {
            meta.version : ternary @name("version");
            hdr.ipv6.src : ternary @name("address");
        }
        actions = { set_src_class; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 65536;
    }

    table dst_v6_class {
        key = {
            meta.version : ternary @name("version");
            hdr.ipv6.dst : ternary @name("address");
        }
        actions = { set_dst_class; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 65536;
    }

    // --- Ports -> class ids --------------------------------------------------------------------------
    action set_sport_class(class_t port_class) {
        meta.sport_class = port_class;
    }

    action set_dport_class(class_t port_class) {
        meta.dport_class = port_class;
    }

    table sport_class {
        key = {
            meta.version  : ternary @name("version");
            meta.protocol : ternary @name("protocol");
            meta.sport    : range   @name("port");
        }
        actions = { set_sport_class; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 8192;
    }

    table dport_class {
        key = {
            meta.version  : ternary @name("version");
            meta.protocol : ternary @name("protocol");
            meta.dport    : range   @name("port");
        }
        actions = { set_dport_class; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 8192;
    }

    // --- Filter policies: one ordered list before the pods' policies, one after ----------------------
    direct_counter(CounterType.packets_and_bytes) filter_admin_counter;
    direct_counter(CounterType.packets_and_bytes) filter_baseline_counter;
    meter(1024, MeterType.packets) rate_limiter;

#define FILTER_ACTIONS(COUNTER, PERMIT, PERMIT_LIMITED, DENY, DENY_LOG, PASS)                           \
    action PERMIT() {                                                                                   \
        COUNTER.count();                                                                                \
        meta.verdict = VERDICT_PERMIT;                                                                  \
    }                                                                                                   \
    action PERMIT_LIMITED(bit<16> limiter) {                                                            \
        COUNTER.count();                                                                                \
        rate_limiter.execute_meter((bit<32>)limiter, meta.color);                                       \
        meta.limiter = limiter;                                                                         \
        meta.verdict = VERDICT_PERMIT;                                                                  \
    }                                                                                                   \
    action DENY() {                                                                                     \
        COUNTER.count();                                                                                \
        meta.verdict = VERDICT_DENY;                                                                    \
    }                                                                                                   \
    action DENY_LOG(bit<32> rule) {                                                                     \
        COUNTER.count();                                                                                \
        meta.verdict = VERDICT_DENY;                                                                    \
        meta.log = 1;                                                                                   \
        meta.rule = rule;                                                                               \
    }                                                                                                   \
    action PASS() {                                                                                     \
        COUNTER.count();                                                                                \
    }

    FILTER_ACTIONS(filter_admin_counter, admin_permit, admin_permit_limited, admin_deny, admin_deny_log,
                   admin_pass)
    FILTER_ACTIONS(filter_baseline_counter, baseline_permit, baseline_permit_limited, baseline_deny,
                   baseline_deny_log, baseline_pass)

#define FILTER_KEY                                                                                      \
        key = {                                                                                         \
            meta.version     : ternary @name("version");                                                \
            meta.segment     : ternary @name("segment");                                                \
            meta.traffic     : ternary @name("traffic");                                                \
            meta.src_class   : ternary @name("src_class");                                              \
            meta.dst_class   : ternary @name("dst_class");                                              \
            meta.protocol    : ternary @name("protocol");                                               \
            meta.fragment    : ternary @name("fragment");                                               \
            meta.sport_class : ternary @name("sport_class");                                            \
            meta.dport_class : ternary @name("dport_class");                                            \
            meta.tcp_flags   : ternary @name("tcp_flags");                                              \
            meta.established : ternary @name("established");                                            \
            meta.reply       : ternary @name("reply");                                                  \
            meta.icmp_type   : ternary @name("icmp_type");                                              \
            meta.icmp_code   : ternary @name("icmp_code");                                              \
            meta.ether_type  : ternary @name("ether_type");                                             \
            meta.related     : ternary @name("related");                                                \
        }

    table filter_admin {
        FILTER_KEY
        actions = {
            admin_permit; admin_permit_limited; admin_deny; admin_deny_log; admin_pass;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = filter_admin_counter;
        size = 65536;
    }

    table filter_baseline {
        FILTER_KEY
        actions = {
            baseline_permit; baseline_permit_limited; baseline_deny; baseline_deny_log; baseline_pass;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = filter_baseline_counter;
        size = 65536;
    }

    // --- Pods: the source's egress and the destination's ingress, tables of their own ----------------
    // Each side first asks the ClusterNetworkPolicies of the Admin tier; where they pass or say nothing,
    // NetworkPolicies and below them the ClusterNetworkPolicies of the Baseline tier.
    direct_counter(CounterType.packets_and_bytes) pod_egress_admin_counter;
    direct_counter(CounterType.packets_and_bytes) pod_ingress_admin_counter;
    direct_counter(CounterType.packets_and_bytes) pod_egress_counter;
    direct_counter(CounterType.packets_and_bytes) pod_ingress_counter;
    direct_counter(CounterType.packets_and_bytes) pod_egress_admin_reply_counter;
    direct_counter(CounterType.packets_and_bytes) pod_ingress_admin_reply_counter;
    direct_counter(CounterType.packets_and_bytes) pod_egress_reply_counter;
    direct_counter(CounterType.packets_and_bytes) pod_ingress_reply_counter;

#define SIDE_ACTIONS(COUNTER, VERDICT, PERMIT, DENY, PASS)                                              \
    action PERMIT() {                                                                                   \
        COUNTER.count();                                                                                \
        VERDICT = VERDICT_PERMIT;                                                                       \
    }                                                                                                   \
    action DENY() {                                                                                     \
        COUNTER.count();                                                                                \
        VERDICT = VERDICT_DENY;                                                                         \
    }                                                                                                   \
    action PASS() {                                                                                     \
        COUNTER.count();                                                                                \
    }

#define SIDE_DENY_LOG(COUNTER, VERDICT, DENY_LOG)                                                       \
    action DENY_LOG(bit<32> rule) {                                                                     \
        COUNTER.count();                                                                                \
        VERDICT = VERDICT_DENY;                                                                         \
        meta.log = 1;                                                                                   \
        meta.rule = rule;                                                                               \
    }

    SIDE_ACTIONS(pod_egress_admin_counter, meta.egress_verdict, egress_admin_permit, egress_admin_deny,
                 egress_admin_pass)
    SIDE_ACTIONS(pod_ingress_admin_counter, meta.ingress_verdict, ingress_admin_permit,
                 ingress_admin_deny, ingress_admin_pass)
    SIDE_ACTIONS(pod_egress_counter, meta.egress_verdict, egress_permit, egress_deny, egress_pass)
    SIDE_DENY_LOG(pod_egress_counter, meta.egress_verdict, egress_deny_log)
    SIDE_ACTIONS(pod_ingress_counter, meta.ingress_verdict, ingress_permit, ingress_deny, ingress_pass)
    SIDE_DENY_LOG(pod_ingress_counter, meta.ingress_verdict, ingress_deny_log)

#define POD_KEY                                                                                         \
        key = {                                                                                         \
            meta.version       : ternary @name("version");                                              \
            meta.src_pod_class : ternary @name("src_class");                                            \
            meta.dst_pod_class : ternary @name("dst_class");                                            \
            meta.protocol      : ternary @name("protocol");                                             \
            meta.fragment      : ternary @name("fragment");                                             \
            meta.dport_class   : ternary @name("dport_class");                                          \
        }

    table pod_egress_admin {
        POD_KEY
        actions = { egress_admin_permit; egress_admin_deny; egress_admin_pass; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = pod_egress_admin_counter;
        size = 65536;
    }

    table pod_ingress_admin {
        POD_KEY
        actions = { ingress_admin_permit; ingress_admin_deny; ingress_admin_pass; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = pod_ingress_admin_counter;
        size = 65536;
    }

    table pod_egress {
        POD_KEY
        actions = { egress_permit; egress_deny; egress_deny_log; egress_pass; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = pod_egress_counter;
        size = 131072;
    }

    table pod_ingress {
        POD_KEY
        actions = { ingress_permit; ingress_deny; ingress_deny_log; ingress_pass; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = pod_ingress_counter;
        size = 131072;
    }

    // A side that denies is asked once more: is this the reply to a connection that the same pod's
    // other side allows, or an ICMP error about what that side lets through? The entries are that side's,
    // mirrored.
#define REPLY_ACTIONS(COUNTER, VERDICT, REPLY, NO_REPLY)                                                \
    action REPLY() {                                                                                    \
        COUNTER.count();                                                                                \
        VERDICT = VERDICT_PERMIT;                                                                       \
        meta.log = 0;                                                                                   \
    }                                                                                                   \
    action NO_REPLY() {                                                                                 \
        COUNTER.count();                                                                                \
    }

    REPLY_ACTIONS(pod_egress_admin_reply_counter, meta.egress_verdict, egress_admin_reply,
                  egress_admin_no_reply)
    REPLY_ACTIONS(pod_ingress_admin_reply_counter, meta.ingress_verdict, ingress_admin_reply,
                  ingress_admin_no_reply)
    REPLY_ACTIONS(pod_egress_reply_counter, meta.egress_verdict, egress_reply, egress_no_reply)
    REPLY_ACTIONS(pod_ingress_reply_counter, meta.ingress_verdict, ingress_reply, ingress_no_reply)

    action egress_admin_reply_pass() {
        pod_egress_admin_reply_counter.count();
    }

    action ingress_admin_reply_pass() {
        pod_ingress_admin_reply_counter.count();
    }

#define REPLY_KEY                                                                                       \
        key = {                                                                                         \
            meta.version       : ternary @name("version");                                              \
            meta.src_pod_class : ternary @name("src_class");                                            \
            meta.dst_pod_class : ternary @name("dst_class");                                            \
            meta.protocol      : ternary @name("protocol");                                             \
            meta.sport_class   : ternary @name("sport_class");                                          \
            meta.established   : ternary @name("established");                                          \
            meta.related       : ternary @name("related");                                              \
        }

    table pod_egress_admin_reply {
        REPLY_KEY
        actions = {
            egress_admin_reply; egress_admin_no_reply; egress_admin_reply_pass;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = pod_egress_admin_reply_counter;
        size = 65536;
    }

    table pod_ingress_admin_reply {
        REPLY_KEY
        actions = {
            ingress_admin_reply; ingress_admin_no_reply; ingress_admin_reply_pass;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = pod_ingress_admin_reply_counter;
        size = 65536;
    }

    table pod_egress_reply {
        REPLY_KEY
        actions = { egress_reply; egress_no_reply; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = pod_egress_reply_counter;
        size = 131072;
    }

    table pod_ingress_reply {
        REPLY_KEY
        actions = { ingress_reply; ingress_no_reply; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = pod_ingress_reply_counter;
        size = 131072;
    }

    // --- Forward -------------------------------------------------------------------------------------
    action forward(port_t port) {
        std.egress_spec = port;
    }

    action flood_to(bit<16> group) {
        std.mcast_grp = group;
    }

    action drop() {
        mark_to_drop(std);
    }

    // Transparent pairs of ports: whatever enters one leaves by the other.
    table cross_connect {
        key = { std.ingress_port : exact @name("ingress_port"); }
        actions = { forward; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 512;
    }

    table l2_forward {
        key = {
            meta.segment     : exact @name("segment");
            hdr.ethernet.dst : exact @name("dst_mac");
        }
        actions = { forward; drop; @defaultonly NoAction; }
        const default_action = NoAction;
        size = 65536;
    }

    table flood {
        key = { meta.segment : exact @name("segment"); }
        actions = { flood_to; @defaultonly drop; }
        const default_action = drop;
        size = 4096;
    }

    action send_to_controller(bit<8> reason) {
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = std.ingress_port;
        hdr.packet_in.pad = 0;
        hdr.packet_in.reason = reason;
        hdr.packet_in.segment = meta.segment;
        hdr.packet_in.rule = meta.rule;
        std.egress_spec = CPU_PORT;
    }

    apply {
        if (hdr.packet_out.isValid()) {
            std.egress_spec = hdr.packet_out.egress_port;
            hdr.packet_out.setInvalid();
            exit;
        }
        if (std.parser_error != error.NoError) {
            if (std.parser_error == error.PacketTooShort) {
                discard(DROP_TOO_SHORT);
            } else if (std.parser_error == error.TooManyTags) {
                discard(DROP_TOO_MANY_TAGS);
            } else if (std.parser_error == error.IPv4HeaderInvalid) {
                discard(DROP_IPV4_HEADER);
            } else if (std.parser_error == error.IPv6HeaderInvalid) {
                discard(DROP_IPV6_HEADER);
            } else if (std.parser_error == error.IPLengthInvalid) {
                discard(DROP_IP_LENGTH);
            } else if (std.parser_error == error.IPv6TooManyExtensionHeaders) {
                discard(DROP_IPV6_EXTENSIONS);
            } else {
                discard(DROP_PARSER);
            }
            exit;
        }

        policy_version.apply();
        // Version 0: no policy has been installed yet, nothing passes.
        if (meta.version == 0) {
            discard(DROP_NO_POLICY);
            exit;
        }
        // A TCP fragment at offset 1 can only serve to overwrite the flags of the first (RFC 3128).
        if (hdr.ipv4.isValid() && hdr.ipv4.fragment_offset == 1 && meta.protocol == PROTO_TCP) {
            discard(DROP_TINY_FRAGMENT);
            exit;
        }

        // A tag with VLAN 0 says a priority and no VLAN, so the next one says it.
        if (hdr.vlan_inner.isValid() && meta.vlan_id == 0) {
            meta.vlan_id = hdr.vlan_inner.vid;
        }
        segment_of.apply();

        if (hdr.ipv6.isValid() && hdr.icmp.isValid() && meta.protocol == PROTO_ICMPV6) {
            if ((meta.icmp_type >= MLD_QUERY && meta.icmp_type <= MLD_DONE)
                || (meta.icmp_type >= ND_FIRST && meta.icmp_type <= ND_LAST)
                || meta.icmp_type == MLD_REPORT_V2) {
                meta.traffic = TRAFFIC_ND;
            } else if (meta.icmp_type >= ICMPV6_UNREACHABLE
                       && meta.icmp_type <= ICMPV6_PARAMETER_PROBLEM) {
                meta.related = 1;
            }
        }
        if (hdr.ipv4.isValid() && hdr.icmp.isValid() && meta.protocol == PROTO_ICMP
            && (meta.icmp_type == ICMP_UNREACHABLE || meta.icmp_type == ICMP_TIME_EXCEEDED
                || meta.icmp_type == ICMP_PARAMETER_PROBLEM)) {
            meta.related = 1;
        }
        if (meta.established == 1 || hdr.ports.isValid()
            || (hdr.icmp.isValid() && meta.protocol == PROTO_ICMP && meta.icmp_type == ICMP_ECHO_REPLY)
            || (hdr.icmp.isValid() && meta.protocol == PROTO_ICMPV6
                && meta.icmp_type == ICMPV6_ECHO_REPLY)) {
            meta.reply = 1;
        }
        if (hdr.ipv4.isValid()) {
            src_v4 = hdr.ipv4.src;
            dst_v4 = hdr.ipv4.dst;
            if (src_v4 == dst_v4) {
                meta.same_host = 1;
            }
        } else if (hdr.arp.isValid()) {
            src_v4 = hdr.arp.sender_ip;
            dst_v4 = hdr.arp.target_ip;
        }
        if (hdr.ipv4.isValid() || hdr.arp.isValid()) {
            source_guard_v4.apply();
        } else if (hdr.ipv6.isValid()) {
            source_guard_v6.apply();
        }
        if (meta.spoofed == 1) {
            discard_in_segment(DROP_SPOOFED);
            exit;
        }
        if (hdr.ipv4.isValid() || hdr.arp.isValid()) {
            src_v4_class.apply();
            dst_v4_class.apply();
        } else if (hdr.ipv6.isValid()) {
            if (hdr.ipv6.src == hdr.ipv6.dst) {
                meta.same_host = 1;
            }
            src_v6_class.apply();
            dst_v6_class.apply();
        }
        if (hdr.tcp.isValid() || hdr.ports.isValid()) {
            sport_class.apply();
            dport_class.apply();
        }

        filter_admin.apply();
        if (meta.verdict == VERDICT_NONE) {
            if (meta.traffic == TRAFFIC_IP && meta.same_host == 0) {
                switch (pod_egress_admin.apply().action_run) {
                    egress_admin_permit: { }
                    egress_admin_deny: { }
                    default: { pod_egress.apply(); }
                }
                if (meta.egress_verdict == VERDICT_DENY && (meta.reply == 1 || meta.related == 1)) {
                    switch (pod_egress_admin_reply.apply().action_run) {
                        egress_admin_reply: { }
                        egress_admin_no_reply: { }
                        default: { pod_egress_reply.apply(); }
                    }
                }
                if (meta.egress_verdict != VERDICT_DENY) {
                    switch (pod_ingress_admin.apply().action_run) {
                        ingress_admin_permit: { }
                        ingress_admin_deny: { }
                        default: { pod_ingress.apply(); }
                    }
                    if (meta.ingress_verdict == VERDICT_DENY && (meta.reply == 1 || meta.related == 1)) {
                        switch (pod_ingress_admin_reply.apply().action_run) {
                            ingress_admin_reply: { }
                            ingress_admin_no_reply: { }
                            default: { pod_ingress_reply.apply(); }
                        }
                    }
                }
            }
            if (meta.egress_verdict == VERDICT_DENY || meta.ingress_verdict == VERDICT_DENY) {
                meta.verdict = VERDICT_DENY;
            } else if (meta.egress_verdict == VERDICT_NONE || meta.ingress_verdict == VERDICT_NONE) {
                // Something is undecided: the baseline has the last word.
                filter_baseline.apply();
            }
        }

        if (meta.verdict == VERDICT_DENY) {
            if (meta.log == 1) {
                discard_in_segment(DROP_DENIED_LOGGED);
                send_to_controller(REASON_DENY_LOG);
            } else {
                discard_in_segment(DROP_DENIED);
            }
        } else if (meta.color == COLOR_RED) {
            limiter_drops.count((bit<32>)meta.limiter);
            discard_in_segment(DROP_RATE_LIMITED);
        } else if (!cross_connect.apply().hit) {
            switch (l2_forward.apply().action_run) {
                forward: { }
                drop: { discard_in_segment(DROP_BLOCKED); }
                default: {
                    if (!flood.apply().hit) {
                        discard_in_segment(DROP_NO_WAY_OUT);
                    }
                }
            }
        }
    }
}

control OutplaneEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {
    apply {
        // A flooded frame does not go back to where it came from.
        if (std.mcast_grp != 0 && std.egress_port == std.ingress_port) {
            mark_to_drop(std);
        }
    }
}

control OutplaneComputeChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control OutplaneDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr);
    }
}

@pkginfo(name="outplane.p4", version="1.0.0")
V1Switch(OutplaneParser(), OutplaneVerifyChecksum(), OutplaneIngress(), OutplaneEgress(),
         OutplaneComputeChecksum(), OutplaneDeparser()) main;

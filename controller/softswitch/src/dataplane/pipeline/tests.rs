use outplane_p4::{CPU_PORT, Field};
use proptest::prelude::*;

use super::super::frames::{ACK, Frame, RST, SYN, v4, v6};
use super::super::memory::{Memory, Want};
use super::super::parse::PacketOut;
use super::super::tables::{Step, Traced};
use super::*;
use crate::meter::{Marker, Rate};
use Want::{Between, Is, Masked};

const PORT: u16 = 1;
const FORWARD: Outcome = Outcome::Forward { port: 9 };
const DENIED: Outcome = Outcome::Drop(DropReason::Denied);

fn outcome(tables: &Memory, frame: Frame) -> Outcome {
    process(tables, PORT, &frame.build(), Duration::ZERO).outcome
}

fn steps(tables: &Memory, frame: Frame) -> Vec<Step> {
    let traced = Traced::new(tables);
    process(&traced, PORT, &frame.build(), Duration::ZERO);
    traced.into_steps()
}

/// The tables asked, in order.
fn path(tables: &Memory, frame: Frame) -> Vec<Table> {
    steps(tables, frame).into_iter().map(|step| step.table).collect()
}

/// What the program asked `table` for, as `field=value` of fields that are not 0.
fn key(tables: &Memory, frame: Frame, table: Table) -> String {
    let step = steps(tables, frame).into_iter().find(|step| step.table == table);
    let Some(step) = step else { return "not asked".to_owned() };
    let fields = table.fields().iter().zip(&step.key);
    // Of IP and ARP the EtherType is nothing new.
    let known = |field: &str, value: u128| field == "ether_type" && [0x0800, 0x0806, 0x86dd].contains(&value);
    let fields = fields.filter(|((field, _), value)| **value != 0 && !known(field.name(), **value));
    fields.map(|((field, _), value)| format!("{field}={value:x}")).collect::<Vec<_>>().join(" ")
}

/// Everything that passes leaves by port 9.
fn open() -> Memory {
    Memory::new().any(Table::CrossConnect, Action::Forward { port: 9 })
}

fn ipv4() -> Frame {
    Frame::new().ipv4(v4("10.0.0.1"), v4("10.0.0.2"))
}

fn ipv6() -> Frame {
    Frame::new().ipv6(v6("fd00::1"), v6("fd00::2"))
}

fn udp() -> Frame {
    ipv4().udp(1000, 53)
}

#[test]
fn nothing_passes_before_the_first_policy() {
    let tables = open().version(0).any(Table::FilterAdmin, Action::Permit);
    assert_eq!(outcome(&tables, udp()), Outcome::Drop(DropReason::NoPolicy));
    assert_eq!(path(&tables, udp()), [Table::PolicyVersion]);
}

#[test]
fn what_cannot_be_parsed_is_dropped_before_any_table() {
    let tables = open().any(Table::FilterAdmin, Action::Permit);
    let frame = Frame::new().ether_type(0x0800).bytes(&[0x45, 0]);
    assert_eq!(
        outcome(&tables, frame.clone()),
        Outcome::Drop(DropReason::Parser(ParserError::PacketTooShort))
    );
    assert!(path(&tables, frame).is_empty());
}

#[test]
fn tcp_fragments_at_offset_1() {
    let fragment =
        |offset, protocol| Frame::new().ipv4_with([10, 0, 0, 1], [10, 0, 0, 2], 0, offset).protocol(protocol);
    assert_eq!(outcome(&open(), fragment(1, 6)), Outcome::Drop(DropReason::TinyFragment));
    assert_eq!(path(&open(), fragment(1, 6)), [Table::PolicyVersion]);
    for (offset, protocol) in [(2, 6), (1, 17), (1, 132)] {
        assert_eq!(outcome(&open(), fragment(offset, protocol)), FORWARD);
    }
    // IPv6 fragments are units of eight bytes behind whole headers; the program drops none of them.
    assert_eq!(outcome(&open(), ipv6().fragment(1).protocol(6)), FORWARD);
}

#[test]
fn segment_by_port_and_vlan() {
    let tables = open()
        .entry(
            Table::SegmentOf,
            &[("ingress_port", Is(1)), ("vlan_id", Is(7))],
            Action::SetSegment { segment: 70 },
        )
        .entry(Table::SegmentOf, &[("vlan_present", Is(0))], Action::SetSegment { segment: 10 });
    let segment = |frame: Frame| key(&tables, frame, Table::FilterAdmin);
    let other = Frame::new().ether_type(0x88cc);
    assert_eq!(segment(other.clone()), "version=1 segment=a traffic=3 ether_type=88cc");
    assert_eq!(
        segment(Frame::new().vlan(7).ether_type(0x88cc)),
        "version=1 segment=46 traffic=3 ether_type=88cc"
    );
    assert_eq!(segment(Frame::new().vlan(8).ether_type(0x88cc)), "version=1 traffic=3 ether_type=88cc");
    assert_eq!(
        key(&tables, Frame::new().vlan(8).vlan(7).ether_type(0x88cc), Table::SegmentOf),
        "version=1 ingress_port=1 vlan_present=1 vlan_id=8"
    );
    // A priority tag says no VLAN, so the next tag does.
    assert_eq!(
        key(&tables, Frame::new().vlan(0).tag(0x88a8, 7).ether_type(0x88cc), Table::SegmentOf),
        "version=1 ingress_port=1 vlan_present=1 vlan_id=7"
    );
    assert_eq!(key(&tables, other, Table::SegmentOf), "version=1 ingress_port=1");
}

#[test]
fn addresses_to_classes() {
    let tables = open()
        .any(Table::SrcV4Class, Action::SetSrcClass { filter_class: 0x11, pod_class: 0x12 })
        .any(Table::DstV4Class, Action::SetDstClass { filter_class: 0x13, pod_class: 0x14 })
        .any(Table::SrcV6Class, Action::SetSrcClass { filter_class: 0x21, pod_class: 0x22 })
        .any(Table::DstV6Class, Action::SetDstClass { filter_class: 0x23, pod_class: 0x24 });
    let filter = |frame: Frame| key(&tables, frame, Table::FilterAdmin);
    let pod = |frame: Frame| key(&tables, frame, Table::PodEgressAdmin);
    assert_eq!(key(&tables, udp(), Table::SrcV4Class), "version=1 address=a000001");
    assert_eq!(key(&tables, udp(), Table::DstV4Class), "version=1 address=a000002");
    assert_eq!(filter(ipv4()), "version=1 src_class=11 dst_class=13");
    assert_eq!(pod(ipv4()), "version=1 src_class=12 dst_class=14");
    let address = "fd000000000000000000000000000001";
    assert_eq!(key(&tables, ipv6(), Table::SrcV6Class), format!("version=1 address={address}"));
    assert_eq!(filter(ipv6()), "version=1 src_class=21 dst_class=23 protocol=3b");
    assert_eq!(pod(ipv6()), "version=1 src_class=22 dst_class=24 protocol=3b");
    let arp = || Frame::new().arp(v4("10.0.0.3"), v4("10.0.0.4"));
    assert_eq!(key(&tables, arp(), Table::SrcV4Class), "version=1 address=a000003");
    assert_eq!(key(&tables, arp(), Table::DstV4Class), "version=1 address=a000004");
    assert_eq!(filter(arp()), "version=1 traffic=1 src_class=11 dst_class=13");
    assert_eq!(filter(Frame::new().ether_type(0x88cc)), "version=1 traffic=3 ether_type=88cc");
}

#[test]
fn ports_to_classes() {
    let tables = open()
        .entry(Table::SportClass, &[("port", Between(1000, 1001))], Action::SetSportClass { port_class: 5 })
        .entry(
            Table::DportClass,
            &[("protocol", Is(17)), ("port", Is(53))],
            Action::SetDportClass { port_class: 6 },
        );
    let filter = |frame: Frame| key(&tables, frame, Table::FilterAdmin);
    assert_eq!(key(&tables, udp(), Table::SportClass), "version=1 protocol=11 port=3e8");
    assert_eq!(key(&tables, udp(), Table::DportClass), "version=1 protocol=11 port=35");
    assert_eq!(filter(udp()), "version=1 protocol=11 sport_class=5 dport_class=6 reply=1");
    assert_eq!(filter(ipv4().tcp(1001, 53, SYN)), "version=1 protocol=6 sport_class=5 tcp_flags=2");
    assert_eq!(filter(ipv6().sctp(1002, 53)), "version=1 protocol=84 reply=1");
    for frame in [ipv4().icmp(8, 0), ipv4().protocol(47), ipv6().fragment(3).protocol(17)] {
        assert_eq!(key(&tables, frame, Table::SportClass), "not asked");
    }
}

#[test]
fn neighbour_discovery() {
    let traffic = |frame: Frame| {
        let step = steps(&open(), frame).into_iter().find(|step| step.table == Table::FilterAdmin);
        step.unwrap().key[2]
    };
    for (icmp_type, nd) in [
        (128, 0),
        (129, 0),
        (130, 2),
        (131, 2),
        (132, 2),
        (133, 2),
        (135, 2),
        (137, 2),
        (138, 0),
        (142, 0),
        (143, 2),
        (144, 0),
    ] {
        assert_eq!(traffic(ipv6().icmpv6(icmp_type, 0)), nd, "{icmp_type}");
        assert_eq!(traffic(ipv6().hop_by_hop().icmpv6(icmp_type, 0)), nd, "{icmp_type}");
    }
    assert_eq!(traffic(ipv4().icmpv6(135, 0)), 0, "ICMPv6 over IPv4 is no neighbour discovery");
    assert_eq!(traffic(ipv6().icmp(135, 0)), 0);
    assert_eq!(traffic(ipv6().fragment(1).icmpv6(135, 0)), 0, "a later fragment has no type");
}

#[test]
fn what_may_be_a_reply() {
    let reply = |frame: Frame| key(&open(), frame, Table::FilterAdmin).contains("reply=1");
    for frame in [
        ipv4().tcp(1, 2, ACK),
        ipv4().tcp(1, 2, RST),
        ipv6().tcp(1, 2, SYN | ACK),
        udp(),
        ipv6().sctp(1, 2),
        ipv4().icmp(0, 0),
        ipv6().icmpv6(129, 0),
    ] {
        assert!(reply(frame.clone()), "{frame:?}");
    }
    for frame in [
        ipv4().tcp(1, 2, SYN),
        ipv4().icmp(8, 0),
        ipv6().icmpv6(128, 0),
        ipv4().icmp(129, 0),
        ipv6().icmpv6(0, 0),
        ipv4().protocol(47),
        Frame::new().ipv4_with([1; 4], [2; 4], 0, 5).udp(1, 2),
        Frame::new().arp([1; 4], [2; 4]),
    ] {
        assert!(!reply(frame.clone()), "{frame:?}");
    }
}

#[test]
fn icmp_errors() {
    let related = |frame: Frame| key(&open(), frame, Table::FilterAdmin).contains("related=1");
    for icmp_type in 0..=u8::MAX {
        assert_eq!(related(ipv4().icmp(icmp_type, 4)), [3, 11, 12].contains(&icmp_type), "{icmp_type}");
        assert_eq!(related(ipv6().icmpv6(icmp_type, 0)), (1..=4).contains(&icmp_type), "{icmp_type}");
        assert!(!related(ipv4().icmpv6(icmp_type, 0)) && !related(ipv6().icmp(icmp_type, 0)));
    }
    assert!(
        !related(Frame::new().ipv4_with([1; 4], [2; 4], 0, 5).icmp(3, 4)),
        "a later fragment has no type"
    );
    // A side that denies is asked once more, as for replies.
    let error = || ipv4().icmp(3, 4);
    for [side, reply] in
        [[Table::PodEgress, Table::PodEgressReply], [Table::PodIngress, Table::PodIngressReply]]
    {
        let tables = open().any(side, Action::Deny);
        assert_eq!(outcome(&tables, error()), DENIED);
        assert_eq!(key(&tables, error(), reply), "version=1 protocol=1 related=1");
        assert_eq!(outcome(&tables.any(reply, Action::Reply), error()), FORWARD);
    }
}

#[test]
fn three_tags_pass_no_policy() {
    let tables = open().any(Table::FilterAdmin, Action::Permit);
    let frame = Frame::new().vlan(0).vlan(0).vlan(0).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2);
    assert_eq!(outcome(&tables, frame), Outcome::Drop(DropReason::Parser(ParserError::TooManyTags)));
}

#[test]
fn admin_filter_decides() {
    for (action, wanted) in
        [(Action::Permit, FORWARD), (Action::PermitLimited { limiter: 3 }, FORWARD), (Action::Deny, DENIED)]
    {
        let tables = open().any(Table::FilterAdmin, action).any(Table::FilterBaseline, Action::Deny);
        assert_eq!(outcome(&tables, udp()), wanted, "{action:?}");
        assert!(!path(&tables, udp()).contains(&Table::PodEgressAdmin));
        assert!(!path(&tables, udp()).contains(&Table::FilterBaseline));
    }
    // Pass, like no match, goes on.
    for tables in [open(), open().any(Table::FilterAdmin, Action::Pass)] {
        let tables = tables.any(Table::FilterBaseline, Action::Deny);
        assert_eq!(outcome(&tables, udp()), DENIED);
    }
}

#[test]
fn version_is_in_every_key() {
    let tables = open().version(7);
    for step in steps(&tables, udp()) {
        if step.table.fields().first().is_some_and(|(field, _)| *field == Field::Version) {
            assert_eq!(step.key[0], 7, "{:?}", step.table);
        }
    }
    let tables =
        open().entry(Table::FilterAdmin, &[("version", Masked(6, 0xfe)), ("protocol", Is(17))], Action::Deny);
    assert_eq!(outcome(&tables, udp()), FORWARD);
    assert_eq!(outcome(&tables.version(7), udp()), DENIED);
}

#[test]
fn logged_denials_go_to_the_controller() {
    for (table, deny) in [
        (Table::FilterAdmin, Action::DenyLog { rule: 77 }),
        (Table::PodEgress, Action::DenyLog { rule: 77 }),
        (Table::PodIngress, Action::DenyLog { rule: 77 }),
        (Table::FilterBaseline, Action::DenyLog { rule: 77 }),
    ] {
        let tables = open().any(Table::SegmentOf, Action::SetSegment { segment: 5 }).any(table, deny);
        let header = PacketInHeader { ingress_port: PORT, reason: 1, segment: 5, rule: 77 };
        let frame = udp().bytes(b"payload").build();
        let Processed { outcome, frame: sent } = process(&tables, PORT, &frame, Duration::ZERO);
        assert_eq!((outcome, sent), (Outcome::PacketIn(header), &frame[..]), "{table:?}");
    }
}

#[test]
fn pods_are_asked_for_ip_between_two_addresses() {
    let asked = |frame: Frame| path(&open(), frame).contains(&Table::PodEgressAdmin);
    for frame in [udp(), ipv6().icmpv6(128, 0), ipv4().protocol(47), ipv6().fragment(2).protocol(6)] {
        assert!(asked(frame.clone()), "{frame:?}");
    }
    for frame in [
        Frame::new().arp([1; 4], [2; 4]),
        Frame::new().ether_type(0x88cc),
        ipv6().icmpv6(135, 0),
        Frame::new().ipv4([10, 0, 0, 1], [10, 0, 0, 1]).udp(1, 2),
        Frame::new().ipv6(5, 5).udp(1, 2),
    ] {
        assert!(!asked(frame.clone()), "{frame:?}");
        let denying = open().any(Table::PodEgressAdmin, Action::Deny).any(Table::PodIngress, Action::Deny);
        assert_eq!(outcome(&denying, frame), FORWARD);
    }
}

/// The pods' part: (admin, policy, admin reply, policy reply) of one side, for a frame that may be a reply.
#[test]
fn one_side() {
    type Actions = [Option<Action>; 4];
    let (permit, deny, pass) = (Some(Action::Permit), Some(Action::Deny), Some(Action::Pass));
    let (reply, no_reply, reply_pass) = (Some(Action::Reply), Some(Action::NoReply), Some(Action::ReplyPass));
    let cases: [(Actions, usize, bool); 16] = [
        // actions, lookups of this side, denied
        ([None, None, None, None], 2, false),
        ([permit, deny, None, None], 1, false),
        ([deny, permit, None, None], 3, true),
        ([pass, permit, None, None], 2, false),
        ([pass, deny, None, None], 4, true),
        ([None, deny, None, None], 4, true),
        ([None, pass, None, None], 2, false),
        ([deny, None, reply, no_reply], 2, false),
        ([deny, None, no_reply, reply], 2, true),
        ([deny, None, reply_pass, reply], 3, false),
        ([deny, None, None, reply], 3, false),
        ([deny, None, reply_pass, no_reply], 3, true),
        ([None, deny, reply, None], 3, false),
        ([None, deny, no_reply, reply], 3, true),
        ([None, deny, None, reply], 4, false),
        ([None, deny, reply_pass, no_reply], 4, true),
    ];
    let egress = [Table::PodEgressAdmin, Table::PodEgress, Table::PodEgressAdminReply, Table::PodEgressReply];
    let ingress =
        [Table::PodIngressAdmin, Table::PodIngress, Table::PodIngressAdminReply, Table::PodIngressReply];
    for side in [egress, ingress] {
        for (actions, lookups, denied) in &cases {
            let mut tables = open();
            for (table, action) in side.into_iter().zip(actions) {
                if let Some(action) = action {
                    tables = tables.any(table, *action);
                }
            }
            let wanted = if *denied { DENIED } else { FORWARD };
            assert_eq!(outcome(&tables, udp()), wanted, "{side:?} {actions:?}");
            let asked = path(&tables, udp()).into_iter().filter(|table| side.contains(table)).count();
            assert_eq!(asked, *lookups, "{side:?} {actions:?}");
            // What cannot be a reply is not asked again.
            let syn = ipv4().tcp(1, 2, SYN);
            assert!(!path(&tables, syn.clone()).contains(&side[2]));
            let denied_at_once = actions[0] == deny || (actions[0] != permit && actions[1] == deny);
            assert_eq!(outcome(&tables, syn), if denied_at_once { DENIED } else { FORWARD });
        }
    }
}

#[test]
fn ingress_side_is_not_asked_when_egress_denies() {
    let tables =
        open().any(Table::PodEgress, Action::Deny).any(Table::PodIngress, Action::DenyLog { rule: 1 });
    assert_eq!(outcome(&tables, udp()), DENIED);
    assert!(!path(&tables, udp()).contains(&Table::PodIngressAdmin));
}

#[test]
fn baseline_has_the_last_word_where_a_side_is_undecided() {
    for (egress, ingress, asked) in [
        (None, None, true),
        (Some(Action::Permit), None, true),
        (None, Some(Action::Permit), true),
        (Some(Action::Permit), Some(Action::Permit), false),
    ] {
        let mut tables = open().any(Table::FilterBaseline, Action::Deny);
        for (table, action) in [(Table::PodEgress, egress), (Table::PodIngress, ingress)] {
            if let Some(action) = action {
                tables = tables.any(table, action);
            }
        }
        assert_eq!(outcome(&tables, udp()), if asked { DENIED } else { FORWARD });
    }
    let undecided = open().any(Table::FilterBaseline, Action::Pass);
    assert_eq!(outcome(&undecided, udp()), FORWARD);
}

#[test]
fn a_reply_takes_the_log_mark_back() {
    let tables = open()
        .any(Table::PodEgress, Action::DenyLog { rule: 3 })
        .any(Table::PodEgressReply, Action::Reply)
        .any(Table::PodIngress, Action::Deny);
    assert_eq!(outcome(&tables, udp()), DENIED, "the ingress side denies without log");
}

#[test]
fn reply_tables_see_the_source_port() {
    let tables = open()
        .any(Table::SrcV4Class, Action::SetSrcClass { filter_class: 1, pod_class: 2 })
        .any(Table::DstV4Class, Action::SetDstClass { filter_class: 3, pod_class: 4 })
        .any(Table::SportClass, Action::SetSportClass { port_class: 5 })
        .any(Table::DportClass, Action::SetDportClass { port_class: 6 })
        .any(Table::PodIngress, Action::Deny);
    let frame = ipv4().tcp(80, 1234, ACK);
    assert_eq!(
        key(&tables, frame.clone(), Table::PodIngress),
        "version=1 src_class=2 dst_class=4 protocol=6 dport_class=6"
    );
    assert_eq!(
        key(&tables, frame, Table::PodIngressReply),
        "version=1 src_class=2 dst_class=4 protocol=6 sport_class=5 established=1"
    );
}

#[test]
fn rate_limits() {
    for table in [Table::FilterAdmin, Table::FilterBaseline] {
        let rate = |burst| Rate { rate: 1, burst };
        let tables = open()
            .limiter(4, Marker::new(rate(1), rate(2), Duration::ZERO))
            .any(table, Action::PermitLimited { limiter: 4 });
        assert_eq!(outcome(&tables, udp()), FORWARD, "green");
        assert_eq!(outcome(&tables, udp()), FORWARD, "yellow");
        assert_eq!(outcome(&tables, udp()), Outcome::Drop(DropReason::RateLimited));
        let later = process(&tables, PORT, &udp().build(), Duration::from_secs(1)).outcome;
        assert_eq!(later, FORWARD);
    }
    let no_such_cell = open().any(Table::FilterAdmin, Action::PermitLimited { limiter: 4 });
    assert_eq!(outcome(&no_such_cell, udp()), FORWARD);
}

#[test]
fn forwarding() {
    let segment = Memory::new().any(Table::SegmentOf, Action::SetSegment { segment: 5 });
    let to_b = [("segment", Is(5)), ("dst_mac", Is(0x0200_0000_000b))];
    let tables = segment
        .entry(Table::CrossConnect, &[("ingress_port", Is(3))], Action::Forward { port: 4 })
        .entry(Table::L2Forward, &to_b, Action::Forward { port: 2 })
        .entry(Table::L2Forward, &[("dst_mac", Is(0x0180_c200_0000))], Action::Drop)
        .entry(Table::Flood, &[("segment", Is(5))], Action::FloodTo { group: 50 });
    let to = |mac: [u8; 6]| Frame::between([2, 0, 0, 0, 0, 0xa], mac).ipv4([1; 4], [2; 4]);
    let at = |port, frame: Frame| process(&tables, port, &frame.build(), Duration::ZERO).outcome;
    assert_eq!(at(3, udp()), Outcome::Forward { port: 4 });
    assert_eq!(at(1, udp()), Outcome::Forward { port: 2 });
    assert_eq!(at(1, to([1, 0x80, 0xc2, 0, 0, 0])), Outcome::Drop(DropReason::Blocked));
    assert_eq!(at(1, to([0xff; 6])), Outcome::Flood { group: 50 });
    assert_eq!(at(1, to([2, 0, 0, 0, 0, 0xc])), Outcome::Flood { group: 50 });
    assert_eq!(outcome(&Memory::new(), udp()), Outcome::Drop(DropReason::NoWayOut));
    let dead_end = Memory::new().any(Table::CrossConnect, Action::Forward { port: DROP_PORT });
    assert_eq!(outcome(&dead_end, udp()), Outcome::Drop(DropReason::DropPort));
    // Group 0 is no multicast in v1model: the frame goes where egress_spec says, which nobody has set.
    let group_0 = Memory::new().any(Table::Flood, Action::FloodTo { group: 0 });
    assert_eq!(outcome(&group_0, udp()), Outcome::Forward { port: 0 });
}

#[test]
fn floods_do_not_go_back() {
    let tables = Memory::new().group_of(50, &[1, 2, 3, 3, 9]).group_of(51, &[1]);
    let mut ports = vec![42];
    flood_ports(&tables, 50, 1, &mut ports);
    assert_eq!(ports, [2, 3, 3, 9]);
    flood_ports(&tables, 51, 1, &mut ports);
    assert!(ports.is_empty());
    flood_ports(&tables, 52, 1, &mut ports);
    assert!(ports.is_empty());
}

#[test]
fn packet_out_goes_where_it_says() {
    let tables = Memory::new().version(0).any(Table::FilterAdmin, Action::Deny);
    let frame = udp().build();
    for (egress_port, wanted) in [
        (3, Outcome::Forward { port: 3 }),
        (0, Outcome::Forward { port: 0 }),
        (DROP_PORT, Outcome::Drop(DropReason::DropPort)),
    ] {
        let bytes = [&PacketOut { egress_port }.to_bytes()[..], &frame].concat();
        let processed = process(&tables, CPU_PORT, &bytes, Duration::ZERO);
        assert_eq!(processed, Processed { outcome: wanted, frame: &frame });
    }
    let short = process(&tables, CPU_PORT, &[1], Duration::ZERO).outcome;
    assert_eq!(short, Outcome::Drop(DropReason::Parser(ParserError::PacketTooShort)));
}

#[test]
fn hits_count_packets_and_bytes() {
    let tables = open().any(Table::FilterAdmin, Action::Deny);
    let frame = udp().bytes(&[0; 100]);
    let length = frame.clone().build().len();
    outcome(&tables, frame.clone());
    outcome(&tables, frame);
    assert_eq!(tables.counted(1), (2, 2 * length));
    assert_eq!(tables.counted(0), (0, 0), "a denied frame is not forwarded");
}

#[test]
fn the_whole_path() {
    let tables = Memory::new().any(Table::PodEgress, Action::Deny).any(Table::PodEgressReply, Action::Reply);
    let tables = tables.any(Table::PodIngress, Action::Deny).any(Table::PodIngressReply, Action::Reply);
    assert_eq!(
        path(&tables, udp()),
        [
            Table::PolicyVersion,
            Table::SegmentOf,
            Table::SourceGuardV4,
            Table::SrcV4Class,
            Table::DstV4Class,
            Table::SportClass,
            Table::DportClass,
            Table::FilterAdmin,
            Table::PodEgressAdmin,
            Table::PodEgress,
            Table::PodEgressAdminReply,
            Table::PodEgressReply,
            Table::PodIngressAdmin,
            Table::PodIngress,
            Table::PodIngressAdminReply,
            Table::PodIngressReply,
            Table::CrossConnect,
            Table::L2Forward,
            Table::Flood,
        ]
    );
}

proptest! {
    /// Keys fit their fields (`Memory` checks) and nothing panics, whatever comes in.
    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), port in 0_u16..=511) {
        process(&open(), port, &bytes, Duration::ZERO);
    }
}

#[test]
fn sources_that_may_not_enter() {
    let deny = |table, source: u128| {
        let at = [("ingress_port", Is(u128::from(PORT))), ("segment", Is(5)), ("address", Is(source))];
        open()
            .any(Table::SegmentOf, Action::SetSegment { segment: 5 })
            .entry(table, &at, Action::SourceDeny)
            .any(Table::SourceGuardV4, Action::SourceAllow)
            .any(Table::SourceGuardV6, Action::SourceAllow)
    };
    let spoofed = Outcome::Drop(DropReason::Spoofed);
    let v4_source = deny(Table::SourceGuardV4, u32::from_be_bytes(v4("10.0.0.1")).into());
    assert_eq!(outcome(&v4_source, udp()), spoofed);
    assert_eq!(outcome(&v4_source, Frame::new().arp(v4("10.0.0.1"), v4("10.0.0.9"))), spoofed);
    assert_eq!(outcome(&v4_source, Frame::new().ipv4(v4("10.0.0.3"), v4("10.0.0.2")).udp(1, 2)), FORWARD);
    assert_eq!(outcome(&v4_source, ipv6().udp(1, 2)), FORWARD);
    assert_eq!(outcome(&v4_source, Frame::new().ether_type(0x88cc).bytes(&[0; 50])), FORWARD);
    let v6_source = deny(Table::SourceGuardV6, v6("fd00::1"));
    assert_eq!(outcome(&v6_source, ipv6().udp(1, 2)), spoofed);
    assert_eq!(outcome(&v6_source, udp()), FORWARD);
    // It is dropped before any policy is asked.
    assert_eq!(path(&v4_source, udp()), [Table::PolicyVersion, Table::SegmentOf, Table::SourceGuardV4]);
}

#[test]
fn drops_are_counted_by_reason_segment_and_limiter() {
    let counted = |tables: &Memory| {
        let cells = |counter| move |index: usize| (index, tables.cell(counter, index).0);
        let some = |(_, frames): &(usize, u64)| *frames > 0;
        let by = |counter, count| (0..count).map(cells(counter)).filter(some).collect::<Vec<_>>();
        (by(DropCounter::Drops, 16), by(DropCounter::SegmentDrops, 10), by(DropCounter::LimiterDrops, 10))
    };
    let name = |cell: usize| Dropped::ALL[cell].name();
    let after = |tables: Memory, frame: Frame| {
        let tables = tables.any(Table::SegmentOf, Action::SetSegment { segment: 5 });
        outcome(&tables, frame);
        let (reasons, segments, limiters) = counted(&tables);
        let reasons: Vec<&str> = reasons.into_iter().map(|(cell, _)| name(cell)).collect();
        (reasons, segments, limiters)
    };
    let here = vec![(5, 1)];
    let short = Frame::new().ether_type(0x0800).bytes(&[0x45]);
    assert_eq!(after(open(), short), (vec!["too_short"], vec![], vec![]));
    let tags = Frame::new().vlan(1).vlan(2).vlan(3).arp([1; 4], [2; 4]);
    assert_eq!(after(open(), tags), (vec!["too_many_tags"], vec![], vec![]));
    assert_eq!(after(Memory::new().version(0), udp()), (vec!["no_policy"], vec![], vec![]));
    let denied = open().any(Table::FilterAdmin, Action::Deny);
    assert_eq!(after(denied, udp()), (vec!["denied"], here.clone(), vec![]));
    let logged = open().any(Table::FilterAdmin, Action::DenyLog { rule: 7 });
    assert_eq!(after(logged, udp()), (vec!["denied_logged"], here.clone(), vec![]));
    let spoofed = open().any(Table::SourceGuardV4, Action::SourceDeny);
    assert_eq!(after(spoofed, udp()), (vec!["spoofed"], here.clone(), vec![]));
    let empty = Rate { rate: 1, burst: 0 };
    let limited = open()
        .limiter(4, Marker::new(empty, empty, Duration::ZERO))
        .any(Table::FilterAdmin, Action::PermitLimited { limiter: 4 });
    assert_eq!(after(limited, udp()), (vec!["rate_limited"], here.clone(), vec![(4, 1)]));
    let blocked = Memory::new().any(Table::L2Forward, Action::Drop);
    assert_eq!(after(blocked, udp()), (vec!["blocked"], here.clone(), vec![]));
    assert_eq!(after(Memory::new(), udp()), (vec!["no_way_out"], here, vec![]));
    assert_eq!(after(open(), udp()), (vec![], vec![], vec![]));
}

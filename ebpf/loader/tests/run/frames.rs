//! What may lie around a datagram, and what is not ours.

use outplane_rmdp_wire::{DEFAULT_GROUP_V6, DEFAULT_PORT};
use outplane_xdp::Verdict;

use crate::support::{Around, SENDERS, announce, load, settings};
use crate::{delivered, reasons, verdict};

#[test]
fn tags_options_and_padding_are_understood() {
    let Some(mut program) = load("frames", &settings()) else { return };
    let v6 = DEFAULT_GROUP_V6.into();
    let frames = [
        Around::default(),
        Around { tags: vec![0x8100], ..Around::default() },
        Around { tags: vec![0x88a8, 0x8100], ..Around::default() },
        Around { tags: vec![0x9100, 0x8100], ..Around::default() },
        Around { options: 1, ..Around::default() },
        Around { options: 10, ..Around::default() },
        Around { options: 6, tags: vec![0x88a8, 0x8100], ..Around::default() },
        Around { fragment: 0, ..Around::default() },
        Around { padding: 30, ..Around::default() },
        Around { destination: v6, ..Around::default() },
        Around { destination: v6, tags: vec![0x8100], ..Around::default() },
        Around { destination: v6, tags: vec![0x88a8, 0x8100], padding: 5, ..Around::default() },
    ];
    for (sequence, around) in (1..).zip(&frames) {
        let datagram = announce(SENDERS[0], 1, sequence, sequence);
        assert_eq!(verdict(&program, &around.frame(&datagram)), Verdict::Drop, "{around:?}");
        assert_eq!(delivered(&mut program), [datagram], "{around:?}");
    }
    assert_eq!(reasons(&program), [("delivered", frames.len() as u64)]);
}

#[test]
fn own_addresses_are_destinations_as_well() {
    let mut settings = settings();
    settings.groups.push(("192.0.2.7".parse().unwrap(), 9000));
    settings.groups.push(("2001:db8::7".parse().unwrap(), 9001));
    let Some(mut program) = load("unicast", &settings) else { return };
    for (sequence, (address, port)) in (1..).zip([("192.0.2.7", 9000), ("2001:db8::7", 9001)]) {
        let around = Around { destination: address.parse().unwrap(), port, ..Around::default() };
        verdict(&program, &around.frame(&announce(SENDERS[0], 1, sequence, sequence)));
        assert_eq!(delivered(&mut program).len(), 1, "{address}");
    }
    // Taken back while it runs.
    program.control().set_groups(&settings.groups[..2]).unwrap();
    let around = Around { destination: "192.0.2.7".parse().unwrap(), port: 9000, ..Around::default() };
    assert_eq!(verdict(&program, &around.frame(&announce(SENDERS[0], 1, 9, 9))), Verdict::Pass);
    assert_eq!(reasons(&program), [("delivered", 2)]);
}

#[test]
fn what_is_not_for_us_passes_uncounted() {
    let Some(mut program) = load("foreign frames", &settings()) else { return };
    let good = announce(SENDERS[0], 1, 1, 1);
    let mut frames = vec![
        Around { destination: "239.255.82.78".parse().unwrap(), ..Around::default() }.frame(&good),
        Around { destination: "ff15::1".parse().unwrap(), ..Around::default() }.frame(&good),
        // The IPv4 group's bytes at the end of an IPv6 address are another address.
        Around { destination: "::239.255.82.77".parse().unwrap(), ..Around::default() }.frame(&good),
        Around { port: DEFAULT_PORT + 1, ..Around::default() }.frame(&good),
        Around { protocol: 6, ..Around::default() }.frame(&good),
        Around { protocol: 2, options: 1, ..Around::default() }.frame(&good),
        Around { tags: vec![0x8100; 3], ..Around::default() }.frame(&good),
        Around { udp_length: Some(7), ..Around::default() }.frame(&good),
        // IPv6 with a fragment header.
        Around { destination: DEFAULT_GROUP_V6.into(), protocol: 44, ..Around::default() }.frame(&good),
        vec![0xff; 60],
    ];
    // ARP, LLDP, and headers that lie about themselves.
    for (at, bytes) in [(12, vec![0x08, 0x06]), (12, vec![0x88, 0xcc]), (14, vec![0x44]), (14, vec![0x65])] {
        let mut frame = Around::default().frame(&good);
        frame[at..at + bytes.len()].copy_from_slice(&bytes);
        frames.push(frame);
    }
    // Cut off within the headers.
    frames.extend((14..14 + 20 + 8).map(|length| Around::default().frame(&good)[..length].to_vec()));
    for frame in &frames {
        assert_eq!(verdict(&program, frame), Verdict::Pass, "{frame:02x?}");
    }
    assert_eq!(reasons(&program), [] as [(&str, u64); 0]);
    assert_eq!(delivered(&mut program).len(), 0);
}

#[test]
fn what_others_send_to_our_group_passes_and_is_counted() {
    let Some(mut program) = load("foreign datagrams", &settings()) else { return };
    let good = announce(SENDERS[0], 1, 1, 1);
    let mut other_version = good.clone();
    other_version[4] = 1;
    for payload in [&b"hello"[..], b"", b"RMD", b"rmdp", &[0; 1400]] {
        assert_eq!(verdict(&program, &Around::default().frame(payload)), Verdict::Pass, "{payload:02x?}");
    }
    assert_eq!(verdict(&program, &Around::default().frame(&other_version)), Verdict::Pass);
    assert_eq!(verdict(&program, &Around::default().frame(&other_version[..5])), Verdict::Pass);
    for fragment in [0x2000, 0x0001, 0x2001, 0x1fff] {
        let around = Around { fragment, ..Around::default() };
        assert_eq!(verdict(&program, &around.frame(&good)), Verdict::Pass);
        let elsewhere = Around { destination: "239.1.1.1".parse().unwrap(), ..around };
        assert_eq!(verdict(&program, &elsewhere.frame(&good)), Verdict::Pass);
    }
    assert_eq!(reasons(&program), [("not_rmdp", 5), ("unknown_version", 2), ("fragment", 4)]);
    assert_eq!(delivered(&mut program).len(), 0);
}

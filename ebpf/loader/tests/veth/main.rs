//! The program on a real interface: a veth pair between namespaces, sockets that send, the daemon's side that reads,
//! stops, starts again and is replaced.

#[path = "../support/mod.rs"]
mod support;

mod lab;
mod life;
mod load;
mod refusals;

use std::net::UdpSocket;
use std::time::Duration;

use outplane_rmdp_wire::{DEFAULT_GROUP_V4, DEFAULT_GROUP_V6, DEFAULT_PORT, DatagramType};
use outplane_xdp::Mode;

use crate::lab::{Lab, RECEIVER, attach, next};
use crate::support::{SENDERS, announce, hint};

#[test]
fn sockets_send_and_the_first_copy_comes() {
    Lab::run("xs", |lab| async move {
        let mut receiver = attach(lab.settings()).await;
        assert_eq!(receiver.mode(), Mode::Driver);
        let destinations = [DEFAULT_GROUP_V4.into(), DEFAULT_GROUP_V6.into(), RECEIVER.parse().unwrap()];
        let sockets = destinations.map(|to| lab.sender(to, DEFAULT_PORT));
        for number in 1..=200 {
            let copies = SENDERS.map(|sender| announce(sender, 1, number, number));
            for (copy, socket) in copies.iter().zip(sockets.iter().cycle()) {
                socket.send(copy).unwrap();
            }
            assert_eq!(next(&mut receiver).await.bytes, copies[0], "task {number}");
        }
        sockets[0].send(&hint(SENDERS[3], 1, 1000)).unwrap();
        assert_eq!(next(&mut receiver).await.bytes, hint(SENDERS[3], 1, 1000));
        let counters = receiver.control().counters().unwrap();
        assert_eq!((counters.delivered(), counters.duplicates(), counters.reasons.refused()), (201, 600, 0));
        assert_eq!(counters.senders[3].of(DatagramType::Hint).delivered, 1);
        receiver.detach().unwrap();
    });
}

#[test]
fn other_traffic_and_other_versions_reach_their_sockets() {
    Lab::run("xo", |lab| async move {
        let receiver = attach(lab.settings()).await;
        let echo = UdpSocket::bind((RECEIVER, 0)).unwrap();
        let ours = UdpSocket::bind((RECEIVER, DEFAULT_PORT)).unwrap();
        for socket in [&echo, &ours] {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        let good = announce(SENDERS[0], 1, 1, 1);
        let mut other_version = good.clone();
        other_version[4] = 1;
        let mut buffer = [0; 1500];
        lab.sender(RECEIVER.parse().unwrap(), echo.local_addr().unwrap().port()).send(&good).unwrap();
        assert_eq!(echo.recv(&mut buffer).unwrap(), good.len());
        let to_ours = lab.sender(RECEIVER.parse().unwrap(), DEFAULT_PORT);
        for payload in [&b"no RMDP"[..], &other_version] {
            to_ours.send(payload).unwrap();
            let length = ours.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], payload);
        }
        // More than a packet: two fragments, put together again by the stack.
        let large = vec![7; 2000];
        to_ours.send(&large).unwrap();
        assert_eq!(ours.recv(&mut [0; 4000]).unwrap(), 2000);
        let reasons = receiver.control().counters().unwrap().reasons;
        assert_eq!((reasons.not_rmdp, reasons.unknown_version, reasons.fragment), (1, 1, 2));
        receiver.detach().unwrap();
    });
}

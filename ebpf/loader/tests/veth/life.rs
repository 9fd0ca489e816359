//! Pins: what outlives a start, what is removed, what is taken over.

use std::net::UdpSocket;

use outplane_rmdp_wire::{DEFAULT_GROUP_V4, DEFAULT_PORT, NetworkId};
use outplane_xdp::{AttachMode, Mode, Settings};

use crate::lab::{INTERFACE, Lab, PATIENCE, RECEIVER, attach, next};
use crate::support::{SENDERS, announce, task};

#[test]
fn detach_leaves_nothing_and_forgets() {
    Lab::run("xd", |lab| async move {
        let socket = lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT);
        let mut receiver = attach(lab.settings()).await;
        let folder = lab.pins.join("v2").join(INTERFACE);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 10);
        socket.send(&announce(SENDERS[0], 1, 1, 1)).unwrap();
        next(&mut receiver).await;
        receiver.detach().unwrap();
        assert!(!lab.pins.exists());
        // From the next packet on the interface is as before.
        let plain = UdpSocket::bind((RECEIVER, DEFAULT_PORT)).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        lab.sender(RECEIVER.parse().unwrap(), DEFAULT_PORT).send(&announce(SENDERS[0], 1, 1, 1)).unwrap();
        plain.recv(&mut [0; 1500]).unwrap();
        drop(plain);
        let receiver = attach(lab.settings()).await;
        assert!(!receiver.control().remembers(task(1).0).unwrap());
        receiver.detach().unwrap();
    });
}

#[test]
fn the_interface_may_go_and_come_back() {
    Lab::run("xi", |lab| async move {
        let mut receiver = attach(lab.settings()).await;
        lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT).send(&announce(SENDERS[0], 1, 1, 1)).unwrap();
        next(&mut receiver).await;
        drop(receiver);
        lab.cut();
        lab.connect(1500);
        let mut receiver = attach(lab.settings()).await;
        let socket = lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT);
        socket.send(&announce(SENDERS[1], 1, 1, 1)).unwrap();
        socket.send(&announce(SENDERS[1], 1, 2, 2)).unwrap();
        assert_eq!(next(&mut receiver).await.bytes, announce(SENDERS[1], 1, 2, 2));
        assert_eq!(receiver.control().counters().unwrap().duplicates(), 1);
        receiver.detach().unwrap();
    });
}

#[test]
fn another_network_begins_the_streams_anew() {
    Lab::run("xn", |lab| async move {
        let socket = lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT);
        let mut receiver = attach(lab.settings()).await;
        socket.send(&announce(SENDERS[0], 57, 1, 1)).unwrap();
        next(&mut receiver).await;
        drop(receiver);
        // As if the bucket had been made anew: epochs begin with 1.
        let before = Settings { network: NetworkId::new(1), ..lab.settings() };
        drop(attach(before).await);
        let mut receiver = attach(lab.settings()).await;
        assert_eq!(receiver.control().stream(SENDERS[0]).unwrap().unwrap().window.epoch(), 0);
        socket.send(&announce(SENDERS[0], 1, 1, 2)).unwrap();
        next(&mut receiver).await;
        receiver.detach().unwrap();
    });
}

#[test]
fn another_version_is_taken_over() {
    Lab::run("xv", |lab| async move {
        let receiver = attach(lab.settings()).await;
        let mode = receiver.mode();
        drop(receiver);
        std::fs::rename(lab.pins.join("v2"), lab.pins.join("v0")).unwrap();
        let mut receiver = attach(lab.settings()).await;
        assert_eq!(receiver.mode(), mode);
        assert!(!lab.pins.join("v0").exists());
        lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT).send(&announce(SENDERS[0], 1, 1, 1)).unwrap();
        next(&mut receiver).await;
        receiver.detach().unwrap();
    });
}

#[test]
fn generic_mode_where_it_is_asked_for_or_the_driver_cannot() {
    Lab::run("xm", |lab| async move {
        let socket = lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT);
        let mut receiver = attach(Settings { mode: AttachMode::Generic, ..lab.settings() }).await;
        assert_eq!(receiver.mode(), Mode::Generic);
        socket.send(&announce(SENDERS[0], 1, 1, 1)).unwrap();
        next(&mut receiver).await;
        drop(receiver);
        // The next start finds the mode with the link.
        let receiver = attach(lab.settings()).await;
        assert_eq!(receiver.mode(), Mode::Generic);
        receiver.detach().unwrap();
        lab.cut();
        lab.connect(9000);
        let mut receiver = attach(lab.settings()).await;
        assert_eq!(receiver.mode(), Mode::Generic);
        lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT).send(&announce(SENDERS[0], 1, 1, 1)).unwrap();
        next(&mut receiver).await;
        receiver.detach().unwrap();
    });
}

//! Packets both ways.

use std::collections::BTreeMap;

use outplane_driver_p4runtime::{FromSwitch, Options, Tap};
use outplane_p4runtime::p4::v1::stream_message_response::Update;
use outplane_p4runtime::p4::v1::{PacketIn, PacketMetadata};

use crate::fake::Fake;
use crate::states::{open, open_with, options, program};

/// A packet that a rule with `log` denied.
fn packet(number: u8) -> Update {
    let header = program().schema().packet_in().expect("in the program");
    let values =
        [("ingress_port", vec![0, 7]), ("pad", vec![0]), ("reason", vec![1]), ("rule", vec![1, 2, 3, 4])];
    let metadata = values
        .into_iter()
        .map(|(name, value)| PacketMetadata {
            metadata_id: header.field_by_name(name).expect("in the program").id,
            value,
        })
        .collect();
    Update::Packet(PacketIn { payload: vec![number], metadata })
}

#[tokio::test]
async fn packets_in_come_with_their_fields_and_outlive_reconnects() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    let mut packets = connection.packets().expect("the first to ask");
    assert!(connection.packets().is_none());
    switch.send(packet(1)).await;
    let first = packets.next().await.expect("a packet");
    let fields = [("ingress_port", 7), ("reason", 1), ("rule", 0x0102_0304)];
    assert_eq!(first.fields, BTreeMap::from(fields.map(|(name, value)| (name.to_owned(), value))));

    switch.drop_streams();
    connection.reopen().await.expect("connects again");
    switch.send(packet(2)).await;
    assert_eq!(packets.next().await.expect("a packet").payload, [2]);
    drop(connection);
    assert_eq!(packets.next().await, None);
}

#[tokio::test]
async fn what_nobody_reads_is_dropped_and_counted() {
    let switch = Fake::start().await;
    let mut connection = open_with(switch.address, Options { packet_queue: 3, ..options() }).await;
    let mut packets = connection.packets().expect("the first to ask");
    for number in 0..10 {
        switch.send(packet(number)).await;
    }
    // The stream is in order: once the last message has been seen, so have all before it.
    let mut primacy = connection.primacy().expect("a controller");
    switch.drop_streams();
    primacy
        .wait_for(|state| matches!(state, outplane_driver_p4runtime::Primacy::Lost(_)))
        .await
        .expect("the stream's end");
    assert_eq!(packets.dropped(), 7);
    for number in 0..3 {
        assert_eq!(packets.next().await.expect("a packet").payload, [number]);
    }
}

#[tokio::test]
async fn packets_out_leave_by_their_port() {
    let switch = Fake::start().await;
    let mut connection = open(switch.address).await;
    connection.send_packet(5, b"frame".to_vec()).await.expect("sent");
    let error = connection.send_packet(1 << 20, b"frame".to_vec()).await.expect_err("no such port");
    assert!(error.to_string().contains("no packet out of port 1048576"), "{error}");
    // A round trip on the same stream: by then the packet has arrived.
    let mut packets = connection.packets().expect("the first to ask");
    switch.send(packet(1)).await;
    packets.next().await.expect("a packet");
    while switch.packets_out().is_empty() {
        tokio::task::yield_now().await;
    }
    let sent = switch.packets_out();
    assert_eq!((sent.len(), sent[0].payload.as_slice()), (1, b"frame".as_slice()));
    let header = program().schema().packet_out().expect("in the program");
    let port = header.field_by_name("egress_port").expect("in the program").id;
    let value =
        sent[0].metadata.iter().find(|field| field.metadata_id == port).map(|field| field.value.clone());
    assert_eq!(value, Some(vec![5]));
    assert_eq!(sent[0].metadata.len(), header.fields.len());
}

/// One queue for all switches, which outlives connections and keeps no more of a frame than its headers.
#[tokio::test]
async fn a_tap_takes_the_packets_of_several_switches() {
    let (tap, mut taken) = Tap::new(program().schema(), 4);
    let switches = [Fake::start().await, Fake::start().await];
    let mut connections = Vec::new();
    for switch in &switches {
        let options = Options { tap: Some(tap.clone()), ..options() };
        connections.push(open_with(switch.address, options).await);
    }
    let long = |number: u8| match packet(number) {
        Update::Packet(packet) => Update::Packet(PacketIn { payload: vec![number; 1500], ..packet }),
        other => other,
    };
    for (number, switch) in (0..).zip(&switches) {
        switch.send(long(number)).await;
        let FromSwitch { packet, length, .. } = taken.next().await.expect("a packet");
        assert_eq!((packet.payload.as_slice(), length), (&[number; 256][..], 1500));
        assert_eq!(packet.fields["rule"], 0x0102_0304);
    }
    switches[0].drop_streams();
    connections[0].reopen().await.expect("connects again");
    switches[0].send(packet(7)).await;
    assert_eq!(taken.next().await.expect("a packet").packet.payload, [7]);
    assert!(connections[1].packets().is_some(), "it is there, and has none");
    // Nobody reads: four wait.
    for number in 0..10 {
        switches[1].send(packet(number)).await;
    }
    while taken.dropped() < 6 {
        tokio::task::yield_now().await;
    }
    assert_eq!(taken.next().await.expect("a packet").packet.payload, [0]);
}

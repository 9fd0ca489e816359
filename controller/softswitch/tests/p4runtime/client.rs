//! The generic client against this switch: any program, by its names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use outplane_p4runtime::builder::{Mac, Pattern, Prefix};
use outplane_p4runtime::entry::Entry;
use outplane_p4runtime::{EXAMPLE_P4INFO, Schema};
use outplane_p4runtime_client::{
    Backoff, Connection, Error, Meter, Options, Primacy, Problem, Refusal, Target, delete, insert,
};
use outplane_softswitch::dataplane::{PacketIn, PacketInHeader};
use outplane_softswitch::server::{Config, PacketIo};
use outplane_softswitch::state::Limits;
use tokio::sync::mpsc;
use tonic::Code;

use crate::support::{Bed, DEVICE, PATIENCE};

fn target(bed: &Bed) -> Target {
    Target { device_id: DEVICE, ..Target::new(bed.handle.address().to_string()) }
}

async fn open(bed: &Bed, options: Options) -> Connection {
    Connection::open(target(bed), options).await.unwrap()
}

/// A switch that runs the router, and its controller.
async fn router(options: Options) -> (Bed, Connection, Schema) {
    let bed = Bed::start().await;
    let switch = open(&bed, options).await;
    let schema = Schema::from_text(EXAMPLE_P4INFO).unwrap();
    switch.push(&schema, Vec::new()).await.unwrap();
    (bed, switch, schema)
}

fn route(schema: &Schema, prefix: &str, port: u16) -> Entry {
    let prefix: Prefix = prefix.parse().unwrap();
    let entry = schema.build_entry("ipv4_lpm").field("dst_addr", prefix).action("forward");
    entry.param("port", port).param("mac", Mac([2, 0, 0, 0, 0, 1])).build().unwrap()
}

fn refusal(result: Result<(), Error>) -> Refusal {
    match *result.unwrap_err().problem {
        Problem::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_program_comes_back_as_it_was_pushed() {
    let bed = Bed::start().await;
    let switch = open(&bed, Options::default()).await;
    let error = switch.schema().await.unwrap_err();
    assert!(matches!(*error.problem, Problem::NoPipeline), "{error}");
    assert_eq!(switch.cookie().await.unwrap(), None);
    let schema = Schema::from_text(EXAMPLE_P4INFO).unwrap();
    switch.push(&schema, Vec::new()).await.unwrap();
    assert_eq!(switch.schema().await.unwrap().p4info(), schema.p4info());
    assert_eq!(switch.cookie().await.unwrap(), Some(schema.cookie(&[])));
    assert_eq!(switch.capabilities().await.unwrap().as_deref(), Some("1.5.0"));
    assert_eq!(switch.entries(&schema, "ipv4_lpm").await.unwrap(), []);
}

#[tokio::test]
async fn every_refused_update_is_told_and_the_others_are_done() {
    // Small chunks, so that places are those of the whole and not of a chunk.
    let (_bed, switch, schema) = router(Options { chunk: 3, ..Options::default() }).await;
    let routes: Vec<Entry> = (0..20).map(|n| route(&schema, &format!("10.{n}.0.0/16"), n)).collect();
    switch.insert(&schema, &routes[..10]).await.unwrap();
    let refused = refusal(switch.insert(&schema, &routes[5..]).await);
    let places: Vec<_> = refused.failures.iter().map(|failure| failure.place).collect();
    assert_eq!((places, refused.updates), ((0..5).collect(), 15));
    assert!(refused.failures.iter().all(|failure| failure.status.code == Code::AlreadyExists));
    assert!(
        refused.to_string().starts_with(
            "refused 5 of 15 updates: insert ipv4_lpm: dst_addr=0xa050000/16 -> forward(port=5, mac=0x20000000001): "
        ),
        "{refused}"
    );
    let mut found: Vec<Entry> = switch
        .entries(&schema, "ingress.ipv4_lpm")
        .await
        .unwrap()
        .into_iter()
        .map(|found| found.entry)
        .collect();
    found.sort();
    assert_eq!(found, routes);

    // A mixture, and a place that is not there.
    let gone = route(&schema, "10.99.0.0/16", 1);
    let updates = [delete(&schema, &routes[0].key), delete(&schema, &gone.key), insert(&schema, &gone, None)];
    let refused = refusal(switch.write(&updates).await);
    assert_eq!((refused.failures.len(), refused.failures[0].place), (1, 1));
    assert!(refused.to_string().starts_with("refused 1 of 3 updates: update 2: "), "{refused}");
    let keys: Vec<_> = routes[1..].iter().chain([&gone]).map(|entry| entry.key.clone()).collect();
    switch.delete(&schema, &keys).await.unwrap();
    assert_eq!(switch.entries(&schema, "ipv4_lpm").await.unwrap(), []);
}

#[tokio::test]
async fn a_large_batch_goes_in_chunks() {
    let (_bed, switch, schema) = router(Options { chunk: 100, ..Options::default() }).await;
    let routes: Vec<Entry> =
        (0..1000u16).map(|n| route(&schema, &format!("10.{}.{}.0/24", n / 256, n % 256), n % 512)).collect();
    switch.insert(&schema, &routes).await.unwrap();
    assert_eq!(switch.entries(&schema, "ipv4_lpm").await.unwrap().len(), 1000);
    let changed: Vec<Entry> =
        routes.iter().map(|entry| Entry { metadata: b"mine".to_vec(), ..entry.clone() }).collect();
    switch.modify(&schema, &changed).await.unwrap();
    let found = switch.entries(&schema, "ipv4_lpm").await.unwrap();
    assert!(found.iter().all(|found| found.entry.metadata == b"mine"));
    // The table has 1,024 places: what is beyond is refused by name, the rest is there.
    let more: Vec<Entry> = (0..50u16).map(|n| route(&schema, &format!("11.{n}.0.0/16"), n)).collect();
    let refused = refusal(switch.insert(&schema, &more).await);
    assert_eq!(refused.failures.len(), 26);
    assert!(refused.to_string().contains("the table is full (RESOURCE_EXHAUSTED"), "{refused}");
    assert!(refused.to_string().ends_with("; and 21 more"), "{refused}");
}

#[tokio::test]
async fn reads_are_bounded() {
    let (bed, switch, schema) = router(Options::default()).await;
    let routes: Vec<Entry> = (0..20).map(|n| route(&schema, &format!("10.{n}.0.0/16"), n)).collect();
    switch.insert(&schema, &routes).await.unwrap();
    let read = async |options| {
        let reader = Connection::open_read_only(target(&bed), options).await.unwrap();
        *reader.entries(&schema, "ipv4_lpm").await.unwrap_err().problem
    };
    let few = read(Options { max_entries: 19, ..Options::default() }).await;
    assert!(matches!(few, Problem::TooMany { limit: 19 }), "{few}");
    let short = read(Options { max_read_bytes: 300, ..Options::default() }).await;
    assert!(matches!(short, Problem::TooLong { limit: 300 }), "{short}");
}

#[tokio::test]
async fn counters_and_meters_by_names() {
    let (_bed, switch, schema) = router(Options::default()).await;
    let rule = schema.build_entry("acl").field("tcp_flags", Pattern::masked(2, 0x12)).priority(7);
    let rule = rule.action("permit").build().unwrap();
    switch.insert(&schema, std::slice::from_ref(&rule)).await.unwrap();
    let found = switch.entries(&schema, "acl").await.unwrap();
    assert_eq!((found[0].counter.map(|counter| counter.packets), found[0].meter), (Some(0), None));
    let slow = Meter { cir: 10, cburst: 1, pir: 20, pburst: 2 };
    switch.set_direct_meter(&schema, &rule, Some(slow)).await.unwrap();
    assert_eq!(switch.entries(&schema, "acl").await.unwrap()[0].meter, Some(slow));
    switch.set_direct_meter(&schema, &rule, None).await.unwrap();
    assert_eq!(switch.entries(&schema, "acl").await.unwrap()[0].meter, None);

    switch.set_meter(&schema, "limiter", 63, Some(slow)).await.unwrap();
    assert_eq!(
        switch.meter(&schema, "ingress.limiter").await.unwrap().into_iter().collect::<Vec<_>>(),
        [(63, slow)]
    );
    switch.set_meter(&schema, "limiter", 63, None).await.unwrap();
    assert!(switch.meter(&schema, "limiter").await.unwrap().is_empty());
    let outside = refusal(switch.set_meter(&schema, "limiter", 64, Some(slow)).await);
    assert_eq!(outside.failures.len(), 1);

    let all = switch.counter(&schema, "port_counter", None).await.unwrap();
    assert_eq!(
        (all.len(), all.get(&511).copied()),
        (512, Some(outplane_p4runtime::entry::Counter::default()))
    );
    assert_eq!(switch.counter(&schema, "port_counter", Some(3)).await.unwrap().len(), 1);
    for error in [
        switch.counter(&schema, "acl_counter", None).await.unwrap_err(),
        switch.meter(&schema, "acl_meter").await.unwrap_err(),
        switch.entries(&schema, "nat").await.unwrap_err(),
    ] {
        assert!(matches!(*error.problem, Problem::Unknown { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_higher_election_id_of_a_role_writes() {
    let (bed, mut first, schema) = router(Options::default()).await;
    let one = [route(&schema, "10.0.0.0/8", 1)];
    let backoff = Backoff { attempts: 1, ..Backoff::default() };
    let lower = Connection::open(target(&bed), Options { backoff, ..Options::default() });
    assert!(matches!(*lower.await.unwrap_err().problem, Problem::ArbitrationRefused { ours: 1, .. }));
    let second = open(&bed, Options { election_id: 2, ..Options::default() }).await;
    second.insert(&schema, &one).await.unwrap();
    let mut primacy = first.primacy().unwrap();
    let backup = primacy.wait_for(|primacy| *primacy != Primacy::Primary);
    tokio::time::timeout(PATIENCE, backup).await.unwrap().unwrap();
    let lost = first.delete(&schema, &[one[0].key.clone()]).await.unwrap_err();
    assert!(matches!(*lost.problem, Problem::PrimacyLost { primary: Some(2) }), "{lost}");
    // The second goes away: who has been overtaken stays so, until it has a higher id.
    drop(second);
    first.raise(3).await.unwrap();
    first.delete(&schema, &[one[0].key.clone()]).await.unwrap();

    // Another role is none of its business.
    let role = Some("monitor".to_owned());
    let monitor = Connection::open(Target { role, ..target(&bed) }, Options::default()).await.unwrap();
    assert_eq!(monitor.election_id(), Some(1));
    first.check_primacy().unwrap();
    let reader = Connection::open_read_only(target(&bed), Options::default()).await.unwrap();
    let error = reader.insert(&schema, &one).await.unwrap_err();
    assert!(matches!(*error.problem, Problem::ReadOnly), "{error}");
    assert_eq!(reader.entries(&schema, "ipv4_lpm").await.unwrap(), []);
}

#[tokio::test]
async fn packets_both_ways() {
    let (packet_ins, queue) = mpsc::channel(16);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let port = Arc::clone(&sent);
    let send_packet = move |number: u16, frame: Vec<u8>| {
        port.lock().unwrap().push((number, frame));
        Ok(())
    };
    let packet_io = PacketIo { packet_ins: Some(queue), send_packet: Some(Arc::new(send_packet)) };
    let bed = Bed::with(Config::new(DEVICE), Limits::default(), packet_io).await;
    let mut switch = open(&bed, Options::default()).await;
    let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
    switch.push(&schema, Vec::new()).await.unwrap();
    let mut packets = switch.packets(&schema).unwrap();
    assert!(switch.packets(&schema).is_none());
    let header = PacketInHeader { ingress_port: 300, reason: 1, segment: 5, rule: 0x0102_0304 };
    packet_ins.send(PacketIn { header, frame: vec![1, 2, 3] }).await.unwrap();
    let packet = tokio::time::timeout(PATIENCE, packets.next()).await.unwrap().unwrap();
    assert_eq!((packet.payload, packet.fields["ingress_port"]), (vec![1, 2, 3], 300));

    let out = schema.build_packet_out(vec![7; 60]).field("egress_port", 7).build().unwrap();
    switch.send_packet(out).await.unwrap();
    let arrived = async {
        while sent.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    assert_eq!(*sent.lock().unwrap(), [(7, vec![7; 60])]);
}

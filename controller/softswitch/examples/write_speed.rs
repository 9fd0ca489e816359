//! How fast the table state takes and finds filter entries: `cargo run --release --example write_speed`.
//!
//! Prints entries a second for 10,000 ternary entries in batches of 1,000, written straight into the state and through
//! gRPC on loopback; how long packets wait for the state meanwhile; lookups and reads a second.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outplane_p4runtime::bytestring::canonical;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::schema::{Schema, TableInfo};
use outplane_softswitch::server::{Config, PacketIo, serve};
use outplane_softswitch::state::{Limits, Shared};
use proto::field_match::{FieldMatchType, Ternary};
use proto::update::Type;
use proto::write_request::Atomicity;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;

const ENTRIES: u32 = 10_000;
const BATCH: usize = 1_000;

/// Entry `n`: version, two classes, a protocol, a port class; every tenth with TCP flags, every third any source.
fn entry(table: &TableInfo, action: u32, n: u32) -> proto::TableEntry {
    let field = |name: &str, value: u32, mask: u32| {
        let matches = Ternary { value: canonical(value.into()), mask: canonical(mask.into()) };
        let field_id = table.field_by_name(name).map_or(0, |field| field.id);
        proto::FieldMatch { field_id, field_match_type: Some(FieldMatchType::Ternary(matches)) }
    };
    let mut matches = vec![field("version", n & 1, 1), field("dst_class", n % 997, 0xffff)];
    if !n.is_multiple_of(3) {
        matches.push(field("src_class", n / 997, 0xffff));
    }
    matches.extend([field("protocol", 6, 0xff), field("dport_class", n / 7 % 500, 0xffff)]);
    if n.is_multiple_of(10) {
        matches.push(field("tcp_flags", 2, 0x12));
    }
    let action = proto::Action { action_id: action, params: Vec::new() };
    proto::TableEntry {
        table_id: table.id,
        r#match: matches,
        priority: (n + 1).cast_signed(),
        action: Some(proto::TableAction { r#type: Some(proto::table_action::Type::Action(action)) }),
        metadata: format!("rule-{n}").into_bytes(),
        ..proto::TableEntry::default()
    }
}

/// A key that entry `n` matches.
fn key(table: &TableInfo, n: u32) -> Vec<u128> {
    let value = |name: &str| match name {
        "version" => n & 1,
        "src_class" => n / 997,
        "dst_class" => n % 997,
        "protocol" => 6,
        "dport_class" => n / 7 % 500,
        "tcp_flags" => 2,
        _ => 0,
    };
    table.fields.iter().map(|field| value(&field.name).into()).collect()
}

/// Fills `dport_class` with ranges and looks ports up.
fn port_ranges(state: &Shared, schema: &Schema) -> Result<(), Box<dyn Error>> {
    let table = schema.table_by_name("dport_class").ok_or("the table")?;
    let action = schema.action_by_name("set_dport_class").ok_or("the action")?.id;
    let entry = |n: u32| {
        let range =
            proto::field_match::Range { low: canonical((n * 8).into()), high: canonical((n * 8 + 5).into()) };
        let params = vec![proto::action::Param { param_id: 1, value: canonical(n.into()) }];
        let action = proto::Action { action_id: action, params };
        proto::TableEntry {
            table_id: table.id,
            r#match: vec![proto::FieldMatch {
                field_id: 3,
                field_match_type: Some(FieldMatchType::Range(range)),
            }],
            priority: 1,
            action: Some(proto::TableAction { r#type: Some(proto::table_action::Type::Action(action)) }),
            ..proto::TableEntry::default()
        }
    };
    let entries: Vec<_> = (0..8192).map(entry).collect();
    let batch = updates(Type::Insert, &entries);
    let start = Instant::now();
    if state.apply(&batch, Atomicity::ContinueOnError)?.iter().any(Result::is_err) {
        return Err("an update was refused".into());
    }
    report("INSERT of port ranges", batch.len(), start.elapsed());
    let (start, lookups, mut hits) = (Instant::now(), 50_000_u32, 0);
    for n in 0..lookups {
        let key = [1, 6, u128::from(n.wrapping_mul(7919) & 0xffff)];
        hits += u32::from(state.read().lookup(table.id, &key).is_some_and(|found| found.is_hit()));
    }
    report(&format!("lookups of ports, {hits} hits"), lookups as usize, start.elapsed());
    Ok(())
}

fn updates(kind: Type, entries: &[proto::TableEntry]) -> Vec<proto::Update> {
    let update = |entry: &proto::TableEntry| {
        let entity = Some(proto::entity::Entity::TableEntry(entry.clone()));
        proto::Update { r#type: kind.into(), entity: Some(proto::Entity { entity }) }
    };
    entries.iter().map(update).collect()
}

fn report(what: &str, count: usize, elapsed: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = count as f64 / elapsed.as_secs_f64();
    println!("{what:<44} {rate:>12.0} /s   ({elapsed:.1?})");
}

/// Takes read guards, as packets do, until told to stop; the longest wait.
fn packets(
    state: Shared,
    table: u32,
    key: Vec<u128>,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<(u64, Duration)> {
    std::thread::spawn(move || {
        let (mut looks, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            let guard = state.read();
            std::hint::black_box(guard.lookup(table, &key));
            drop(guard);
            longest = longest.max(start.elapsed());
            looks += 1;
            std::thread::sleep(Duration::from_micros(50));
        }
        (looks, longest)
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::from_text(outplane_p4::P4INFO)?;
    let table = schema.table_by_name("filter_baseline").ok_or("the table")?;
    let permit = schema.action_by_name("baseline_permit").ok_or("the action")?.id;
    let entries: Vec<_> = (0..ENTRIES).map(|n| entry(table, permit, n)).collect();
    let state = Shared::new(Limits::default());
    let config = proto::ForwardingPipelineConfig {
        p4info: Some(schema.p4info().clone()),
        ..proto::ForwardingPipelineConfig::default()
    };
    state.commit(state.verify(config)?);

    let stop = Arc::new(AtomicBool::new(false));
    let packets = packets(state.clone(), table.id, key(table, 7), stop.clone());
    for kind in [Type::Insert, Type::Modify, Type::Delete, Type::Insert] {
        let batches: Vec<_> = entries.chunks(BATCH).map(|chunk| updates(kind, chunk)).collect();
        let start = Instant::now();
        for batch in &batches {
            if state.apply(batch, Atomicity::ContinueOnError)?.iter().any(Result::is_err) {
                return Err("an update was refused".into());
            }
        }
        report(&format!("{} into the state", kind.as_str_name()), entries.len(), start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let (looks, longest) = packets.join().map_err(|_| "the packets' thread")?;
    println!("{looks} packets meanwhile, longest wait          {longest:.1?}");

    let keys: Vec<_> = (0..12_000).map(|n| key(table, n)).collect();
    let (start, lookups, mut hits) = (Instant::now(), 200_000_u32, 0);
    for n in 0..lookups {
        let found =
            state.read().lookup(table.id, &keys[n as usize % keys.len()]).is_some_and(|found| found.is_hit());
        hits += u32::from(found);
    }
    report(&format!("lookups, {hits} hits"), lookups as usize, start.elapsed());
    port_ranges(&state, &schema)?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = serve(listener, Config::new(1), state.clone(), PacketIo::default())?;
    let mut client = P4RuntimeClient::connect(format!("http://{}", server.address())).await?;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let election_id = Some(proto::Uint128 { high: 0, low: 1 });
    let arbitration = proto::MasterArbitrationUpdate { device_id: 1, election_id, ..Default::default() };
    let update = Some(proto::stream_message_request::Update::Arbitration(arbitration));
    sender.send(proto::StreamMessageRequest { update }).await?;
    let mut stream = client.stream_channel(ReceiverStream::new(requests)).await?.into_inner();
    stream.message().await?;
    for kind in [Type::Delete, Type::Insert] {
        let requests: Vec<_> = entries
            .chunks(BATCH)
            .map(|chunk| proto::WriteRequest {
                device_id: 1,
                election_id,
                updates: updates(kind, chunk),
                ..proto::WriteRequest::default()
            })
            .collect();
        let start = Instant::now();
        for request in requests {
            client.write(request).await?;
        }
        report(&format!("{} through gRPC", kind.as_str_name()), entries.len(), start.elapsed());
    }
    let query = proto::TableEntry {
        counter_data: Some(proto::CounterData::default()),
        ..proto::TableEntry::default()
    };
    let entities = vec![proto::Entity { entity: Some(proto::entity::Entity::TableEntry(query)) }];
    let start = Instant::now();
    let mut parts =
        client.read(proto::ReadRequest { device_id: 1, entities, ..Default::default() }).await?.into_inner();
    let mut count = 0;
    while let Some(part) = parts.message().await? {
        count += part.entities.len();
    }
    report("reads through gRPC", count, start.elapsed());
    server.shutdown().await?;
    Ok(())
}

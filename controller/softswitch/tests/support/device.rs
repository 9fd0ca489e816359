//! A switch with its ports and a controller: the embedded one, or BMv2.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outplane_p4runtime::Schema;
use outplane_p4runtime::bytestring;
use outplane_p4runtime::entry::{
    Action, Counter, DefaultEntry, Entry, FieldMatch, Key, Match, MeterCell, MulticastGroup,
};
use outplane_p4runtime::p4::v1 as proto;
use outplane_softswitch::dataplane::PortSpec;
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use proto::entity::Entity;
use proto::p4_runtime_client::P4RuntimeClient;
use proto::stream_message_request::Update as Request;
use proto::stream_message_response::Update as Response;
use proto::update::Type;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::frames::Frame;
use super::lab::{PATIENCE, Tap, veth};

/// Ports 1 to 4.
pub(crate) const PORTS: u16 = 4;
/// Frames with this VLAN are denied with log by [`sentinels`], whatever else is written.
pub(crate) const SENTINEL_VLAN: u16 = 4093;
pub(crate) const SENTINEL_RULE: u128 = 0xffff_fffe;
const SENTINEL_SEGMENT: u128 = 0xffff;
const TOP_PRIORITY: i32 = i32::MAX;
const DEVICE: u64 = 1;
const ELECTION: proto::Uint128 = proto::Uint128 { high: 0, low: 1 };

/// What came out of a switch: frames by port, and packet-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// Port and frame.
    pub(crate) frames: Vec<(u16, Vec<u8>)>,
    /// Metadata by name, and frame.
    pub(crate) packet_ins: Vec<(BTreeMap<String, u128>, Vec<u8>)>,
}

enum Process {
    Soft(Switch),
    Bmv2(Child),
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Soft(switch) => {
                for port in switch.ports() {
                    writeln!(f, "port {}: {}", port.number, port.counters)?;
                }
                Ok(())
            }
            Self::Bmv2(child) => write!(f, "process {}", child.id()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Bmv2(child) = self {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

pub(crate) struct Device {
    pub(crate) name: &'static str,
    schema: Schema,
    runtime: Runtime,
    client: P4RuntimeClient<Channel>,
    requests: mpsc::Sender<proto::StreamMessageRequest>,
    responses: Streaming<proto::StreamMessageResponse>,
    taps: Vec<Tap>,
    written: Vec<Entity>,
    process: Process,
}

impl Device {
    pub(crate) fn soft() -> Self {
        let taps = taps("soft");
        let runtime = runtime();
        let switch = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let ports = (1..=PORTS).map(|port| PortSpec::new(port, &format!("soft{port}")).unwrap());
            let server = Config::new(DEVICE);
            let config = SwitchConfig { listener, server, ports: ports.collect(), limits: Limits::default() };
            Switch::start(config).unwrap()
        });
        let address = switch.server().address().to_string();
        Self::connect("softswitch", &address, Process::Soft(switch), runtime, taps)
    }

    pub(crate) fn has_bmv2() -> bool {
        Command::new("simple_switch_grpc").arg("--version").output().is_ok()
    }

    pub(crate) fn bmv2() -> Self {
        let taps = taps("bmv2");
        // The namespace is the test's own, and so is this port.
        let address = "127.0.0.1:9559";
        // It dies with this process, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "simple_switch_grpc"]);
        command.args(["--no-p4", "--device-id", &DEVICE.to_string(), "--log-level", "off"]);
        for port in 1..=PORTS {
            command.args(["-i", &format!("{port}@bmv2{port}")]);
        }
        command.args(["--", "--grpc-server-addr", address, "--cpu-port", &outplane_p4::CPU_PORT.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self::connect("BMv2", address, Process::Bmv2(child), runtime(), taps)
    }

    fn connect(
        name: &'static str,
        address: &str,
        process: Process,
        runtime: Runtime,
        taps: Vec<Tap>,
    ) -> Self {
        let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
        let (client, requests, responses) = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let begin = Instant::now();
            let channel = loop {
                match endpoint.connect().await {
                    Ok(channel) => break channel,
                    Err(error) => assert!(begin.elapsed() < 3 * PATIENCE, "{name}: {error:?}"),
                }
                // BMv2 does not say when it is ready, and asking all the time would keep it from becoming so.
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            let mut client = P4RuntimeClient::new(channel).max_decoding_message_size(64 << 20);
            let (requests, queue) = mpsc::channel(64);
            let arbitration = proto::MasterArbitrationUpdate {
                device_id: DEVICE,
                election_id: Some(ELECTION),
                ..Default::default()
            };
            requests.send(request(Request::Arbitration(arbitration))).await.unwrap();
            let mut responses = client.stream_channel(ReceiverStream::new(queue)).await.unwrap().into_inner();
            let advice = responses.message().await.unwrap().unwrap().update.unwrap();
            let Response::Arbitration(advice) = advice else { panic!("{name}: {advice:?}") };
            assert_eq!(advice.status.unwrap().code, 0, "{name}");
            let config = proto::ForwardingPipelineConfig {
                p4info: Some(schema.p4info().clone()),
                p4_device_config: outplane_p4::BMV2_JSON.into(),
                ..Default::default()
            };
            let push = proto::SetForwardingPipelineConfigRequest {
                device_id: DEVICE,
                election_id: Some(ELECTION),
                action: proto::set_forwarding_pipeline_config_request::Action::VerifyAndCommit.into(),
                config: Some(config),
                ..Default::default()
            };
            client.set_forwarding_pipeline_config(push).await.unwrap();
            (client, requests, responses)
        });
        Self { name, schema, runtime, client, requests, responses, taps, written: Vec::new(), process }
    }

    fn update(&mut self, kind: Type, entities: &[Entity]) {
        let entity = |entity: &Entity| proto::Entity { entity: Some(entity.clone()) };
        let updates =
            entities.iter().map(|new| proto::Update { r#type: kind.into(), entity: Some(entity(new)) });
        let write = proto::WriteRequest {
            device_id: DEVICE,
            election_id: Some(ELECTION),
            updates: updates.collect(),
            ..Default::default()
        };
        let result = self.runtime.block_on(self.client.write(write));
        result.unwrap_or_else(|status| panic!("{}: {kind:?}: {status:?}", self.name));
    }

    pub(crate) fn insert(&mut self, entries: &[Entry], groups: &[MulticastGroup]) {
        let groups = groups.iter().map(|group| {
            let group = self.schema.multicast_group_to_proto(group);
            let entry = proto::packet_replication_engine_entry::Type::MulticastGroupEntry(group);
            Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type: Some(entry) })
        });
        let entries = entries.iter().map(|entry| Entity::TableEntry(self.schema.entry_to_proto(entry)));
        let entities: Vec<Entity> = groups.chain(entries).collect();
        self.update(Type::Insert, &entities);
        self.written.extend(entities);
    }

    pub(crate) fn set_default(&mut self, entry: &DefaultEntry) {
        let entity = Entity::TableEntry(self.schema.default_entry_to_proto(entry));
        self.update(Type::Modify, &[entity]);
    }

    pub(crate) fn set_meter(&mut self, cell: &MeterCell) {
        let entity = Entity::MeterEntry(self.schema.meter_cell_to_proto(cell));
        self.update(Type::Modify, &[entity]);
    }

    /// Deletes all that [`Self::insert`] has written.
    pub(crate) fn clear(&mut self) {
        let written = std::mem::take(&mut self.written);
        self.update(Type::Delete, &written);
    }

    /// What each entry with a direct counter has counted.
    pub(crate) fn counters(&mut self) -> BTreeMap<Key, Counter> {
        let tables = self.schema.tables().iter().filter(|table| table.has_direct_counter());
        let entities = tables.map(|table| {
            let table_entry = Some(proto::TableEntry { table_id: table.id, ..Default::default() });
            let entry = proto::DirectCounterEntry { table_entry, data: None };
            proto::Entity { entity: Some(Entity::DirectCounterEntry(entry)) }
        });
        let read =
            proto::ReadRequest { device_id: DEVICE, entities: entities.collect(), ..Default::default() };
        let mut counters = BTreeMap::new();
        self.runtime.block_on(async {
            let mut parts = self.client.read(read).await.unwrap().into_inner();
            while let Some(part) = parts.message().await.unwrap() {
                for entity in part.entities {
                    let Some(Entity::DirectCounterEntry(entry)) = entity.entity else { panic!("{entity:?}") };
                    let key = self.schema.key_from_proto(&entry.table_entry.unwrap()).unwrap();
                    let data = entry.data.unwrap_or_default();
                    let count = |value: i64| u64::try_from(value).unwrap();
                    let counter =
                        Counter { packets: count(data.packet_count), bytes: count(data.byte_count) };
                    assert_eq!(counters.insert(key, counter), None, "{}", self.name);
                }
            }
        });
        counters
    }

    /// Packets and bytes in some cells of an indexed counter.
    pub(crate) fn cells(&mut self, counter: &str, indexes: &[u16]) -> BTreeMap<u16, Counter> {
        let counter_id = self.schema.counter_by_name(counter).unwrap().id;
        let entities = indexes.iter().map(|index| {
            let index = Some(proto::Index { index: i64::from(*index) });
            let entry = proto::CounterEntry { counter_id, index, data: None };
            proto::Entity { entity: Some(Entity::CounterEntry(entry)) }
        });
        let read =
            proto::ReadRequest { device_id: DEVICE, entities: entities.collect(), ..Default::default() };
        let mut cells = BTreeMap::new();
        self.runtime.block_on(async {
            let mut parts = self.client.read(read).await.unwrap().into_inner();
            while let Some(part) = parts.message().await.unwrap() {
                for entity in part.entities {
                    let Some(Entity::CounterEntry(entry)) = entity.entity else { panic!("{entity:?}") };
                    let index = u16::try_from(entry.index.unwrap().index).unwrap();
                    cells.insert(index, Counter::from(entry.data.unwrap_or_default()));
                }
            }
        });
        assert_eq!(cells.len(), indexes.len(), "{}", self.name);
        cells
    }

    pub(crate) fn send(&mut self, port: u16, frame: &[u8]) {
        self.taps[usize::from(port) - 1].send(frame);
    }

    pub(crate) fn packet_out(&mut self, port: u16, frame: Vec<u8>) {
        let field = self.schema.packet_out().unwrap().field_by_name("egress_port").unwrap();
        let pad = self.schema.packet_out().unwrap().field_by_name("pad").unwrap();
        let metadata = [(field.id, u128::from(port)), (pad.id, 0)];
        let metadata = metadata.map(|(metadata_id, value)| proto::PacketMetadata {
            metadata_id,
            value: bytestring::canonical(value),
        });
        let packet = proto::PacketOut { payload: frame, metadata: metadata.into() };
        self.runtime.block_on(self.requests.send(request(Request::Packet(packet)))).unwrap();
    }

    /// Everything that came out since the last call, once nothing more can come: a frame from each port has gone
    /// all the way to the controller behind all that entered before it, and then a frame to each port behind all
    /// that was to leave by it. Needs the entries of [`sentinels`].
    pub(crate) fn output(&mut self) -> Output {
        let mut output = Output::default();
        let last = Frame::between([2, 0xff, 0, 0, 0, 0], [2; 6])
            .vlan(SENTINEL_VLAN)
            .ether_type(0x88cc)
            .bytes(b"last")
            .build();
        for port in 1..=PORTS {
            self.send(port, &last);
        }
        let mut waiting: Vec<u128> = (1..=PORTS).map(u128::from).collect();
        while !waiting.is_empty() {
            let (metadata, frame) = self.packet_in();
            if metadata["rule"] == SENTINEL_RULE {
                waiting.retain(|port| *port != metadata["ingress_port"]);
            } else {
                output.packet_ins.push((metadata, frame));
            }
        }
        for port in 1..=PORTS {
            self.packet_out(port, last.clone());
        }
        for (port, tap) in (1..).zip(&self.taps) {
            let frames = tap.receive_until(|frame| frame == last);
            output.frames.extend(frames.into_iter().map(|frame| (port, frame)));
        }
        // Ports are threads; only the order within one means something, and that is checked by frame.
        output.frames.sort();
        // Frames of several ports may be the same, and their packet-ins come in any order.
        output.packet_ins.sort_by(|(one, a), (other, b)| (a, one).cmp(&(b, other)));
        output
    }

    /// The next frame that leaves by a port.
    pub(crate) fn receive(&self, port: u16) -> Vec<u8> {
        self.taps[usize::from(port) - 1].receive()
    }

    /// Waits until a frame leaves by a port; those before it are lost.
    pub(crate) fn wait_for(&self, port: u16, frame: &[u8]) {
        self.taps[usize::from(port) - 1].receive_until(|other| other == frame);
    }

    fn packet_in(&mut self) -> (BTreeMap<String, u128>, Vec<u8>) {
        let message = async { tokio::time::timeout(PATIENCE, self.responses.message()).await };
        let message = self.runtime.block_on(message);
        let Ok(message) = message else { panic!("{}: no packet-in arrives, {}", self.name, self.process) };
        let message = message.unwrap().unwrap();
        let Some(Response::Packet(packet)) = message.update else { panic!("{}: {message:?}", self.name) };
        let header = self.schema.packet_in().unwrap();
        let metadata = packet.metadata.iter().map(|metadata| {
            let field = header.field(metadata.metadata_id).unwrap();
            (field.name.clone(), bytestring::parse(&metadata.value, field.bits).unwrap())
        });
        (metadata.collect(), packet.payload)
    }
}

fn request(update: Request) -> proto::StreamMessageRequest {
    proto::StreamMessageRequest { update: Some(update) }
}

/// Its threads are in this thread's namespace.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn taps(name: &str) -> Vec<Tap> {
    let tap = |port: u16| {
        let host = format!("{name}host{port}");
        veth(&host, &format!("{name}{port}"));
        Tap::new(&host)
    };
    (1..=PORTS).map(tap).collect()
}

/// An entry by names, for what must be there.
pub(crate) fn named(
    schema: &Schema,
    table: &str,
    matches: &[(&str, Match)],
    priority: i32,
    action: &str,
    params: &[u128],
) -> Entry {
    let table = schema.table_by_name(table).unwrap();
    let field = |name: &str| table.field_by_name(name).unwrap().id;
    let mut matches: Vec<FieldMatch> =
        matches.iter().map(|(name, matches)| FieldMatch { field: field(name), matches: *matches }).collect();
    matches.sort_by_key(|matches| matches.field);
    let action = schema.action_by_name(action).unwrap();
    let params = action.params.iter().zip(params).map(|(param, value)| (param.id, *value)).collect();
    let key = Key { table: table.id, matches, priority };
    Entry { key, action: Action { id: action.id, params }, metadata: Vec::new() }
}

/// A value in full.
pub(crate) fn is(value: u128, bits: u32) -> Match {
    Match::Ternary { value, mask: u128::MAX >> (128 - bits) }
}

/// Sends frames of the sentinels' VLAN to the controller, before any other entry has a say.
pub(crate) fn sentinels(schema: &Schema) -> Vec<Entry> {
    let vlan = [("vlan_id", is(SENTINEL_VLAN.into(), 12))];
    let segment = [("segment", is(SENTINEL_SEGMENT, 16))];
    vec![
        named(schema, "segment_of", &vlan, TOP_PRIORITY, "set_segment", &[SENTINEL_SEGMENT]),
        named(schema, "filter_admin", &segment, TOP_PRIORITY, "admin_deny_log", &[SENTINEL_RULE]),
    ]
}

/// Makes packets see a version.
pub(crate) fn version(schema: &Schema, version: u128) -> DefaultEntry {
    let action = schema.action_by_name("set_version").unwrap();
    let action = Action { id: action.id, params: vec![(action.params[0].id, version)] };
    DefaultEntry { table: schema.table_by_name("policy_version").unwrap().id, action: Some(action) }
}

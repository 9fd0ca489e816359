//! A P4Runtime server as odd as a test wants it: it keeps what is written, and does what its script says besides.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use outplane_p4runtime::google::protobuf::Any;
use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::forwarding_pipeline_config::Cookie;
use outplane_p4runtime::p4::v1::p4_runtime_server::{P4Runtime, P4RuntimeServer};
use outplane_p4runtime::p4::v1::packet_replication_engine_entry::Type as Replication;
use outplane_p4runtime::p4::v1::stream_message_request::Update as Received;
use outplane_p4runtime::p4::v1::stream_message_response::Update as Sent;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::*;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

/// What happens to one write request, besides being written.
pub(crate) enum Fault {
    /// Nothing odd.
    None,
    /// This answer, and nothing is written.
    Refuse(Status),
    /// It is written, and this answer sent.
    Lie(Status),
    /// It takes this long, and nothing comes of it if nobody waits any more.
    Slow(Duration),
    /// It is taken in, and takes effect after this long, whoever waits and whoever is primary by then.
    Late(Duration),
    /// Updates after the first that fails come back ABORTED.
    AbortRest,
    /// Every stream ends, and this answer is sent.
    Drop(Status),
    /// Somebody with this election id becomes primary first.
    Depose(u128),
}

type Script = Box<dyn FnMut(usize, &WriteRequest) -> Fault + Send>;
type Refusals = Box<dyn Fn(&Update) -> Option<(Code, &'static str)> + Send>;

/// What the server is like. Change it while it runs.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one oddity by itself")]
pub(crate) struct Manners {
    /// Asked for each write request, with its number from 0.
    pub(crate) script: Option<Script>,
    /// Updates that are refused.
    pub(crate) refuses: Option<Refusals>,
    pub(crate) no_capabilities: bool,
    pub(crate) no_arbitration: bool,
    pub(crate) no_groups: bool,
    pub(crate) no_meters: bool,
    pub(crate) no_reconcile: bool,
    /// Byte strings come with zeros in front, and default entries among the others.
    pub(crate) sloppy: bool,
    /// Entries in a part of a read.
    pub(crate) part: Option<usize>,
    /// Every part of a read takes this long.
    pub(crate) slow_reads: Option<Duration>,
    /// The answer to which pipeline it has takes this long.
    pub(crate) slow_cookie: Option<Duration>,
    /// A push takes this long, and takes effect at its end, whoever waits and whoever is primary by then.
    pub(crate) slow_push: Option<Duration>,
    /// How often a pipeline was pushed.
    pub(crate) pushes: usize,
    /// Pushes that it is at work on, and the most at a time.
    pub(crate) pushing: (usize, usize),
    /// Updates in each write request.
    pub(crate) writes: Vec<usize>,
    /// Entities in each read request.
    pub(crate) reads: Vec<usize>,
}

/// What it holds. Keys are encoded messages.
#[derive(Default)]
struct Held {
    entries: BTreeMap<Vec<u8>, TableEntry>,
    defaults: BTreeMap<u32, TableEntry>,
    groups: BTreeMap<u32, MulticastGroupEntry>,
    meters: HashMap<(u32, i64), MeterEntry>,
    cookie: Option<u64>,
    streams: Vec<Connected>,
    next_stream: usize,
    packets_out: Vec<PacketOut>,
}

struct Connected {
    number: usize,
    election_id: Option<u128>,
    sender: mpsc::Sender<Result<StreamMessageResponse, Status>>,
}

#[derive(Default)]
struct Shared {
    held: Mutex<Held>,
    manners: Mutex<Manners>,
}

/// A running server; its tasks end with it.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let service = P4RuntimeServer::new(Service(Arc::clone(&shared)));
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).expect("certificates");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            server.add_service(service).serve_with_incoming(incoming).await.expect("serves");
        });
        Self { address, shared, _server: tasks }
    }

    pub(crate) fn manners(&self) -> MutexGuard<'_, Manners> {
        self.shared.manners.lock().expect("no panic")
    }

    /// Sets what happens to write requests.
    pub(crate) fn script(&self, script: impl FnMut(usize, &WriteRequest) -> Fault + Send + 'static) {
        let mut manners = self.manners();
        manners.script = Some(Box::new(script));
        manners.writes.clear();
    }

    pub(crate) fn well_behaved(&self) {
        *self.manners() = Manners::default();
    }

    /// Adds an entry behind the driver's back.
    pub(crate) fn put(&self, entry: TableEntry) {
        self.shared.held().entries.insert(key(&entry), entry);
    }

    /// Removes an entry behind the driver's back.
    pub(crate) fn remove(&self, entry: &TableEntry) {
        self.shared.held().entries.remove(&key(entry)).expect("it is there");
    }

    pub(crate) fn put_group(&self, group: MulticastGroupEntry) {
        self.shared.held().groups.insert(group.multicast_group_id, group);
    }

    pub(crate) fn groups(&self) -> Vec<u32> {
        self.shared.held().groups.keys().copied().collect()
    }

    pub(crate) fn packets_out(&self) -> Vec<PacketOut> {
        self.shared.held().packets_out.clone()
    }

    pub(crate) fn cookie(&self) -> Option<u64> {
        self.shared.held().cookie
    }

    /// Sends a message on every stream.
    pub(crate) async fn send(&self, update: Sent) {
        let senders: Vec<_> = self.shared.held().streams.iter().map(|stream| stream.sender.clone()).collect();
        for sender in senders {
            let _ = sender.send(Ok(StreamMessageResponse { update: Some(update.clone()) })).await;
        }
    }

    /// Ends every stream.
    pub(crate) fn drop_streams(&self) {
        self.shared.held().streams.clear();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no panic")
    }

    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().expect("no panic")
    }
}

/// Table, matches and priority, encoded.
fn key(entry: &TableEntry) -> Vec<u8> {
    let mut matches = entry.r#match.clone();
    matches.sort_by_key(|matched| matched.field_id);
    TableEntry {
        table_id: entry.table_id,
        r#match: matches,
        priority: entry.priority,
        ..TableEntry::default()
    }
    .encode_to_vec()
}

fn to_u128(id: &Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

fn from_u128(id: u128) -> Uint128 {
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).expect("64 bits");
    Uint128 { high: half(id >> 64), low: half(id) }
}

impl Held {
    fn primary(&self) -> Option<u128> {
        self.streams.iter().filter_map(|stream| stream.election_id).max()
    }

    /// Tells every stream who is primary.
    fn announce(&self) {
        let primary = self.primary();
        for stream in self.streams.iter().filter(|stream| stream.election_id.is_some()) {
            let code = if stream.election_id == primary { Code::Ok } else { Code::AlreadyExists };
            let update = Sent::Arbitration(MasterArbitrationUpdate {
                device_id: 1,
                election_id: primary.map(from_u128),
                status: Some(rpc::Status { code: code.into(), ..rpc::Status::default() }),
                ..MasterArbitrationUpdate::default()
            });
            let _ = stream.sender.try_send(Ok(StreamMessageResponse { update: Some(update) }));
        }
    }

    fn write(&mut self, update: &Update) -> Result<(), (Code, &'static str)> {
        let exists = |is: bool| match (update.r#type(), is) {
            (Type::Insert, true) => Err((Code::AlreadyExists, "it is there")),
            (Type::Modify | Type::Delete, false) => Err((Code::NotFound, "it is not there")),
            _ => Ok(()),
        };
        match update.entity.as_ref().and_then(|entity| entity.entity.as_ref()).expect("an entity") {
            Kind::TableEntry(entry) if entry.is_default_action => {
                self.defaults.insert(entry.table_id, entry.clone());
            }
            Kind::TableEntry(entry) => {
                let key = key(entry);
                exists(self.entries.contains_key(&key))?;
                match update.r#type() {
                    Type::Delete => self.entries.remove(&key),
                    _ => self.entries.insert(key, entry.clone()),
                };
            }
            Kind::PacketReplicationEngineEntry(PacketReplicationEngineEntry {
                r#type: Some(Replication::MulticastGroupEntry(group)),
            }) => {
                exists(self.groups.contains_key(&group.multicast_group_id))?;
                match update.r#type() {
                    Type::Delete => self.groups.remove(&group.multicast_group_id),
                    _ => self.groups.insert(group.multicast_group_id, group.clone()),
                };
            }
            Kind::MeterEntry(meter) => {
                self.meters.insert((meter.meter_id, meter.index.expect("an index").index), *meter);
            }
            other => panic!("the driver wrote {other:?}"),
        }
        Ok(())
    }

    fn read(&self, wanted: &Kind) -> Vec<Entity> {
        match wanted {
            Kind::TableEntry(entry) if entry.is_default_action => {
                self.defaults.get(&entry.table_id).cloned().map(Entity::from).into_iter().collect()
            }
            Kind::TableEntry(wanted) => {
                let counted = |entry: &TableEntry| {
                    let counter_data =
                        wanted.counter_data.map(|_| CounterData { byte_count: 100, packet_count: 2 });
                    Entity::from(TableEntry { counter_data, ..entry.clone() })
                };
                let by_key = (!wanted.r#match.is_empty()).then(|| key(wanted));
                let is_meant = |(is, entry): &(&Vec<u8>, &TableEntry)| {
                    entry.table_id == wanted.table_id && by_key.as_ref().is_none_or(|key| *is == key)
                };
                self.entries.iter().filter(is_meant).map(|(_, entry)| counted(entry)).collect()
            }
            Kind::PacketReplicationEngineEntry(_) => {
                self.groups.values().cloned().map(Entity::from).collect()
            }
            Kind::MeterEntry(_) => self.meters.values().copied().map(Entity::from).collect(),
            other => panic!("the driver read {other:?}"),
        }
    }
}

/// Zeros in front of every value.
fn pad(entity: &mut Entity) {
    use field_match::FieldMatchType;
    let zeros = |value: &mut Vec<u8>| value.splice(0..0, [0, 0, 0]).count();
    let Some(Kind::TableEntry(entry)) = &mut entity.entity else { return };
    entry.r#match.reverse();
    for matched in &mut entry.r#match {
        match matched.field_match_type.as_mut().expect("a match") {
            FieldMatchType::Exact(exact) => zeros(&mut exact.value),
            FieldMatchType::Ternary(ternary) => zeros(&mut ternary.value) + zeros(&mut ternary.mask),
            FieldMatchType::Range(range) => zeros(&mut range.low) + zeros(&mut range.high),
            other => panic!("{other:?}"),
        };
    }
    if let Some(table_action::Type::Action(action)) = entry.action.as_mut().and_then(|a| a.r#type.as_mut()) {
        action.params.reverse();
        for param in &mut action.params {
            zeros(&mut param.value);
        }
    }
}

/// The status of a write with one error for each update, as the standard packs it.
fn packed(each: &[(Code, &str)]) -> Status {
    let details = each
        .iter()
        .map(|&(code, message)| Any {
            type_url: "type.googleapis.com/p4.v1.Error".into(),
            value: Error { canonical_code: code.into(), message: message.into(), ..Error::default() }
                .encode_to_vec(),
        })
        .collect();
    let status = rpc::Status { code: Code::Unknown.into(), message: "some failed".into(), details };
    Status::with_details_and_metadata(
        Code::Unknown,
        "some failed",
        status.encode_to_vec().into(),
        MetadataMap::new(),
    )
}

#[tonic::async_trait]
impl P4Runtime for Service {
    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;
    type StreamChannelStream = ReceiverStream<Result<StreamMessageResponse, Status>>;

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let request = request.into_inner();
        let fault = {
            let mut manners = self.0.manners();
            let number = manners.writes.len();
            manners.writes.push(request.updates.len());
            manners.script.as_mut().map_or(Fault::None, |script| script(number, &request))
        };
        let election_id = request.election_id.as_ref().map(to_u128);
        if self.0.held().primary() > election_id {
            return Err(Status::permission_denied("not the primary"));
        }
        let (mut lie, mut late) = (None, None);
        let mut abort_rest = false;
        match fault {
            Fault::None => {}
            Fault::Refuse(status) => return Err(status),
            Fault::Lie(status) => lie = Some(status),
            Fault::Slow(time) => tokio::time::sleep(time).await,
            Fault::Late(time) => late = Some(time),
            Fault::AbortRest => abort_rest = true,
            Fault::Drop(status) => {
                self.0.held().streams.clear();
                return Err(status);
            }
            Fault::Depose(id) => {
                let mut held = self.0.held();
                let (sender, receiver) = mpsc::channel(8);
                // Nobody reads what the new primary is told.
                std::mem::forget(receiver);
                held.streams.push(Connected { number: usize::MAX, election_id: Some(id), sender });
                held.announce();
                return Err(Status::permission_denied("not the primary"));
            }
        }
        if let Some(time) = late {
            let shared = Arc::clone(&self.0);
            // Not ended by whoever gives up waiting.
            let effect = tokio::spawn(async move {
                tokio::time::sleep(time).await;
                let mut held = shared.held();
                let write = |update: &Update| held.write(update).err().unwrap_or((Code::Ok, ""));
                request.updates.iter().map(write).collect::<Vec<_>>()
            });
            let each = effect.await.expect("no panic");
            let failed = each.iter().any(|&(code, _)| code != Code::Ok);
            return if failed { Err(packed(&each)) } else { Ok(Response::new(WriteResponse {})) };
        }
        let each: Vec<_> = {
            let mut held = self.0.held();
            let manners = self.0.manners();
            let mut failed = false;
            let mut write = |update: &Update| {
                if failed && abort_rest {
                    return (Code::Aborted, "after a failure");
                }
                let refusal = manners.refuses.as_ref().and_then(|refuses| refuses(update));
                let error = refusal.or_else(|| held.write(update).err());
                failed |= error.is_some();
                error.unwrap_or((Code::Ok, ""))
            };
            request.updates.iter().map(&mut write).collect()
        };
        if let Some(lie) = lie {
            return Err(lie);
        }
        if each.iter().any(|&(code, _)| code != Code::Ok) {
            return Err(packed(&each));
        }
        Ok(Response::new(WriteResponse {}))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (part, slow) = {
            let mut manners = self.0.manners();
            manners.reads.push(request.get_ref().entities.len());
            (manners.part.unwrap_or(1000), manners.slow_reads)
        };
        let mut entities = Vec::new();
        for entity in &request.get_ref().entities {
            let wanted = entity.entity.as_ref().expect("an entity");
            let manners = self.0.manners();
            match wanted {
                Kind::PacketReplicationEngineEntry(_) if manners.no_groups => {
                    return Err(Status::unimplemented("no reads of groups"));
                }
                Kind::MeterEntry(_) if manners.no_meters => {
                    return Err(Status::unimplemented("no reads of meters"));
                }
                _ => {}
            }
            let mut found = self.0.held().read(wanted);
            if manners.sloppy {
                found.iter_mut().for_each(pad);
                if let Kind::TableEntry(entry) = wanted
                    && !entry.is_default_action
                {
                    let default = TableEntry { is_default_action: true, ..entry.clone() };
                    found.push(default.into());
                }
            }
            entities.extend(found);
        }
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(async move {
            for part in entities.chunks(part) {
                if let Some(time) = slow {
                    tokio::time::sleep(time).await;
                }
                if sender.send(Ok(ReadResponse { entities: part.to_vec() })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<SetForwardingPipelineConfigResponse>, Status> {
        use set_forwarding_pipeline_config_request::Action;
        let request = request.into_inner();
        let election_id = request.election_id.as_ref().map(to_u128);
        if self.0.held().primary() > election_id {
            return Err(Status::permission_denied("not the primary"));
        }
        let slow = {
            let mut manners = self.0.manners();
            if request.action() == Action::ReconcileAndCommit && manners.no_reconcile {
                return Err(Status::invalid_argument("no such action"));
            }
            manners.pushes += 1;
            manners.pushing.0 += 1;
            manners.pushing.1 = manners.pushing.1.max(manners.pushing.0);
            manners.slow_push
        };
        let shared = Arc::clone(&self.0);
        let push = async move {
            if let Some(time) = slow {
                tokio::time::sleep(time).await;
            }
            shared.manners().pushing.0 -= 1;
            let mut held = shared.held();
            if request.action() == Action::VerifyAndCommit {
                held.entries.clear();
                held.groups.clear();
                held.meters.clear();
            }
            held.defaults.clear();
            held.cookie = request.config.and_then(|config| config.cookie).map(|cookie| cookie.cookie);
        };
        // Not ended by whoever gives up waiting.
        tokio::spawn(push).await.expect("no panic");
        Ok(Response::new(SetForwardingPipelineConfigResponse {}))
    }

    async fn get_forwarding_pipeline_config(
        &self,
        _: Request<GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<GetForwardingPipelineConfigResponse>, Status> {
        let slow = self.0.manners().slow_cookie.unwrap_or_default();
        tokio::time::sleep(slow).await;
        let cookie = self.0.held().cookie.ok_or_else(|| Status::failed_precondition("no pipeline"))?;
        let config = ForwardingPipelineConfig { cookie: Some(Cookie { cookie }), ..Default::default() };
        Ok(Response::new(GetForwardingPipelineConfigResponse { config: Some(config) }))
    }

    async fn stream_channel(
        &self,
        request: Request<Streaming<StreamMessageRequest>>,
    ) -> Result<Response<Self::StreamChannelStream>, Status> {
        if self.0.manners().no_arbitration {
            return Err(Status::unimplemented("no streams"));
        }
        let mut inbound = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        let number = {
            let mut held = self.0.held();
            held.next_stream += 1;
            let number = held.next_stream;
            held.streams.push(Connected { number, election_id: None, sender });
            number
        };
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                let mut held = shared.held();
                match message.update {
                    Some(Received::Arbitration(update)) => {
                        let id = update.election_id.as_ref().map(to_u128);
                        let taken = held.streams.iter().any(|s| s.number != number && s.election_id == id);
                        let Some(stream) = held.streams.iter_mut().find(|stream| stream.number == number)
                        else {
                            return;
                        };
                        if taken {
                            let _ =
                                stream.sender.try_send(Err(Status::invalid_argument("election id is taken")));
                            break;
                        }
                        stream.election_id = id;
                        held.announce();
                    }
                    Some(Received::Packet(packet)) => held.packets_out.push(packet),
                    _ => {}
                }
            }
            let mut held = shared.held();
            held.streams.retain(|stream| stream.number != number);
            held.announce();
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn capabilities(
        &self,
        _: Request<CapabilitiesRequest>,
    ) -> Result<Response<CapabilitiesResponse>, Status> {
        if self.0.manners().no_capabilities {
            return Err(Status::unimplemented("no Capabilities"));
        }
        let p4runtime_api_version = "1.5.0".into();
        Ok(Response::new(CapabilitiesResponse { p4runtime_api_version, ..Default::default() }))
    }
}

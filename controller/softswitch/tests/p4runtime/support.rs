//! A switch on loopback and controllers that talk to it.

use std::time::Duration;

use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::schema::Schema;
use outplane_softswitch::server::{self, Config, Handle, PacketIo};
use outplane_softswitch::state::{Limits, Shared};
use prost::Message;
use proto::entity::Entity;
use proto::set_forwarding_pipeline_config_request::Action;
use proto::stream_message_request::Update as Request;
use proto::stream_message_response::Update as Response;
use proto::update::Type;
use proto::write_request::Atomicity;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

pub(crate) const DEVICE: u64 = 3;
/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bed {
    pub(crate) handle: Handle,
    pub(crate) state: Shared,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::with(Config::new(DEVICE), Limits::default(), PacketIo::default()).await
    }

    pub(crate) async fn with(config: Config, limits: Limits, packet_io: PacketIo) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Shared::new(limits);
        Self { handle: server::serve(listener, config, state.clone(), packet_io).unwrap(), state }
    }

    pub(crate) async fn client(&self) -> P4RuntimeClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.handle.address())).unwrap();
        // Details of large batches come as trailers.
        let endpoint = endpoint.http2_max_header_list_size(16 << 20).timeout(PATIENCE);
        let channel = endpoint.connect().await.unwrap();
        P4RuntimeClient::new(channel)
            .max_decoding_message_size(256 << 20)
            .max_encoding_message_size(256 << 20)
    }

    /// A controller that is primary of the default role.
    pub(crate) async fn primary(&self) -> Controller {
        let mut controller = Controller::connect(self).await;
        let advice = controller.arbitrate("", Some(1)).await.unwrap();
        assert_eq!(code(&advice), Code::Ok);
        controller
    }

    /// A primary, and a committed pipeline.
    pub(crate) async fn ready(&self, info: &str) -> Controller {
        let mut controller = self.primary().await;
        controller.commit(info).await.unwrap();
        controller
    }
}

/// Everything that a P4Info can say.
pub(crate) const EVERYTHING: &str = include_str!("everything.p4info.txt");

pub(crate) fn config(info: &str) -> proto::ForwardingPipelineConfig {
    let schema = Schema::from_text(info).unwrap();
    proto::ForwardingPipelineConfig { p4info: Some(schema.p4info().clone()), ..Default::default() }
}

pub(crate) fn election(low: u64) -> proto::Uint128 {
    proto::Uint128 { high: 0, low }
}

pub(crate) fn code(advice: &proto::MasterArbitrationUpdate) -> Code {
    Code::from_i32(advice.status.as_ref().unwrap().code)
}

pub(crate) struct Controller {
    pub(crate) client: P4RuntimeClient<Channel>,
    pub(crate) role: String,
    pub(crate) election_id: Option<proto::Uint128>,
    requests: Option<mpsc::Sender<proto::StreamMessageRequest>>,
    responses: Option<Streaming<proto::StreamMessageResponse>>,
}

impl Controller {
    pub(crate) async fn connect(bed: &Bed) -> Self {
        Self::on(bed.client().await)
    }

    pub(crate) fn on(client: P4RuntimeClient<Channel>) -> Self {
        Self { client, role: String::new(), election_id: None, requests: None, responses: None }
    }

    /// Sends on the stream, which is opened with the first message.
    pub(crate) async fn send(&mut self, update: Request) {
        let request = proto::StreamMessageRequest { update: Some(update) };
        if let Some(requests) = &self.requests {
            requests.send(request).await.unwrap();
            return;
        }
        let (requests, queue) = mpsc::channel(16);
        requests.send(request).await.unwrap();
        // A stream lasts longer than the client's deadline for calls, but no test does.
        let responses = self.client.stream_channel(ReceiverStream::new(queue)).await.unwrap();
        (self.requests, self.responses) = (Some(requests), Some(responses.into_inner()));
    }

    /// The next message on the stream, or how it ended.
    pub(crate) async fn next(&mut self) -> Result<Response, Status> {
        let responses = self.responses.as_mut().unwrap();
        let response =
            tokio::time::timeout(PATIENCE, responses.message()).await.expect("a message in time")?;
        Ok(response.ok_or_else(|| Status::ok("the stream has ended"))?.update.unwrap())
    }

    pub(crate) async fn advice(&mut self) -> Result<proto::MasterArbitrationUpdate, Status> {
        match self.next().await? {
            Response::Arbitration(advice) => Ok(advice),
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a role; what the switch says to that.
    pub(crate) async fn arbitrate(
        &mut self,
        role: &str,
        id: Option<u64>,
    ) -> Result<proto::MasterArbitrationUpdate, Status> {
        role.clone_into(&mut self.role);
        self.election_id = id.map(election);
        let role = (!role.is_empty()).then(|| proto::Role { name: role.to_owned(), ..Default::default() });
        let update = proto::MasterArbitrationUpdate {
            device_id: DEVICE,
            role,
            election_id: self.election_id,
            status: None,
        };
        self.send(Request::Arbitration(update)).await;
        self.advice().await
    }

    /// Ends the stream.
    pub(crate) fn hang_up(&mut self) {
        (self.requests, self.responses) = (None, None);
    }

    pub(crate) async fn set_pipeline(
        &mut self,
        action: Action,
        config: Option<proto::ForwardingPipelineConfig>,
    ) -> Result<(), Status> {
        let request = proto::SetForwardingPipelineConfigRequest {
            device_id: DEVICE,
            role: self.role.clone(),
            election_id: self.election_id,
            action: action.into(),
            config,
            ..Default::default()
        };
        self.client.set_forwarding_pipeline_config(request).await.map(drop)
    }

    pub(crate) async fn commit(&mut self, info: &str) -> Result<(), Status> {
        self.set_pipeline(Action::VerifyAndCommit, Some(config(info))).await
    }

    pub(crate) fn write_request(
        &self,
        updates: Vec<proto::Update>,
        atomicity: Atomicity,
    ) -> proto::WriteRequest {
        proto::WriteRequest {
            device_id: DEVICE,
            role: self.role.clone(),
            election_id: self.election_id,
            updates,
            atomicity: atomicity.into(),
            ..Default::default()
        }
    }

    pub(crate) async fn write_all(
        &mut self,
        updates: Vec<proto::Update>,
        atomicity: Atomicity,
    ) -> Result<(), Status> {
        let request = with_room(self.write_request(updates, atomicity));
        self.client.write(request).await.map(drop)
    }

    /// One update; the code that it is refused with, and the message.
    pub(crate) async fn write(&mut self, kind: Type, entity: Entity) -> Result<(), (Code, String)> {
        let status = match self.write_all(vec![update(kind, entity)], Atomicity::ContinueOnError).await {
            Ok(()) => return Ok(()),
            Err(status) => status,
        };
        let mut errors = errors(&status);
        assert_eq!(errors.len(), 1, "{status:?}");
        let (code, message) = errors.remove(0);
        assert_ne!(code, Code::Ok);
        Err((code, message))
    }

    /// As `write`, with the code only.
    pub(crate) async fn try_write(&mut self, kind: Type, entity: impl Into<Boxed>) -> Result<(), Code> {
        self.write(kind, entity.into().0).await.map_err(|(code, _)| code)
    }

    /// All that a query means, and how the answer ended.
    pub(crate) async fn read_all(&mut self, queries: Vec<Entity>) -> (Vec<Entity>, Result<(), Status>) {
        let entities = queries.into_iter().map(|entity| proto::Entity { entity: Some(entity) }).collect();
        let request = proto::ReadRequest { device_id: DEVICE, role: String::new(), entities };
        let mut parts = match self.client.read(request).await {
            Ok(parts) => parts.into_inner(),
            Err(status) => return (Vec::new(), Err(status)),
        };
        let mut found = Vec::new();
        loop {
            match parts.message().await {
                Ok(Some(part)) => {
                    found.extend(part.entities.into_iter().map(|entity| entity.entity.unwrap()));
                }
                Ok(None) => return (found, Ok(())),
                Err(status) => return (found, Err(status)),
            }
        }
    }

    pub(crate) async fn read(&mut self, query: impl Into<Boxed>) -> Result<Vec<Entity>, Code> {
        let (found, end) = self.read_all(vec![query.into().0]).await;
        end.map_err(|status| match errors(&status).as_slice() {
            [] => status.code(),
            [(code, _)] => *code,
            more => panic!("{more:?}"),
        })?;
        Ok(found)
    }

    pub(crate) async fn read_entries(
        &mut self,
        query: proto::TableEntry,
    ) -> Result<Vec<proto::TableEntry>, Code> {
        let entries = self.read(query).await?.into_iter().map(|entity| match entity {
            Entity::TableEntry(entry) => entry,
            other => panic!("{other:?}"),
        });
        Ok(entries.collect())
    }
}

/// A request of a client that takes long lists of errors.
pub(crate) fn with_room<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("outplane-metadata-limit", (8 << 20).into());
    request
}

/// The `p4.v1.Error`s of a batch.
pub(crate) fn errors(status: &Status) -> Vec<(Code, String)> {
    if status.details().is_empty() {
        return Vec::new();
    }
    assert_eq!(status.code(), Code::Unknown);
    let details = rpc::Status::decode(status.details()).unwrap();
    assert_eq!((details.code, details.message.as_str()), (Code::Unknown.into(), status.message()));
    let errors = details.details.iter().map(|any| {
        assert_eq!(any.type_url, "type.googleapis.com/p4.v1.Error");
        let error = proto::Error::decode(any.value.as_slice()).unwrap();
        let code = Code::from_i32(error.canonical_code);
        assert_eq!(error.message.is_empty(), code == Code::Ok, "{error:?}");
        assert_eq!(error.space.is_empty(), code == Code::Ok, "{error:?}");
        (code, error.message)
    });
    errors.collect()
}

pub(crate) fn update(kind: Type, entity: Entity) -> proto::Update {
    proto::Update { r#type: kind.into(), entity: Some(proto::Entity { entity: Some(entity) }) }
}

/// Any message that an entity can be.
pub(crate) struct Boxed(pub(crate) Entity);

macro_rules! boxed {
    ($($message:ident),*) => {$(
        impl From<proto::$message> for Boxed {
            fn from(message: proto::$message) -> Self {
                Self(Entity::$message(message))
            }
        }
    )*};
}
boxed!(
    TableEntry,
    ActionProfileMember,
    ActionProfileGroup,
    MeterEntry,
    DirectMeterEntry,
    CounterEntry,
    DirectCounterEntry,
    ValueSetEntry,
    RegisterEntry,
    DigestEntry,
    ExternEntry
);

impl From<proto::MulticastGroupEntry> for Boxed {
    fn from(group: proto::MulticastGroupEntry) -> Self {
        let group = proto::packet_replication_engine_entry::Type::MulticastGroupEntry(group);
        Self(Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry {
            r#type: Some(group),
        }))
    }
}

impl From<proto::CloneSessionEntry> for Boxed {
    fn from(session: proto::CloneSessionEntry) -> Self {
        let session = proto::packet_replication_engine_entry::Type::CloneSessionEntry(session);
        Self(Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry {
            r#type: Some(session),
        }))
    }
}

//! The calls of the service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outplane_admission::Place;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_server::P4Runtime;
use prost::Message;
use proto::get_forwarding_pipeline_config_request::ResponseType;
use proto::set_forwarding_pipeline_config_request::Action;
use proto::write_request::Atomicity;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::arbitration::number;
use super::gate::peer;
use super::status::{batch, room, status};
use super::stream::Outgoing;
use super::{Event, Requester, Server};
use crate::state::{Answer, Outcome, Refusal, Shared};

/// Version of the P4Runtime API that the server implements.
pub const API_VERSION: &str = "1.5.0";

/// A part of an answer is sent when it has this many bytes.
const PART_BYTES: usize = 256 << 10;
/// How long a client may leave a part untaken.
const STALL: Duration = Duration::from_secs(20);
/// How long a read waits for its turn.
const BUSY: Duration = Duration::from_secs(30);

/// The service of one switch.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Server>);

impl Service {
    fn check_device(&self, device_id: u64) -> Result<(), Status> {
        if device_id == self.0.device_id {
            return Ok(());
        }
        Err(Status::not_found(format!("there is no device {device_id}; this is {}", self.0.device_id)))
    }

    /// Runs a change while nothing else is written or read, if the client is primary when its turn comes, and tells
    /// the witness. It runs to its end even if the client goes away.
    async fn exclusively<R: Send + 'static>(
        &self,
        by: Requester,
        change: impl FnOnce(&Shared) -> Outcome<R> + Send + 'static,
        tell: impl FnOnce(&Server, &Requester, &Outcome<R>) + Send + 'static,
    ) -> Result<R, Status> {
        let turn = self.0.gate.clone().write_owned().await;
        let allowed = self.0.sessions().arbiter.check_primary(&by.role, by.election_id);
        let server = self.0.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let result = allowed.and_then(|()| change(&server.state));
            tell(&server, &by, &result);
            drop(turn);
            result
        });
        changed.await.map_err(|_| Status::internal("the switch failed on this request"))?.map_err(status)
    }
}

/// The other end of a request's connection.
fn address<T>(request: &Request<T>) -> Option<SocketAddr> {
    peer(request.extensions()).and_then(|(peer, _)| peer.address)
}

/// The place of a request's connection.
fn place<T>(request: &Request<T>) -> Result<Place, Status> {
    let peer = peer(request.extensions());
    peer.map(|(peer, _)| peer.place.clone()).ok_or_else(|| Status::internal("a connection without a place"))
}

#[tonic::async_trait]
impl P4Runtime for Service {
    async fn write(
        &self,
        request: Request<proto::WriteRequest>,
    ) -> Result<Response<proto::WriteResponse>, Status> {
        let (peer, room) = (address(&request), room(request.metadata()));
        let request = request.into_inner();
        self.check_device(request.device_id)?;
        #[expect(deprecated, reason = "roles had numbers before they had names")]
        let role = (request.role_id, request.role);
        let by = Requester { role, election_id: request.election_id.map(number), peer };
        let atomicity = Atomicity::try_from(request.atomicity)
            .map_err(|_| Status::invalid_argument("the atomicity is none of the standard's"))?;
        let updates = Arc::new(request.updates);
        let told = updates.clone();
        let outcomes = self
            .exclusively(
                by,
                move |state| state.apply(&updates, atomicity),
                move |server, by, outcome| {
                    let outcome = outcome.as_deref();
                    server.witness(&Event::Write { by, updates: &told, outcome });
                },
            )
            .await?;
        batch("updates", &outcomes, room)?;
        Ok(Response::new(proto::WriteResponse {}))
    }

    type ReadStream = ReceiverStream<Result<proto::ReadResponse, Status>>;

    async fn read(&self, request: Request<proto::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (place, room) = (place(&request)?, room(request.metadata()));
        let request = request.into_inner();
        self.check_device(request.device_id)?;
        // Every role is of the whole pipeline, so the role filters nothing out.
        let share = tokio::time::timeout(BUSY, self.0.reads.take(&place, 1)).await;
        let share =
            share.map_err(|_| Status::resource_exhausted("too many reads are under way; try again"))?;
        let turn = self.0.gate.clone().read_owned().await;
        let state = self.0.state.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = state.read().query(&request.entities);
            drop(turn);
            answer
        });
        let answer = answer.await.map_err(|_| Status::internal("the switch failed on this request"))?;
        let answer = answer.map_err(status)?;
        let (parts, queue) = mpsc::channel(1);
        let sending = self.0.shutdown.clone().run_until_cancelled_owned(send_answer(answer, parts, room));
        tokio::spawn(async move {
            sending.await;
            drop(share);
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<proto::SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<proto::SetForwardingPipelineConfigResponse>, Status> {
        let peer = address(&request);
        let request = request.into_inner();
        self.check_device(request.device_id)?;
        #[expect(deprecated, reason = "roles had numbers before they had names")]
        let role = (request.role_id, request.role);
        let by = Requester { role, election_id: request.election_id.map(number), peer };
        let action = Action::try_from(request.action).unwrap_or_default();
        let config = request.config;
        let done = self.exclusively(
            by,
            move |state| set_pipeline(state, action, config),
            move |server, by, outcome| {
                server.witness(&Event::Pipeline { by, action, outcome: outcome.as_ref().copied() });
            },
        );
        done.await?;
        Ok(Response::new(proto::SetForwardingPipelineConfigResponse {}))
    }

    async fn get_forwarding_pipeline_config(
        &self,
        request: Request<proto::GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<proto::GetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        self.check_device(request.device_id)?;
        let wanted = ResponseType::try_from(request.response_type)
            .map_err(|_| Status::invalid_argument("the response type is none of the standard's"))?;
        let pipeline = self.0.state.read().control_pipeline().cloned();
        let config = pipeline.map(|pipeline| {
            let p4info = matches!(wanted, ResponseType::All | ResponseType::P4infoAndCookie);
            let device_config = matches!(wanted, ResponseType::All | ResponseType::DeviceConfigAndCookie);
            proto::ForwardingPipelineConfig {
                p4info: p4info.then(|| pipeline.schema().p4info().clone()),
                p4_device_config: if device_config { pipeline.device_config().to_vec() } else { Vec::new() },
                cookie: pipeline.cookie(),
            }
        });
        Ok(Response::new(proto::GetForwardingPipelineConfigResponse { config }))
    }

    type StreamChannelStream = Outgoing;

    async fn stream_channel(
        &self,
        request: Request<Streaming<proto::StreamMessageRequest>>,
    ) -> Result<Response<Outgoing>, Status> {
        let place = place(&request)?;
        self.0.clone().open_stream(request.into_inner(), place).map(Response::new)
    }

    async fn capabilities(
        &self,
        request: Request<proto::CapabilitiesRequest>,
    ) -> Result<Response<proto::CapabilitiesResponse>, Status> {
        let device_id = request.into_inner().device_id;
        if device_id != 0 {
            self.check_device(device_id)?;
        }
        let p4runtime_api_version = API_VERSION.to_owned();
        Ok(Response::new(proto::CapabilitiesResponse { p4runtime_api_version, experimental: None }))
    }
}

fn set_pipeline(
    state: &Shared,
    action: Action,
    config: Option<proto::ForwardingPipelineConfig>,
) -> Outcome<()> {
    if action == Action::Commit {
        return match config {
            Some(_) => Err(Refusal::invalid("COMMIT takes no pipeline config: it commits the saved one")),
            None => state.commit_saved(),
        };
    }
    let verify = || state.verify(config.ok_or_else(|| Refusal::invalid("the pipeline config is missing"))?);
    match action {
        Action::Unspecified | Action::Commit => Err(Refusal::invalid("the request says no action")),
        Action::Verify => verify().map(drop),
        Action::VerifyAndSave => verify().map(|pipeline| state.save(pipeline)),
        Action::VerifyAndCommit => verify().map(|pipeline| state.commit(pipeline)),
        Action::ReconcileAndCommit => verify().and_then(|pipeline| state.reconcile(pipeline)),
    }
}

/// Sends an answer in parts: entities first, at last what was refused. Gives up on a client that takes no part for
/// a while.
async fn send_answer(
    mut answer: Answer,
    parts: mpsc::Sender<Result<proto::ReadResponse, Status>>,
    room: usize,
) {
    loop {
        let mut entities = Vec::new();
        let mut bytes = 0;
        while bytes < PART_BYTES
            && let Some(entity) = answer.next()
        {
            bytes += entity.encoded_len();
            entities.push(entity);
        }
        let end = entities.is_empty();
        let part = if end {
            batch("queries", &std::mem::take(&mut answer).into_outcomes(), room).err().map(Err)
        } else {
            Some(Ok(proto::ReadResponse { entities }))
        };
        let Some(part) = part else { return };
        let sent = parts.send_timeout(part, STALL).await;
        if end || sent.is_err() {
            return;
        }
    }
}

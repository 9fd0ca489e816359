//! A bare P4Runtime client: what the benches compare the driver with. It sends ready-made requests as fast as it can
//! and looks at nothing but whether they were taken.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outplane_compiler::state::{Change, Step};
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::{
    Entity, ForwardingPipelineConfig, MasterArbitrationUpdate, SetForwardingPipelineConfigRequest,
    StreamMessageRequest, Uint128, Update, WriteRequest, set_forwarding_pipeline_config_request,
    stream_message_request, stream_message_response, update,
};
use outplane_p4runtime::schema::Schema;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(30);

const DEVICE_ID: u64 = 1;

/// A connected primary.
pub struct BareClient {
    client: P4RuntimeClient<Channel>,
    election_id: Uint128,
    /// Open as long as we are primary.
    _stream: mpsc::Sender<StreamMessageRequest>,
}

impl BareClient {
    /// Connects to `host:port`, becomes primary with this election id and pushes outplane.p4.
    pub async fn connect(address: &str, election_id: u64) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.timeout(DEADLINE).connect().await?;
        let mut client = P4RuntimeClient::new(channel);
        let election_id = Uint128 { high: 0, low: election_id };
        let (sender, requests) = mpsc::channel(4);
        let arbitration = MasterArbitrationUpdate {
            device_id: DEVICE_ID,
            election_id: Some(election_id),
            ..MasterArbitrationUpdate::default()
        };
        sender
            .send(StreamMessageRequest {
                update: Some(stream_message_request::Update::Arbitration(arbitration)),
            })
            .await?;
        let mut answers = client.stream_channel(ReceiverStream::new(requests)).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.update) {
            Some(stream_message_response::Update::Arbitration(answer))
                if answer.status.as_ref().is_none_or(|status| status.code == 0) => {}
            other => bail!("not primary: {other:?}"),
        }
        tokio::spawn(async move { while let Ok(Some(_)) = answers.message().await {} });
        let schema = Schema::from_text(outplane_p4::P4INFO)?;
        client
            .set_forwarding_pipeline_config(SetForwardingPipelineConfigRequest {
                device_id: DEVICE_ID,
                election_id: Some(election_id),
                action: set_forwarding_pipeline_config_request::Action::VerifyAndCommit.into(),
                config: Some(ForwardingPipelineConfig {
                    p4info: Some(schema.p4info().clone()),
                    p4_device_config: outplane_p4::BMV2_JSON.into(),
                    cookie: None,
                }),
                ..SetForwardingPipelineConfigRequest::default()
            })
            .await?;
        Ok(Self { client, election_id, _stream: sender })
    }

    /// Ready-made requests of at most `chunk` updates each for the writes of a step.
    ///
    /// # Errors
    /// Deletes: a fresh switch has nothing to delete.
    pub fn requests(&self, schema: &Schema, step: &Step, chunk: usize) -> Result<Vec<WriteRequest>> {
        let updates: Vec<_> =
            step.changes.iter().map(|change| update(schema, change)).collect::<Result<_>>()?;
        let request = |updates: &[Update]| WriteRequest {
            device_id: DEVICE_ID,
            election_id: Some(self.election_id),
            updates: updates.to_vec(),
            ..WriteRequest::default()
        };
        Ok(updates.chunks(chunk).map(request).collect())
    }

    /// Sends requests, `in_flight` at a time, and says how long it took.
    pub async fn send(&self, requests: Vec<WriteRequest>, in_flight: usize) -> Result<Duration> {
        let start = Instant::now();
        let mut waiting = requests.into_iter();
        let mut sent = JoinSet::new();
        loop {
            while sent.len() < in_flight
                && let Some(request) = waiting.next()
            {
                let mut client = self.client.clone();
                sent.spawn(async move { client.write(request).await });
            }
            match sent.join_next().await {
                Some(answer) => drop(answer.context("a request was lost")??),
                None => return Ok(start.elapsed()),
            }
        }
    }
}

/// A write of a plan as the update that asks for it.
///
/// # Errors
/// Deletes: a fresh switch has nothing to delete.
pub fn update(schema: &Schema, change: &Change) -> Result<Update> {
    let (kind, entity) = match change {
        Change::Insert(entry) => (update::Type::Insert, Entity::from(schema.entry_to_proto(entry))),
        Change::SetDefault(entry) => (update::Type::Modify, schema.default_entry_to_proto(entry).into()),
        Change::InsertGroup(group) => (update::Type::Insert, schema.multicast_group_to_proto(group).into()),
        Change::SetMeter(cell) => (update::Type::Modify, schema.meter_cell_to_proto(cell).into()),
        other => bail!("a fresh switch takes no {other:?}"),
    };
    Ok(Update { r#type: kind.into(), entity: Some(entity) })
}

//! The soft switch under hostile clients, and `plan` under hostile switches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::p4_runtime_server::{P4Runtime, P4RuntimeServer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::process::{command, run, start};
use crate::wire::{call, connect, empties, field};

/// Most memory of the soft switch under hostile clients, MiB.
const SOFTSWITCH: u64 = 600;
/// Most memory of a command under a hostile switch, MiB.
const PLAN: u64 = 700;

/// Small messages that decode to gigabytes, from many at once, from nobody that is known.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_grow() {
    let switch = start(&mut command(&["softswitch", "--no-ports", "--listen", "127.0.0.1:0"]));
    let nested = |count| field(4, &field(2, &field(2, &empties(2, count))));
    let messages: [(&str, Bytes); 5] = [
        ("Write", empties(4, 14_000_000).into()),
        ("Write", empties(4, 8_000_000).into()),
        ("Write", nested(7_000_000).into()),
        ("Read", empties(2, 500_000).into()),
        ("SetForwardingPipelineConfig", field(5, &field(1, &empties(2, 15_000_000))).into()),
    ];
    let mut calls = JoinSet::new();
    for round in 0..12 {
        let (method, bytes) = messages[round % messages.len()].clone();
        let address = switch.address.clone();
        calls.spawn(async move {
            let channel = connect(&address).await;
            (method, call(&channel, method, bytes).await)
        });
    }
    for (method, answer) in calls.join_all().await {
        let status = answer.expect_err(method);
        // Whoever has sent much before it is refused may hear of a broken connection.
        assert!(
            matches!(
                status.code(),
                Code::ResourceExhausted
                    | Code::Internal
                    | Code::Unavailable
                    | Code::Cancelled
                    | Code::Unknown
            ),
            "{method}: {status:?}"
        );
    }
    let mut client = P4RuntimeClient::new(connect(&switch.address).await);
    client.capabilities(proto::CapabilitiesRequest::default()).await.expect("it answers");
    switch.stays_below(SOFTSWITCH);
}

/// Connections that say nothing, that say half a preface, that open a call and trickle: others are served at once.
#[tokio::test(flavor = "multi_thread")]
async fn silent_clients() {
    let switch = start(&mut command(&["softswitch", "--no-ports", "--listen", "127.0.0.1:0"]));
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(&switch.address).await.expect("it listens");
        if number % 3 == 0 {
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n").await;
        }
        held.push(stream);
    }
    let served = async {
        let mut client = P4RuntimeClient::new(connect(&switch.address).await);
        client.capabilities(proto::CapabilitiesRequest::default()).await
    };
    tokio::time::timeout(Duration::from_secs(3), served).await.expect("at once").expect("it answers");
    // Streams without arbitration end, and leave their places.
    let channel = connect(&switch.address).await;
    let mut client = P4RuntimeClient::new(channel);
    let (_open, requests) = tokio::sync::mpsc::channel(1);
    let stream = client.stream_channel(ReceiverStream::new(requests)).await.expect("opened");
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.into_inner().message()).await;
    let status = ended.expect("it ends").expect_err("with a reason");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    switch.stays_below(SOFTSWITCH);
}

/// How a switch does harm.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Answers without end, in small parts.
    Endless,
    /// One message that is small, and large when it is decoded.
    Growing,
    /// Parts without anything in them.
    Nothing,
}

#[derive(Clone)]
struct Hostile(Harm, Arc<proto::ReadResponse>);

type Parts<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl P4Runtime for Hostile {
    type ReadStream = Parts<proto::ReadResponse>;
    type StreamChannelStream = Parts<proto::StreamMessageResponse>;

    async fn write(&self, _: Request<proto::WriteRequest>) -> Result<Response<proto::WriteResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn read(&self, _: Request<proto::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (parts, queue) = tokio::sync::mpsc::channel(4);
        let (harm, part) = (self.0, Arc::clone(&self.1));
        tokio::spawn(async move {
            loop {
                let sent = parts.send(Ok(proto::ReadResponse::clone(&part))).await;
                if sent.is_err() || matches!(harm, Harm::Growing) {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }

    async fn set_forwarding_pipeline_config(
        &self,
        _: Request<proto::SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<proto::SetForwardingPipelineConfigResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn get_forwarding_pipeline_config(
        &self,
        _: Request<proto::GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<proto::GetForwardingPipelineConfigResponse>, Status> {
        let cookie = outplane_driver_p4runtime::Pipeline::outplane().cookie;
        let cookie = Some(proto::forwarding_pipeline_config::Cookie { cookie });
        let config = proto::ForwardingPipelineConfig { cookie, ..Default::default() };
        Ok(Response::new(proto::GetForwardingPipelineConfigResponse { config: Some(config) }))
    }

    async fn stream_channel(
        &self,
        request: Request<Streaming<proto::StreamMessageRequest>>,
    ) -> Result<Response<Self::StreamChannelStream>, Status> {
        let mut requests = request.into_inner();
        while requests.next().await.is_some() {}
        Err(Status::unavailable("gone"))
    }

    async fn capabilities(
        &self,
        _: Request<proto::CapabilitiesRequest>,
    ) -> Result<Response<proto::CapabilitiesResponse>, Status> {
        Err(Status::unimplemented("no"))
    }
}

fn part(harm: Harm) -> proto::ReadResponse {
    let count = match harm {
        Harm::Endless => 2000,
        Harm::Growing => 1_500_000,
        Harm::Nothing => 0,
    };
    let entry = proto::TableEntry { table_id: 1, metadata: vec![7; 40], ..Default::default() };
    let entity = match harm {
        Harm::Endless => proto::Entity { entity: Some(proto::entity::Entity::TableEntry(entry)) },
        _ => proto::Entity::default(),
    };
    proto::ReadResponse { entities: vec![entity; count] }
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_that_answer_too_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.yaml");
    for harm in [Harm::Endless, Harm::Growing, Harm::Nothing] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let service =
            P4RuntimeServer::new(Hostile(harm, Arc::new(part(harm)))).max_encoding_message_size(usize::MAX);
        let server = tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let text = "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: p}\nspec:\n  rules:\n  - \
                    {name: r, action: allow, from: [10.0.0.0/8], to: [10.0.0.1]}\n";
        std::fs::write(&policy, text).expect("written");
        let policy = policy.to_str().expect("text");
        let ended = run(&mut command(&["plan", policy, "--address", &address.to_string()])).await;
        ended.failed_below(&format!("{harm:?}"), PLAN);
        server.abort();
    }
}

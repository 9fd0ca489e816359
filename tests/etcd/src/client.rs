//! Calls to a cluster: one member after the other, each call with a deadline.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::event::Type;
use crate::api::kv_client::KvClient;
use crate::api::lease_client::LeaseClient;
use crate::api::maintenance_client::MaintenanceClient;
use crate::api::request_op::Request;
use crate::api::response_op::Response as Answer;
use crate::api::watch_client::WatchClient;
use crate::api::watch_request::RequestUnion;
use crate::api::{
    Compare, DeleteRangeRequest, Event, KeyValue, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
    StatusRequest, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use crate::task::{Decision, TaskId};

/// How long a member may take before the next one is asked: the same as RMDP gives an endpoint of its store. A member
/// that still believes in a leader who is dead would hold a request for 7 s. It doubles when all members were asked,
/// up to [`LONGEST_ATTEMPT`]: where all are slow, asking again and again would only make them slower.
const ATTEMPT: Duration = Duration::from_millis(150);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);
/// How long all members together may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two tries: without a leader members refuse at once.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a stream may take to open.
pub(crate) const OPENING: Duration = Duration::from_millis(500);
/// Longest message of a watch: etcd puts up to 1,000 revisions into one.
const LONGEST: usize = 64 << 20;

/// A client of all members of a cluster. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    members: Arc<[Channel]>,
    /// The member that answered last.
    preferred: Arc<AtomicUsize>,
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of the whole store; changes of one transaction share it.
    pub revision: i64,
    /// The key.
    pub key: String,
    /// What it holds now; none: it is gone.
    pub value: Option<Vec<u8>>,
}

impl Change {
    pub(crate) fn of(event: Event) -> Result<Self> {
        let deleted = event.r#type == i32::from(Type::Delete);
        let kv = event.kv.context("etcd: an event without a key")?;
        let key = String::from_utf8(kv.key).context("etcd: a key of ours is no text")?;
        Ok(Self { revision: kv.mod_revision, key, value: (!deleted).then_some(kv.value) })
    }
}

impl Client {
    /// A client of these members (`http://HOST:PORT`); it connects when it is used.
    pub fn new(endpoints: &[String]) -> Result<Self> {
        ensure!(!endpoints.is_empty(), "etcd: no members");
        let channel = |endpoint: &String| -> Result<Channel> {
            Ok(Endpoint::from_shared(endpoint.clone())?
                .connect_timeout(ATTEMPT)
                .tcp_nodelay(true)
                .connect_lazy())
        };
        let members = endpoints.iter().map(channel).collect::<Result<Vec<_>>>()?;
        Ok(Self { members: members.into(), preferred: Arc::default() })
    }

    /// Asks that member first from now on, as those do who are told different members.
    pub fn prefer(&self, member: usize) {
        self.preferred.store(member, Ordering::Relaxed);
    }

    /// A member's channel, to be asked when so many others did not answer.
    pub(crate) fn channel(&self, after: usize) -> Channel {
        let first = self.preferred.load(Ordering::Relaxed);
        self.members[(first + after) % self.members.len()].clone()
    }

    /// Asks one member after the other until one answers. What is asked may be carried out twice.
    async fn call<T, F, R>(&self, what: &str, ask: F) -> Result<T>
    where
        F: Fn(Channel) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let start = Instant::now();
        let first = self.preferred.load(Ordering::Relaxed);
        for tries in 0.. {
            let member = (first + tries) % self.members.len();
            let attempt = (ATTEMPT * (1 << (tries / self.members.len()).min(8))).min(LONGEST_ATTEMPT);
            let answer = tokio::time::timeout(attempt, ask(self.members[member].clone())).await;
            let reason = match answer {
                Ok(Ok(response)) => {
                    if tries > 0 {
                        self.prefer(member);
                    }
                    return Ok(response.into_inner());
                }
                // No other member would say anything else.
                Ok(Err(status)) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
                    bail!("etcd: {what}: {}", status.message());
                }
                Ok(Err(status)) => status.to_string(),
                Err(_) => format!("no answer within {attempt:?}"),
            };
            if start.elapsed() > DEADLINE {
                bail!("etcd: {what}: {reason}");
            }
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("the loop has no end")
    }

    async fn transaction(&self, what: &str, request: TxnRequest) -> Result<TxnResponse> {
        self.call(what, |channel| {
            let request = request.clone();
            async move { KvClient::new(channel).txn(request).await }
        })
        .await
    }

    /// Queues tasks in one transaction. One whose answer is lost is sent again and does nothing then.
    pub async fn submit(&self, tasks: &[(TaskId, Vec<u8>)]) -> Result<()> {
        let fresh = |(id, _): &(TaskId, Vec<u8>)| [absent(queue(id)), absent(decision(id))];
        let queued = |(id, value): &(TaskId, Vec<u8>)| put(queue(id), value.clone(), 0);
        let request = TxnRequest {
            compare: tasks.iter().flat_map(fresh).collect(),
            success: tasks.iter().map(queued).collect(),
            failure: Vec::new(),
        };
        self.transaction("submit", request).await?;
        Ok(())
    }

    /// Claims a task that is queued and free, under a lease; the claim's revision if it is ours. `nonce` must be new:
    /// by it a claim is known whose answer was lost.
    pub(crate) async fn claim(&self, id: &TaskId, nonce: &str, lease: i64) -> Result<Option<i64>> {
        let request = TxnRequest {
            compare: vec![compare(queue(id), CompareResult::Greater, 0), absent(claim(id))],
            success: vec![put(claim(id), nonce.into(), lease)],
            failure: vec![range(claim(id).into_bytes(), Vec::new())],
        };
        let response = self.transaction("claim", request).await?;
        if response.succeeded {
            return Ok(Some(response.header.context("etcd: no header in an answer")?.revision));
        }
        let found = ranges(response).into_iter().find(|found| found.value == nonce.as_bytes());
        Ok(found.map(|found| found.create_revision))
    }

    /// Ends a task whose claim of this revision still stands: `q/` and `c/` go, `d/` comes. Whether that is so now.
    pub(crate) async fn finish(&self, id: &TaskId, revision: i64, end: &Decision) -> Result<bool> {
        let request = TxnRequest {
            compare: vec![compare(claim(id), CompareResult::Equal, revision)],
            success: vec![
                delete(queue(id)),
                put(decision(id), end.to_string().into_bytes(), 0),
                delete(claim(id)),
            ],
            failure: vec![range(decision(id).into_bytes(), Vec::new())],
        };
        let response = self.transaction("finish", request).await?;
        Ok(response.succeeded
            || ranges(response).iter().any(|found| found.value == end.to_string().as_bytes()))
    }

    /// Gives up a claim of this revision, if it still stands.
    pub(crate) async fn release(&self, id: &TaskId, revision: i64) -> Result<()> {
        let request = TxnRequest {
            compare: vec![compare(claim(id), CompareResult::Equal, revision)],
            success: vec![delete(claim(id))],
            failure: Vec::new(),
        };
        self.transaction("release", request).await?;
        Ok(())
    }

    /// A lease of so many seconds.
    pub(crate) async fn lease(&self, seconds: i64) -> Result<i64> {
        let grant = |channel| async move {
            LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl: seconds }).await
        };
        Ok(self.call("lease", grant).await?.id)
    }

    /// Makes a worker known to the others as long as its lease lives.
    pub(crate) async fn register(&self, worker: &str, lease: i64) -> Result<()> {
        let request = PutRequest { key: format!("w/{worker}").into(), value: Vec::new(), lease };
        self.call("register", |channel| {
            let request = request.clone();
            async move { KvClient::new(channel).put(request).await }
        })
        .await?;
        Ok(())
    }

    /// The newest revision, and what the store holds then: the queue, claims, workers.
    pub(crate) async fn snapshot(&self) -> Result<(i64, Vec<Change>)> {
        let all = |kind: u8| range(vec![kind, b'/'], vec![kind, b'/' + 1]);
        let request = TxnRequest {
            compare: Vec::new(),
            success: [b'w', b'c', b'q'].map(all).to_vec(),
            failure: Vec::new(),
        };
        let response = self.transaction("snapshot", request).await?;
        let revision = response.header.as_ref().context("etcd: no header in an answer")?.revision;
        let held = |kv: KeyValue| Change::of(Event { r#type: Type::Put.into(), kv: Some(kv) });
        let held = ranges(response).into_iter().map(held).collect::<Result<_>>()?;
        Ok((revision, held))
    }

    /// A watch of everything from a revision on. It lasts as long as its requests' sender.
    pub(crate) async fn watch(
        &self,
        tries: usize,
        start_revision: i64,
    ) -> Result<(mpsc::Sender<WatchRequest>, tonic::Streaming<WatchResponse>)> {
        let create = WatchCreateRequest { key: vec![0], range_end: vec![0], start_revision };
        let (sender, receiver) = mpsc::channel(1);
        sender.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        // A member that has lost its leader ends the watch rather than fall silent.
        request.metadata_mut().insert("hasleader", "true".parse()?);
        let mut client = WatchClient::new(self.channel(tries)).max_decoding_message_size(LONGEST);
        let stream = tokio::time::timeout(OPENING, client.watch(request)).await??;
        Ok((sender, stream.into_inner()))
    }

    /// How many tasks have no decision yet.
    pub async fn queued(&self) -> Result<usize> {
        let (_, held) = self.snapshot().await?;
        Ok(held.iter().filter(|change| change.key.starts_with("q/")).count())
    }

    /// Everything that has happened since the cluster began, in order.
    pub async fn history(&self) -> Result<Vec<Change>> {
        let (newest, _) = self.snapshot().await?;
        let (_requests, mut news) = self.watch(0, 1).await?;
        let mut changes: Vec<Change> = Vec::new();
        while changes.last().is_none_or(|last| last.revision < newest) {
            let response =
                tokio::time::timeout(DEADLINE, news.next()).await?.context("the watch ended")??;
            ensure!(!response.canceled, "etcd ended the watch: {}", response.cancel_reason);
            for event in response.events {
                changes.push(Change::of(event)?);
            }
        }
        Ok(changes)
    }

    /// Whether a member says that it leads.
    pub(crate) async fn leads(&self, member: usize) -> Result<bool> {
        let mut client = MaintenanceClient::new(self.members[member].clone());
        let status = tokio::time::timeout(ATTEMPT, client.status(StatusRequest {})).await??.into_inner();
        let header = status.header.context("etcd: no header in the status")?;
        Ok(status.leader != 0 && status.leader == header.member_id)
    }
}

fn queue(id: &TaskId) -> String {
    format!("q/{id}")
}

fn claim(id: &TaskId) -> String {
    format!("c/{id}")
}

fn decision(id: &TaskId) -> String {
    format!("d/{id}")
}

fn compare(key: String, result: CompareResult, create_revision: i64) -> Compare {
    Compare {
        result: result.into(),
        target: CompareTarget::Create.into(),
        key: key.into_bytes(),
        target_union: Some(TargetUnion::CreateRevision(create_revision)),
    }
}

fn absent(key: String) -> Compare {
    compare(key, CompareResult::Equal, 0)
}

fn put(key: String, value: Vec<u8>, lease: i64) -> RequestOp {
    let request = Request::RequestPut(PutRequest { key: key.into_bytes(), value, lease });
    RequestOp { request: Some(request) }
}

fn delete(key: String) -> RequestOp {
    let request = Request::RequestDeleteRange(DeleteRangeRequest { key: key.into_bytes() });
    RequestOp { request: Some(request) }
}

fn range(key: Vec<u8>, range_end: Vec<u8>) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(RangeRequest { key, range_end })) }
}

fn ranges(response: TxnResponse) -> Vec<KeyValue> {
    let answers = response.responses.into_iter().filter_map(|answer| match answer.response {
        Some(Answer::ResponseRange(range)) => Some(range.kvs),
        None => None,
    });
    answers.flatten().collect()
}

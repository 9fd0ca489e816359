//! Calls to a cluster: one member after the other, each call with a deadline.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::kv_client::KvClient;
use crate::api::lease_client::LeaseClient;
use crate::api::maintenance_client::MaintenanceClient;
use crate::api::request_op::Request;
use crate::api::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RequestOp, StatusRequest, TxnRequest,
};

/// How long a member may take before the next one is asked: the same as RMDP gives an endpoint of its store.
const ATTEMPT: Duration = Duration::from_millis(150);
/// How long all members together may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A client of all members of a cluster. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    members: Arc<[Channel]>,
    /// The member that answered last.
    preferred: Arc<AtomicUsize>,
}

impl Client {
    pub(crate) fn new(endpoints: &[String]) -> Result<Self> {
        let channel = |endpoint: &String| -> Result<Channel> {
            Ok(Endpoint::from_shared(endpoint.clone())?.connect_timeout(ATTEMPT).connect_lazy())
        };
        let members = endpoints.iter().map(channel).collect::<Result<Vec<_>>>()?;
        Ok(Self { members: members.into(), preferred: Arc::default() })
    }

    /// A member's channel, to be asked next if the preferred one was `after` calls ago.
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
        let mut tries = 0;
        loop {
            let answer = tokio::time::timeout(ATTEMPT, ask(self.channel(tries))).await;
            let reason = match answer {
                Ok(Ok(response)) => {
                    self.preferred.fetch_add(tries, Ordering::Relaxed);
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => status.to_string(),
                Err(_) => format!("no answer within {ATTEMPT:?}"),
            };
            tries += 1;
            if start.elapsed() > DEADLINE {
                bail!("etcd: {what}: {reason}");
            }
            // Without a leader members refuse at once.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts a key.
    pub async fn put(&self, key: String, value: Vec<u8>) -> Result<()> {
        let request = PutRequest { key: key.into_bytes(), value, lease: 0 };
        self.call("put", |channel| {
            let request = request.clone();
            async move { KvClient::new(channel).put(request).await }
        })
        .await?;
        Ok(())
    }

    /// Creates a key under a lease; whether it was absent. A try that timed out may have succeeded: then the next one
    /// finds the key, and its value tells whose it is.
    pub(crate) async fn create(&self, key: &str, value: &str, lease: i64) -> Result<bool> {
        let absent = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            key: key.into(),
            target_union: Some(TargetUnion::CreateRevision(0)),
        };
        let put = Request::RequestPut(PutRequest { key: key.into(), value: value.into(), lease });
        let request = TxnRequest { compare: vec![absent], success: vec![RequestOp { request: Some(put) }] };
        if self.transaction(request).await? {
            return Ok(true);
        }
        let range = crate::api::RangeRequest { key: key.into(), range_end: Vec::new() };
        let found = self
            .call("range", |channel| {
                let range = range.clone();
                async move { KvClient::new(channel).range(range).await }
            })
            .await?;
        Ok(found.kvs.first().is_some_and(|found| found.value == value.as_bytes()))
    }

    /// Moves a task to its end: `q/` goes, `d/` comes.
    pub(crate) async fn finish(&self, id: &str, by: &str) -> Result<()> {
        let delete = Request::RequestDeleteRange(DeleteRangeRequest { key: format!("q/{id}").into_bytes() });
        let put = Request::RequestPut(PutRequest {
            key: format!("d/{id}").into_bytes(),
            value: by.into(),
            lease: 0,
        });
        let success = [delete, put].map(|request| RequestOp { request: Some(request) }).to_vec();
        self.transaction(TxnRequest { compare: Vec::new(), success }).await?;
        Ok(())
    }

    async fn transaction(&self, request: TxnRequest) -> Result<bool> {
        let response = self
            .call("transaction", |channel| {
                let request = request.clone();
                async move { KvClient::new(channel).txn(request).await }
            })
            .await?;
        Ok(response.succeeded)
    }

    /// A lease of so many seconds.
    pub(crate) async fn lease(&self, seconds: i64) -> Result<i64> {
        let grant = |channel| async move {
            LeaseClient::new(channel).lease_grant(LeaseGrantRequest { ttl: seconds }).await
        };
        Ok(self.call("lease", grant).await?.id)
    }

    /// Whether a member says that it leads.
    pub(crate) async fn leads(&self, member: usize) -> Result<bool> {
        let mut client = MaintenanceClient::new(self.members[member].clone());
        let status = tokio::time::timeout(ATTEMPT, client.status(StatusRequest {})).await??.into_inner();
        let header = status.header.context("etcd: no header in the status")?;
        Ok(status.leader != 0 && status.leader == header.member_id)
    }
}

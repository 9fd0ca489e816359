//! The stream to a switch: who is primary, and packets both ways.
//!
//! ```text
//!             open ──► arbitration sent ──► answer ──► Primary ◄──► Backup
//!                                             │            └────┬─────┘
//!                              UNIMPLEMENTED  ▼                 ▼ stream ends
//!                                         NotOffered           Lost
//! ```
//! A task reads the stream as long as the [`Stream`] lives. Whoever writes watches [`Primacy`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::stream_message_request::Update as Send;
use outplane_p4runtime::p4::v1::stream_message_response::Update as Received;
use outplane_p4runtime::p4::v1::{
    MasterArbitrationUpdate, PacketIn, Role, StreamMessageRequest, StreamMessageResponse, Uint128,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::errors::{Error, Peer, Problem, broken, reason, timed_out};
use crate::target::{Options, Target};

/// Messages to the switch that may wait for the stream.
const REQUEST_QUEUE: usize = 64;

/// Whether we may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primacy {
    /// We may.
    Primary,
    /// Another controller may; its election id, where the switch says it.
    Backup(Option<u128>),
    /// The switch knows no arbitration: everybody may.
    NotOffered,
    /// The stream has ended, for this reason.
    Lost(String),
}

/// The wire form of an election id.
pub(crate) fn to_wire(id: u128) -> Uint128 {
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    Uint128 { high: (id >> 64) as u64, low: id as u64 }
}

fn from_wire(id: &Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

/// Packets from the switch on their way to whoever reads them.
#[derive(Clone, Debug)]
pub(crate) struct PacketQueue {
    pub(crate) sender: mpsc::Sender<PacketIn>,
    pub(crate) dropped: Arc<AtomicU64>,
}

/// An open stream. The task that reads it ends with it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) primacy: watch::Receiver<Primacy>,
    /// The election id that was taken, which `take_over` may have raised.
    pub(crate) election_id: u128,
    requests: Option<mpsc::Sender<StreamMessageRequest>>,
    reader: JoinSet<()>,
}

impl Stream {
    /// Opens the stream and waits until it is known who is primary.
    pub(crate) async fn open(
        peer: &Arc<Peer>,
        client: &mut P4RuntimeClient<Channel>,
        target: &Target,
        options: &Options,
        packets: PacketQueue,
    ) -> Result<Self, Error> {
        let late = |_| peer.error(Problem::Deadline { call: "arbitration", after: options.call_deadline });
        timeout(options.call_deadline, open(peer, client, target, options, packets)).await.map_err(late)?
    }

    /// Sends a message to the switch, when there is room.
    pub(crate) async fn send(&self, update: Send) -> Result<(), String> {
        let Some(requests) = &self.requests else { return Err("the switch has no stream".into()) };
        let message = StreamMessageRequest { update: Some(update) };
        requests.send(message).await.map_err(|_| "the stream has ended".into())
    }

    /// Ends the stream.
    pub(crate) async fn close(&mut self) {
        self.requests = None;
        self.reader.shutdown().await;
    }

    /// Fails unless we may write.
    pub(crate) fn check(&self, peer: &Arc<Peer>) -> Result<(), Error> {
        lost(peer, &self.primacy.borrow())
    }
}

/// The problem that a writer has with this.
pub(crate) fn lost(peer: &Arc<Peer>, state: &Primacy) -> Result<(), Error> {
    match state {
        Primacy::Primary | Primacy::NotOffered => Ok(()),
        Primacy::Backup(primary) => Err(peer.error(Problem::PrimacyLost { primary: *primary })),
        Primacy::Lost(reason) => Err(peer.error(Problem::Disconnected { reason: reason.clone() })),
    }
}

async fn open(
    peer: &Arc<Peer>,
    client: &mut P4RuntimeClient<Channel>,
    target: &Target,
    options: &Options,
    packets: PacketQueue,
) -> Result<Stream, Error> {
    let mut election_id = options.election_id;
    let refused = |ours, status: &Status| {
        if timed_out(status) || broken(status) {
            return peer.call_error("arbitration", options.call_deadline, status);
        }
        let message = status.message().to_owned();
        peer.error(Problem::ArbitrationRefused { ours, code: status.code(), message })
    };
    let (requests, receiver) = mpsc::channel(REQUEST_QUEUE);
    let ask = async |election_id| {
        // The receiver is part of the call below, so this can only fail when that has failed.
        let _ = requests.send(StreamMessageRequest { update: Some(arbitration(target, election_id)) }).await;
    };
    ask(election_id).await;
    let mut inbound = match client.stream_channel(ReceiverStream::new(receiver)).await {
        Ok(response) => response.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => return Ok(without_arbitration(election_id)),
        Err(status) => return Err(refused(election_id, &status)),
    };
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => {
                return Err(
                    peer.error(Problem::Disconnected { reason: "the switch ended the stream".into() })
                );
            }
            Err(status) if status.code() == Code::Unimplemented => {
                return Ok(without_arbitration(election_id));
            }
            Err(status) => return Err(refused(election_id, &status)),
        };
        let Some(Received::Arbitration(update)) = message.update else { continue };
        let primacy = primacy(&update);
        if let Primacy::Backup(Some(primary)) = primacy
            && options.take_over
            && let Some(above) = primary.checked_add(1)
            && election_id < above
        {
            election_id = above;
            ask(election_id).await;
            continue;
        }
        let (sender, receiver) = watch::channel(primacy);
        let mut reader = JoinSet::new();
        reader.spawn(read(inbound, sender, packets, target.name.clone()));
        return Ok(Stream { primacy: receiver, election_id, requests: Some(requests), reader });
    }
}

/// A switch without arbitration takes writes from everybody.
fn without_arbitration(election_id: u128) -> Stream {
    let (_, primacy) = watch::channel(Primacy::NotOffered);
    Stream { primacy, election_id, requests: None, reader: JoinSet::new() }
}

fn arbitration(target: &Target, election_id: u128) -> Send {
    let role = target.role.clone().map(|name| Role { name, ..Role::default() });
    Send::Arbitration(MasterArbitrationUpdate {
        device_id: target.device_id,
        role,
        election_id: Some(to_wire(election_id)),
        status: None,
    })
}

/// Status `OK` goes to the primary, `ALREADY_EXISTS` to the others; `NOT_FOUND` says that there is none (section 5.4).
fn primacy(update: &MasterArbitrationUpdate) -> Primacy {
    if update.status.as_ref().is_none_or(|status| status.code == i32::from(Code::Ok)) {
        Primacy::Primary
    } else {
        Primacy::Backup(update.election_id.as_ref().map(from_wire))
    }
}

/// Reads the stream to its end.
async fn read(
    mut inbound: Streaming<StreamMessageResponse>,
    sender: watch::Sender<Primacy>,
    packets: PacketQueue,
    switch: String,
) {
    let reason = loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break "the switch ended the stream".to_owned(),
            Err(status) => break reason(&status),
        };
        match message.update {
            Some(Received::Arbitration(update)) => {
                let primacy = primacy(&update);
                tracing::info!(switch, ?primacy, "arbitration");
                sender.send_if_modified(|known| {
                    let is_new = *known != primacy;
                    *known = primacy;
                    is_new
                });
            }
            Some(Received::Packet(packet)) => {
                if packets.sender.try_send(packet).is_err() {
                    packets.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some(Received::Error(error)) => {
                tracing::warn!(switch, code = error.canonical_code, message = error.message, "stream error");
            }
            // Nothing in outplane.p4 sends digests or ages.
            Some(Received::Digest(_) | Received::IdleTimeoutNotification(_) | Received::Other(_)) | None => {}
        }
    };
    tracing::info!(switch, reason, "stream ended");
    sender.send_replace(Primacy::Lost(reason));
}

#[cfg(test)]
mod tests {
    use outplane_p4runtime::google::rpc;

    use super::*;

    #[test]
    fn election_ids_have_128_bits() {
        for id in [0, 1, u128::from(u64::MAX), u128::from(u64::MAX) + 1, u128::MAX, 3 << 64 | 7] {
            assert_eq!(from_wire(&to_wire(id)), id);
        }
        assert_eq!(to_wire(3 << 64 | 7), Uint128 { high: 3, low: 7 });
    }

    #[test]
    fn who_is_primary() {
        let update = |code: Option<Code>, id| MasterArbitrationUpdate {
            election_id: Some(to_wire(id)),
            status: code.map(|code| rpc::Status { code: code.into(), ..rpc::Status::default() }),
            ..MasterArbitrationUpdate::default()
        };
        assert_eq!(primacy(&update(Some(Code::Ok), 5)), Primacy::Primary);
        assert_eq!(primacy(&update(None, 5)), Primacy::Primary);
        assert_eq!(primacy(&update(Some(Code::AlreadyExists), 5)), Primacy::Backup(Some(5)));
        let nobody = MasterArbitrationUpdate { election_id: None, ..update(Some(Code::NotFound), 0) };
        assert_eq!(primacy(&nobody), Primacy::Backup(None));
    }
}

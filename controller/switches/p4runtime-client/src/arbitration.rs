//! The stream to a switch: who is primary, and packets both ways.
//!
//! ```text
//!             open ──► arbitration sent ──► answer ──► Primary ─────────► Backup
//!                                             │            │  a higher id     │
//!                              UNIMPLEMENTED  ▼            └───────┬──────────┘
//!                                         NotOffered               ▼ stream ends
//!                                                                Lost
//! ```
//! A task reads the stream as long as the [`Stream`] lives. Whoever writes watches [`Primacy`].
//!
//! The highest election id ever seen stays the highest (section 5): who has been overtaken may write again only under an
//! id above it. Not every switch keeps to that: BMv2 makes the next highest stream primary when the primary's ends, and
//! forgets ids whose streams have ended. So it is kept here as well, in [`Seen`]: whatever the switch says later.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

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

use crate::errors::{Error, Peer, Problem};
use crate::packet_io::Tap;
use crate::status::{broken, reason, timed_out};
use crate::target::{Options, Target};

/// Messages to the switch that may wait for the stream.
const REQUEST_QUEUE: usize = 64;

/// Whether we may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primacy {
    /// We may.
    Primary,
    /// Another controller may, or might: the highest election id seen, where one is known. This stays, even if that
    /// controller goes away, until we have an id above it.
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
    /// Where they go instead, if anywhere.
    pub(crate) tap: Option<Tap>,
}

impl PacketQueue {
    fn put(&self, switch: &str, packet: PacketIn) {
        if let Some(tap) = &self.tap {
            tap.put(switch, packet);
        } else if self.sender.try_send(packet).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The election ids of one switch and role, as long as somebody has to do with it: over all its streams.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Ids>>);

/// Election ids that are remembered: the highest ones. Whoever takes more than these is no stranger that passes by.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
struct Ids {
    /// Those that the switch told of. Several, because one may turn out to be a stranger's, and then the next counts.
    told: BTreeSet<u128>,
    /// The highest that a write was refused with, although nobody told why.
    denied: Option<u128>,
}

impl Ids {
    fn highest(&self) -> u128 {
        self.told.last().copied().unwrap_or(0)
    }
}

impl Seen {
    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest id of another controller above this one, if there was one.
    pub fn above(&self, id: u128) -> Option<u128> {
        Some(self.ids().highest()).filter(|&highest| highest > id)
    }

    /// Forgets one that was nobody's of ours.
    pub fn disown(&self, id: u128) {
        self.ids().told.remove(&id);
    }

    /// What the switch's word to a stream with this id means after all that was seen.
    fn judge(&self, ours: u128, update: &MasterArbitrationUpdate) -> Primacy {
        let mut ids = self.ids();
        if let Some(id) = &update.election_id {
            ids.told.insert(from_wire(id));
            if ids.told.len() > REMEMBERED {
                ids.told.pop_first();
            }
        }
        let highest = ids.highest();
        match primacy(update) {
            Primacy::Primary if highest > ours => Primacy::Backup(Some(highest)),
            Primacy::Primary if ids.denied >= Some(ours) => Primacy::Backup(None),
            told => told,
        }
    }
}

/// An open stream. The task that reads it ends with it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) primacy: watch::Receiver<Primacy>,
    /// The election id that was taken, which `take_over` may have raised.
    pub(crate) election_id: u128,
    requests: Option<mpsc::Sender<StreamMessageRequest>>,
    verdict: Arc<watch::Sender<Primacy>>,
    /// The first election id that the switch told of besides ours; set, and none, where it did not say which.
    overtaken: Arc<OnceLock<Option<u128>>>,
    seen: Seen,
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
        seen: Seen,
    ) -> Result<Self, Error> {
        let late = |_| late(peer, options);
        timeout(options.call_deadline, open(peer, client, target, options, packets, seen))
            .await
            .map_err(late)?
    }

    /// The switch refused a write for want of primacy: no more of them with this election id, whatever it says later.
    pub(crate) fn denied(&self) -> Problem {
        let mut ids = self.seen.ids();
        ids.denied = ids.denied.max(Some(self.election_id));
        let primary = Some(ids.highest()).filter(|&highest| highest > self.election_id);
        drop(ids);
        let _ = self.overtaken.set(None);
        self.verdict.send_if_modified(|known| {
            let is_new = *known == Primacy::Primary;
            if is_new {
                *known = Primacy::Backup(primary);
            }
            is_new
        });
        Problem::PrimacyLost { primary }
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

    /// Whether nobody was primary between us and the one with this id, by the switch's word to us. It comes about when
    /// that one hears that it is primary; it is waited for so long.
    pub(crate) async fn was_primary_until(&self, election_id: u128, patience: Duration) -> bool {
        let mut primacy = self.primacy.clone();
        let told = primacy.wait_for(|primacy| *primacy != Primacy::Primary);
        // What counts is what was heard, in whatever way the waiting ended.
        let _ = timeout(patience, told).await;
        self.overtaken.get() == Some(&Some(election_id))
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

fn late(peer: &Arc<Peer>, options: &Options) -> Error {
    peer.error(Problem::Deadline { call: "arbitration", after: options.call_deadline })
}

async fn open(
    peer: &Arc<Peer>,
    client: &mut P4RuntimeClient<Channel>,
    target: &Target,
    options: &Options,
    packets: PacketQueue,
    seen: Seen,
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
        Err(status) if status.code() == Code::Unimplemented => {
            return Ok(without_arbitration(election_id, seen));
        }
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
                return Ok(without_arbitration(election_id, seen));
            }
            Err(status) => return Err(refused(election_id, &status)),
        };
        let Some(Received::Arbitration(update)) = message.update else { continue };
        let primacy = seen.judge(election_id, &update);
        if let Primacy::Backup(Some(primary)) = primacy
            && options.take_over
            && let Some(above) = primary.checked_add(1)
            && election_id < above
        {
            election_id = above;
            ask(election_id).await;
            continue;
        }
        let overtaken = Arc::new(OnceLock::new());
        if primacy != Primacy::Primary {
            let _ = overtaken.set(None);
        }
        let (verdict, primacy) = watch::channel(primacy);
        let verdict = Arc::new(verdict);
        let reader = Reader {
            verdict: Arc::clone(&verdict),
            overtaken: Arc::clone(&overtaken),
            election_id,
            seen: seen.clone(),
            packets,
            switch: target.name.clone(),
        };
        let mut task = JoinSet::new();
        task.spawn(reader.read(inbound));
        let requests = Some(requests);
        return Ok(Stream { primacy, election_id, requests, verdict, overtaken, seen, reader: task });
    }
}

/// A switch without arbitration takes writes from everybody.
fn without_arbitration(election_id: u128, seen: Seen) -> Stream {
    let (verdict, primacy) = watch::channel(Primacy::NotOffered);
    let verdict = Arc::new(verdict);
    let (overtaken, reader) = (Arc::default(), JoinSet::new());
    Stream { primacy, election_id, requests: None, verdict, overtaken, seen, reader }
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

/// Reads a stream to its end.
struct Reader {
    verdict: Arc<watch::Sender<Primacy>>,
    overtaken: Arc<OnceLock<Option<u128>>>,
    election_id: u128,
    seen: Seen,
    packets: PacketQueue,
    switch: String,
}

impl Reader {
    async fn read(self, mut inbound: Streaming<StreamMessageResponse>) {
        let reason = loop {
            match inbound.message().await {
                Ok(Some(StreamMessageResponse { update: Some(update) })) => self.take(update),
                Ok(Some(StreamMessageResponse { update: None })) => {}
                Ok(None) => break "the switch ended the stream".to_owned(),
                Err(status) => break reason(&status),
            }
        };
        tracing::info!(switch = self.switch, reason, "stream ended");
        self.verdict.send_replace(Primacy::Lost(reason));
    }

    fn take(&self, update: Received) {
        let switch = &self.switch;
        match update {
            Received::Arbitration(update) => {
                let primacy = self.seen.judge(self.election_id, &update);
                tracing::info!(switch, ?primacy, "arbitration");
                let told = update.election_id.as_ref().map(from_wire);
                if told != Some(self.election_id) {
                    let _ = self.overtaken.set(told);
                }
                self.verdict.send_if_modified(|known| {
                    let is_new = *known != primacy;
                    *known = primacy;
                    is_new
                });
            }
            Received::Packet(packet) => self.packets.put(switch, packet),
            Received::Error(error) => {
                tracing::warn!(switch, code = error.canonical_code, message = error.message, "stream error");
            }
            // Nobody here takes digests or hears of entries that age.
            Received::Digest(_) | Received::IdleTimeoutNotification(_) | Received::Other(_) => {}
        }
    }
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

    #[test]
    fn who_was_overtaken_stays_so_until_it_has_a_higher_id() {
        let told = |code: Code, id| MasterArbitrationUpdate {
            election_id: Some(to_wire(id)),
            status: Some(rpc::Status { code: code.into(), ..rpc::Status::default() }),
            ..MasterArbitrationUpdate::default()
        };
        let seen = Seen::default();
        assert_eq!(seen.judge(5, &told(Code::Ok, 5)), Primacy::Primary);
        assert_eq!(seen.judge(5, &told(Code::AlreadyExists, 7)), Primacy::Backup(Some(7)));
        assert_eq!((seen.above(6), seen.above(7)), (Some(7), None));
        // BMv2, after 7 has gone.
        assert_eq!(seen.judge(5, &told(Code::Ok, 5)), Primacy::Backup(Some(7)));
        assert_eq!(seen.judge(8, &told(Code::Ok, 8)), Primacy::Primary);
        // A stranger's is forgotten once it is known for that, and the next highest counts.
        assert_eq!(seen.judge(8, &told(Code::AlreadyExists, u128::MAX)), Primacy::Backup(Some(u128::MAX)));
        assert_eq!(seen.judge(8, &told(Code::Ok, 8)), Primacy::Backup(Some(u128::MAX)));
        seen.disown(u128::MAX);
        assert_eq!((seen.above(7), seen.above(8)), (Some(8), None));
        assert_eq!(seen.judge(5, &told(Code::Ok, 5)), Primacy::Backup(Some(8)));
        assert_eq!(seen.judge(8, &told(Code::Ok, 8)), Primacy::Primary);
        seen.ids().denied = Some(8);
        assert_eq!(seen.judge(8, &told(Code::Ok, 8)), Primacy::Backup(None));
        assert_eq!(seen.judge(9, &told(Code::Ok, 9)), Primacy::Primary);
    }
}

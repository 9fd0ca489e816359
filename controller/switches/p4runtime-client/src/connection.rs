//! A connection to one switch.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use outplane_p4runtime::Schema;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::stream_message_request::Update as Send;
use outplane_p4runtime::p4::v1::{CapabilitiesRequest, PacketOut};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::arbitration::{PacketQueue, Primacy, Seen, Stream, lost};
use crate::connect::connect;
use crate::errors::{Error, Peer, Problem};
use crate::pacer::Pacer;
use crate::packet_io::Packets;
use crate::target::{Deadlines, Options, Target};
use crate::under_way::UnderWay;

/// How long a stream may take to hear who has overtaken it, after that one knows.
const NEWS: Duration = Duration::from_millis(20);

/// What is known of a switch beyond one connection to it: give the same to each. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Election ids that the switch told of.
    pub seen: Seen,
    /// Calls that may still change it.
    pub under_way: UnderWay,
}

/// A connection to one switch, as its primary controller or for reading only.
#[derive(Debug)]
pub struct Connection {
    pub(crate) peer: Arc<Peer>,
    pub(crate) target: Target,
    pub(crate) options: Options,
    pub(crate) client: P4RuntimeClient<Channel>,
    /// None: for reading only.
    stream: Option<Stream>,
    queue: PacketQueue,
    packets: Option<mpsc::Receiver<outplane_p4runtime::p4::v1::PacketIn>>,
    pub(crate) shared: Shared,
    /// Grows whenever somebody else may have been primary.
    reign: u64,
    /// Updates that the next write puts into a chunk at first: what the last one has found out.
    chunk: AtomicUsize,
}

impl Connection {
    /// Connects and becomes the primary controller. What may pass (no route, no listener yet, a broken connection) is
    /// tried again as [`Options::backoff`] says.
    ///
    /// # Errors
    /// [`Problem::NotPrimary`] where another controller has a higher election id; [`Problem::Unreachable`] and what
    /// [`Problem`] says else.
    pub async fn open(target: Target, options: Options) -> Result<Self, Error> {
        Self::open_with(target, options, true, Shared::default()).await
    }

    /// Connects for reading only: no arbitration, no writes, no packets.
    pub async fn open_read_only(target: Target, options: Options) -> Result<Self, Error> {
        Self::open_with(target, options, false, Shared::default()).await
    }

    /// The same, as controller or not, with what is known from other connections to the switch.
    pub async fn open_with(
        target: Target,
        options: Options,
        as_controller: bool,
        shared: Shared,
    ) -> Result<Self, Error> {
        let peer = Peer::of(&target);
        let (sender, receiver) = mpsc::channel(options.packet_queue.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = PacketQueue { sender, dropped, tap: options.tap.clone() };
        let (client, stream) =
            attempts(&peer, &target, &options, &queue, as_controller, &shared.seen).await?;
        let chunk = AtomicUsize::new(options.chunk);
        let packets = Some(receiver);
        Ok(Self { peer, target, options, client, stream, queue, packets, shared, reign: 0, chunk })
    }

    /// Takes a higher election id, and waits for the switch's answer: one round trip, where a new connection would take
    /// several. The same id again only asks whether we still may write.
    ///
    /// It goes by a second stream of the same connection that replaces the first when it is primary. A new id on the
    /// first stream (section 5 allows it) would save nothing, and BMv2 1.15.5 ends with a failed assertion where another
    /// stream has that id already; a new stream it only refuses.
    ///
    /// # Errors
    /// [`Problem::NotPrimary`] where another controller has or had a higher one, [`Problem::ArbitrationRefused`] where
    /// one has the same, [`Problem::Deadline`], [`Problem::Disconnected`], [`Problem::ReadOnly`]. Whatever it is, we keep
    /// the id that we had.
    pub async fn raise(&mut self, election_id: u128) -> Result<(), Error> {
        self.raise_from(election_id, None).await
    }

    /// The same. [`Connection::reign`] stays what it was if it is `from`, and the switch tells our first stream that
    /// nobody was primary between it and the second.
    pub async fn raise_from(&mut self, election_id: u128, from: Option<u64>) -> Result<(), Error> {
        let Some(stream) = &self.stream else { return Err(self.error(Problem::ReadOnly)) };
        if let Some(primary) = self.shared.seen.above(election_id) {
            return Err(self.error(Problem::NotPrimary { ours: election_id, primary: Some(primary) }));
        }
        if stream.election_id == election_id {
            return may_write(&self.peer, stream);
        }
        let options = Options { election_id, take_over: false, ..self.options.clone() };
        let (queue, seen) = (self.queue.clone(), self.shared.seen.clone());
        let raised = Stream::open(&self.peer, &mut self.client, &self.target, &options, queue, seen).await?;
        may_write(&self.peer, &raised)?;
        let is_unbroken = from == Some(self.reign) && stream.was_primary_until(election_id, NEWS).await;
        self.reign += u64::from(!is_unbroken);
        self.options.election_id = election_id;
        if let Some(mut old) = self.stream.replace(raised) {
            old.close().await;
        }
        Ok(())
    }

    /// Connects anew after the connection broke, with the same target, options and role, and the election id that it
    /// was raised to. Certificates are read again.
    pub async fn reopen(&mut self) -> Result<(), Error> {
        let as_controller = self.stream.is_some();
        // The switch must not see two of us with one election id.
        self.end().await;
        let (target, seen) = (&self.target, &self.shared.seen);
        let (client, stream) =
            attempts(&self.peer, target, &self.options, &self.queue, as_controller, seen).await?;
        (self.client, self.stream) = (client, stream);
        self.reign += 1;
        Ok(())
    }

    /// A number for the time since when nobody else can have been primary, as far as that was asked for: what was read
    /// under it holds under it.
    pub fn reign(&self) -> u64 {
        self.reign
    }

    /// Ends the stream: nothing can be written any more.
    pub async fn end(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.close().await;
        }
    }

    /// The switch.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its name and address, for messages.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Deadlines and limits; the election id is the last one that was raised to.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// From the next call on: how long to wait for answers.
    pub fn set_deadlines(&mut self, deadlines: Deadlines) {
        self.options.set_deadlines(deadlines);
    }

    /// Whether we may write, and changes of that, until the next raise or reopening. None on a connection for reading
    /// only.
    pub fn primacy(&self) -> Option<watch::Receiver<Primacy>> {
        self.stream.as_ref().map(|stream| stream.primacy.clone())
    }

    /// Fails unless we may write, as far as is known.
    ///
    /// # Errors
    /// [`Problem::ReadOnly`], [`Problem::PrimacyLost`], [`Problem::Disconnected`].
    pub fn check_primacy(&self) -> Result<(), Error> {
        lost(&self.peer, &self.controller()?.primacy.borrow())
    }

    /// Our election id: the option's, or a higher one after a take-over. None on a connection for reading only.
    pub fn election_id(&self) -> Option<u128> {
        self.stream.as_ref().map(|stream| stream.election_id)
    }

    /// The P4Runtime version that the switch speaks; none where it does not tell.
    pub async fn capabilities(&self) -> Result<Option<String>, Error> {
        let mut client = self.client.clone();
        let deadline = self.options.call_deadline;
        let request = CapabilitiesRequest { device_id: self.target.device_id };
        match within(deadline, client.capabilities(request)).await {
            Ok(response) => Ok(Some(response.p4runtime_api_version)),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.call_error("Capabilities", deadline, &status)),
        }
    }

    /// Packets from the switch, unless [`Options::tap`] takes them, with the fields of the program's packet-in header.
    /// Only the first call gets them.
    pub fn packets(&mut self, schema: &Schema) -> Option<Packets> {
        let (receiver, dropped) = (self.packets.take()?, Arc::clone(&self.queue.dropped));
        Some(Packets { receiver, dropped, header: schema.packet_in().cloned() })
    }

    /// Sends a packet to the switch; [`Schema::build_packet_out`] makes one.
    ///
    /// # Errors
    /// [`Problem::ReadOnly`], [`Problem::PrimacyLost`], [`Problem::Disconnected`], [`Problem::Deadline`].
    pub async fn send_packet(&self, packet: PacketOut) -> Result<(), Error> {
        self.check_primacy()?;
        let deadline = self.options.call_deadline;
        match timeout(deadline, self.controller()?.send(Send::Packet(packet))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(self.error(Problem::Disconnected { reason })),
            Err(_) => Err(self.error(Problem::Deadline { call: "packet-out", after: deadline })),
        }
    }

    /// How large the next chunks of writes are.
    pub fn pacer(&self) -> Pacer {
        Pacer::new(self.chunk.load(Ordering::Relaxed), self.options.chunk)
    }

    /// Keeps what was found out for the next write.
    pub fn keep_pace(&self, pacer: &Pacer, broke: bool) {
        // A chunk whose errors are more than HTTP/2 takes breaks the connection, so the next one begins smaller.
        let next = if broke { (pacer.size() / 4).max(1) } else { pacer.size() };
        self.chunk.store(next, Ordering::Relaxed);
    }

    /// The stream of a controller.
    pub(crate) fn controller(&self) -> Result<&Stream, Error> {
        self.stream.as_ref().ok_or_else(|| self.error(Problem::ReadOnly))
    }

    pub(crate) fn role(&self) -> String {
        self.target.role.clone().unwrap_or_default()
    }

    pub(crate) fn error(&self, problem: impl Into<Problem>) -> Error {
        self.peer.error(problem)
    }

    pub(crate) fn call_error(&self, call: &'static str, deadline: Duration, status: &Status) -> Error {
        self.peer.call_error(call, deadline, status)
    }
}

/// A call's answer, or `DEADLINE_EXCEEDED`.
pub(crate) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    // Generated calls are large futures.
    match timeout(deadline, Box::pin(call)).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

async fn attempts(
    peer: &Arc<Peer>,
    target: &Target,
    options: &Options,
    queue: &PacketQueue,
    as_controller: bool,
    seen: &Seen,
) -> Result<(P4RuntimeClient<Channel>, Option<Stream>), Error> {
    let mut waits = options.backoff.waits();
    loop {
        let error = match attempt(peer, target, options, queue, as_controller, seen).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let Some(wait) = waits.next().filter(|_| error.may_pass()) else { return Err(error) };
        tracing::info!(switch = peer.name(), %error, ?wait, "will connect again");
        sleep(wait).await;
    }
}

async fn attempt(
    peer: &Arc<Peer>,
    target: &Target,
    options: &Options,
    queue: &PacketQueue,
    as_controller: bool,
    seen: &Seen,
) -> Result<(P4RuntimeClient<Channel>, Option<Stream>), Error> {
    let ours = options.election_id;
    if as_controller
        && !options.take_over
        && let Some(primary) = seen.above(ours)
    {
        // A switch that has forgotten it would take us.
        return Err(peer.error(Problem::NotPrimary { ours, primary: Some(primary) }));
    }
    let mut client = connect(peer, target, options).await?;
    if !as_controller {
        return Ok((client, None));
    }
    let opened = Stream::open(peer, &mut client, target, options, queue.clone(), seen.clone()).await;
    let stream = opened.map_err(|error| {
        // With TLS 1.3 this is the first we hear of a switch that does not want us.
        match *error.problem {
            Problem::Disconnected { reason } => peer.error(Problem::Unreachable { reason }),
            _ => error,
        }
    })?;
    may_write(peer, &stream)?;
    Ok((client, Some(stream)))
}

/// Fails unless we are primary with the id that we have just asked for.
fn may_write(peer: &Arc<Peer>, stream: &Stream) -> Result<(), Error> {
    match &*stream.primacy.borrow() {
        Primacy::Primary | Primacy::NotOffered => Ok(()),
        Primacy::Backup(primary) => {
            Err(peer.error(Problem::NotPrimary { ours: stream.election_id, primary: *primary }))
        }
        Primacy::Lost(reason) => Err(peer.error(Problem::Disconnected { reason: reason.clone() })),
    }
}

//! A connection to one switch.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use outplane_p4runtime::p4::v1::CapabilitiesRequest;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::stream_message_request::Update as Send;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::arbitration::{PacketQueue, Primacy, Seen, Stream};
use crate::connect::connect;
use crate::errors::{Error, Peer, Problem};
use crate::packet_io::{self, Packets};
use crate::pipeline::Pipeline;
use crate::target::{Options, Target};
use crate::under_way::UnderWay;

/// How long a stream may take to hear who has overtaken it, after that one knows.
const NEWS: Duration = Duration::from_millis(20);

/// A connection to one switch, as its primary controller or for reading only.
#[derive(Debug)]
pub struct Connection {
    pub(crate) peer: Arc<Peer>,
    pub(crate) target: Target,
    pub(crate) options: Options,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) client: P4RuntimeClient<Channel>,
    /// None: for reading only.
    stream: Option<Stream>,
    queue: PacketQueue,
    packets: Option<Packets>,
    seen: Seen,
    pub(crate) under_way: UnderWay,
    /// Grows whenever somebody else may have been primary.
    reign: u64,
    /// Updates that the next write puts into a chunk at first: what the last one has found out.
    pub(crate) chunk: AtomicUsize,
    /// The next read asks for everything at once: the last one has found that it may.
    pub(crate) at_once: AtomicBool,
}

impl Connection {
    /// Connects and becomes the primary controller. What may pass (no route, no listener yet, a broken connection) is
    /// tried again as [`Options::backoff`] says.
    ///
    /// # Errors
    /// [`Problem::NotPrimary`] where another controller has a higher election id; [`Problem::Unreachable`] and what
    /// [`Problem`] says else.
    pub async fn open(target: Target, pipeline: Arc<Pipeline>, options: Options) -> Result<Self, Error> {
        Self::open_as(target, pipeline, options, true, Seen::default(), UnderWay::default()).await
    }

    /// Connects for reading only: no arbitration, no writes, no packets.
    pub async fn open_read_only(
        target: Target,
        pipeline: Arc<Pipeline>,
        options: Options,
    ) -> Result<Self, Error> {
        Self::open_as(target, pipeline, options, false, Seen::default(), UnderWay::default()).await
    }

    pub(crate) async fn open_as(
        target: Target,
        pipeline: Arc<Pipeline>,
        options: Options,
        as_controller: bool,
        seen: Seen,
        under_way: UnderWay,
    ) -> Result<Self, Error> {
        let peer = Peer::of(&target);
        let (sender, receiver) = mpsc::channel(options.packet_queue.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = PacketQueue { sender, dropped: Arc::clone(&dropped), tap: options.tap.clone() };
        let header = pipeline.schema().packet_in().cloned();
        let packets = Some(Packets { receiver, dropped, header });
        let (client, stream) = attempts(&peer, &target, &options, &queue, as_controller, &seen).await?;
        let chunk = AtomicUsize::new(options.chunk);
        let at_once = AtomicBool::new(false);
        let reign = 0;
        Ok(Self {
            peer,
            target,
            options,
            pipeline,
            client,
            stream,
            queue,
            packets,
            seen,
            under_way,
            reign,
            chunk,
            at_once,
        })
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
    pub(crate) async fn raise_from(&mut self, election_id: u128, from: Option<u64>) -> Result<(), Error> {
        let Some(stream) = &self.stream else { return Err(self.error(Problem::ReadOnly)) };
        if let Some(primary) = self.seen.above(election_id) {
            return Err(self.error(Problem::NotPrimary { ours: election_id, primary: Some(primary) }));
        }
        if stream.election_id == election_id {
            return may_write(&self.peer, stream);
        }
        let options = Options { election_id, take_over: false, ..self.options.clone() };
        let (queue, seen) = (self.queue.clone(), self.seen.clone());
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
        let (client, stream) =
            attempts(&self.peer, &self.target, &self.options, &self.queue, as_controller, &self.seen).await?;
        (self.client, self.stream) = (client, stream);
        self.reign += 1;
        Ok(())
    }

    /// A number for the time since when nobody else can have been primary, as far as that was asked for: what was read
    /// under it holds under it.
    pub(crate) fn reign(&self) -> u64 {
        self.reign
    }

    /// Ends the stream: nothing can be written any more.
    pub(crate) async fn end(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.close().await;
        }
    }

    /// The switch.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The program that entries are read and written by.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Whether we may write, and changes of that, until the next raise or reopening. None on a connection for reading
    /// only.
    pub fn primacy(&self) -> Option<watch::Receiver<Primacy>> {
        self.stream.as_ref().map(|stream| stream.primacy.clone())
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
        match self.deadline(deadline, client.capabilities(request)).await {
            Ok(response) => Ok(Some(response.p4runtime_api_version)),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.call_error("Capabilities", deadline, &status)),
        }
    }

    /// Packets from the switch, unless [`Options::tap`] takes them. Only the first call gets them.
    pub fn packets(&mut self) -> Option<Packets> {
        self.packets.take()
    }

    /// Sends a frame out of a port of the switch.
    pub async fn send_packet(&self, egress_port: u32, frame: Vec<u8>) -> Result<(), Error> {
        let stream = self.controller()?;
        stream.check(&self.peer)?;
        let packet = packet_io::to_wire(self.pipeline.schema(), egress_port, frame).ok_or_else(|| {
            let message = format!("the program sends no packet out of port {egress_port}");
            self.error(Problem::Call { call: "packet-out", code: Code::InvalidArgument, message })
        })?;
        let deadline = self.options.call_deadline;
        match timeout(deadline, stream.send(Send::Packet(packet))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(self.error(Problem::Disconnected { reason })),
            Err(_) => Err(self.error(Problem::Deadline { call: "packet-out", after: deadline })),
        }
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

    pub(crate) async fn deadline<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        within(deadline, call).await
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

/// Whether the same attempt may succeed a little later. A switch may still hold the election id for a connection of ours
/// that has just ended.
pub(crate) fn may_pass(error: &Error) -> bool {
    let taken = matches!(
        *error.problem,
        Problem::ArbitrationRefused { code: Code::InvalidArgument | Code::AlreadyExists, .. }
    );
    error.is_disconnect() || taken
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
        let Some(wait) = waits.next().filter(|_| may_pass(&error)) else { return Err(error) };
        tracing::info!(switch = peer.name, %error, ?wait, "will connect again");
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

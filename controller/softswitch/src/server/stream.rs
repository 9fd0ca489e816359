//! Streams: their clients, what is sent to them, and what they send.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use outplane_admission::{Place, Share};
use outplane_p4runtime::p4::v1 as proto;
use proto::stream_message_request::Update as Request;
use proto::stream_message_response::Update as Response;
use proto::{StreamMessageRequest, StreamMessageResponse, stream_error};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::arbitration::{Arbiter, ClientId, Notice};
use super::packet_io::{egress_port, packet_in};
use super::status::status;
use super::{Event, Server};
use crate::dataplane::PacketIn;
use crate::state::refusal::SPACE;
use crate::state::{Outcome, Refusal};

/// Advice that a client may leave unread before its stream is ended.
const ADVICE_QUEUE: usize = 256;
/// Packet-ins, notifications and errors that a client may leave unread before more are dropped.
const PACKET_QUEUE: usize = 1024;

/// How long a stream may be without arbitration.
const SILENT: Duration = Duration::from_secs(5);

/// What is sent to a client.
#[derive(Debug)]
struct Outbox {
    advice: mpsc::Sender<Result<StreamMessageResponse, Status>>,
    packets: mpsc::Sender<StreamMessageResponse>,
    /// Ends the stream of a client that doesn't read.
    stop: CancellationToken,
    /// Its part of all streams.
    _share: Option<Share>,
}

/// A client's stream to it: advice before packets.
#[derive(Debug)]
pub(crate) struct Outgoing {
    advice: mpsc::Receiver<Result<StreamMessageResponse, Status>>,
    packets: mpsc::Receiver<StreamMessageResponse>,
}

impl Stream for Outgoing {
    type Item = Result<StreamMessageResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(advice) = self.advice.poll_recv(context) {
            return Poll::Ready(advice);
        }
        match self.packets.poll_recv(context) {
            Poll::Ready(Some(packet)) => Poll::Ready(Some(Ok(packet))),
            // The end comes with the advice's.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The clients that have a stream.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) arbiter: Arbiter,
    outboxes: BTreeMap<ClientId, Outbox>,
    last_id: ClientId,
    max_streams: usize,
}

fn message(update: Response) -> StreamMessageResponse {
    StreamMessageResponse { update: Some(update) }
}

impl Sessions {
    pub(crate) fn new(arbiter: Arbiter, max_streams: usize) -> Self {
        Self { arbiter, outboxes: BTreeMap::new(), last_id: 0, max_streams }
    }

    fn open(&mut self, stop: CancellationToken, share: Option<Share>) -> Outcome<(ClientId, Outgoing)> {
        if self.outboxes.len() >= self.max_streams {
            return Err(Refusal::exhausted(format!(
                "{} streams are open, which is the most",
                self.max_streams
            )));
        }
        let (advice, advice_queue) = mpsc::channel(ADVICE_QUEUE);
        let (packets, packet_queue) = mpsc::channel(PACKET_QUEUE);
        self.last_id += 1;
        self.outboxes.insert(self.last_id, Outbox { advice, packets, stop, _share: share });
        Ok((self.last_id, Outgoing { advice: advice_queue, packets: packet_queue }))
    }

    /// Sends advice. It is never dropped: who leaves too much of it unread loses its stream.
    pub(crate) fn advise(&self, notices: Vec<Notice>) {
        for (client, notice) in notices {
            let Some(outbox) = self.outboxes.get(&client) else { continue };
            if outbox.advice.try_send(Ok(message(Response::Arbitration(notice)))).is_err() {
                tracing::warn!(client, "the client doesn't read its stream, which ends");
                outbox.stop.cancel();
            }
        }
    }

    /// Sends to every primary what may be dropped; how many did not get it.
    fn tell_primaries(&self, update: &Response) -> u64 {
        let boxes = self.arbiter.primaries().filter_map(|client| self.outboxes.get(&client));
        let dropped = boxes.filter(|outbox| outbox.packets.try_send(message(update.clone())).is_err());
        dropped.map(|_| 1).sum()
    }

    /// Reports an error to a client, if there is room.
    fn report(&self, client: ClientId, refusal: Refusal, details: stream_error::Details) {
        let error = proto::StreamError {
            canonical_code: refusal.code.into(),
            message: refusal.message,
            space: SPACE.to_owned(),
            code: refusal.code.into(),
            details: Some(details),
        };
        if let Some(outbox) = self.outboxes.get(&client) {
            // The standard lets errors go first when there is much to send.
            let _ = outbox.packets.try_send(message(Response::Error(error)));
        }
    }
}

impl Server {
    /// Opens a stream and serves it in a task of its own, until either side ends it or the server does.
    pub(crate) fn open_stream(
        self: std::sync::Arc<Self>,
        mut requests: Streaming<StreamMessageRequest>,
        place: Place,
    ) -> Result<Outgoing, Status> {
        let stop = self.shutdown.child_token();
        let share = self.streams.try_take(&place, 1);
        let share = share.ok_or_else(|| Status::resource_exhausted("as many streams are open as may be"))?;
        let (client, outgoing) = self.sessions().open(stop.clone(), Some(share)).map_err(status)?;
        tracing::debug!(client, "stream opened");
        tokio::spawn(async move {
            let result = tokio::select! {
                () = stop.cancelled() => Err(Status::unavailable("the stream was ended by the switch")),
                result = self.serve_stream(client, &mut requests, &place) => result,
            };
            self.close_stream(client, result);
        });
        Ok(outgoing)
    }

    async fn serve_stream(
        &self,
        client: ClientId,
        requests: &mut Streaming<StreamMessageRequest>,
        place: &Place,
    ) -> Result<(), Status> {
        // The client may be gone without a word on the way here: then nothing takes what is sent to it.
        let gone = self.sessions().outboxes.get(&client).map(|outbox| outbox.advice.clone());
        // Until it has said who it is.
        let mut silent = pin!(tokio::time::sleep(SILENT));
        let mut arbitrated = false;
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                () = &mut silent, if !arbitrated => {
                    return Err(Status::deadline_exceeded("a stream begins with arbitration, and none came in time"));
                }
                () = async { if let Some(advice) = &gone { advice.closed().await } } => return Ok(()),
            };
            // A broken stream has nobody to tell about it.
            let Ok(Some(request)) = request else { return Ok(()) };
            match request.update {
                Some(Request::Arbitration(update)) => {
                    self.arbitrate(client, &update, place).await.map_err(status)?;
                    arbitrated = true;
                }
                Some(Request::Packet(packet)) => self.packet_out(client, packet),
                Some(Request::DigestAck(ack)) => self.digest_ack(client, ack),
                Some(Request::Other(other)) => {
                    let refusal =
                        Refusal::unimplemented("this switch knows no messages of other architectures");
                    let details = proto::StreamOtherError { other: Some(other) };
                    self.sessions().report(client, refusal, stream_error::Details::Other(details));
                }
                None => {
                    let refusal = Refusal::invalid("the message is empty");
                    let details = stream_error::Details::Other(proto::StreamOtherError::default());
                    self.sessions().report(client, refusal, details);
                }
            }
        }
    }

    async fn arbitrate(
        &self,
        client: ClientId,
        update: &proto::MasterArbitrationUpdate,
        place: &Place,
    ) -> Outcome<()> {
        let promoted = {
            let mut sessions = self.sessions();
            let change = sessions.arbiter.update(client, update)?;
            sessions.advise(change.notices);
            change.promoted
        };
        if promoted {
            // Writes that have started finish; those that wait are refused when it is their turn.
            drop(self.gate.write().await);
            let mut sessions = self.sessions();
            let notices = sessions.arbiter.confirm(client);
            if let Some((role, election_id)) = sessions.arbiter.primacy(client) {
                self.witness(&Event::Primary { role, election_id });
                place.authenticated();
            }
            sessions.advise(notices);
        }
        Ok(())
    }

    fn packet_out(&self, client: ClientId, packet: proto::PacketOut) {
        let checked = self.check_packet_out(client, &packet).and_then(|port| {
            let ports = self.send_packet.as_ref();
            Ok((port, ports.ok_or_else(|| Refusal::failed_precondition("the switch has no ports"))?))
        });
        let (refusal, packet_out) = match checked {
            Ok((port, send)) => match send(port, packet.payload) {
                Ok(()) => return,
                Err(busy) => (Refusal::exhausted(busy.to_string()), None),
            },
            Err(refusal) => (refusal, Some(packet)),
        };
        let details = stream_error::Details::PacketOut(proto::PacketOutError { packet_out });
        self.sessions().report(client, refusal, details);
    }

    fn check_packet_out(&self, client: ClientId, packet: &proto::PacketOut) -> Outcome<u16> {
        if !self.sessions().arbiter.is_primary(client) {
            return Err(Refusal::denied("only the primary of a role sends packets"));
        }
        let state = self.state.read();
        let pipeline = state.pipeline();
        let pipeline =
            pipeline.ok_or_else(|| Refusal::failed_precondition("there is no forwarding pipeline yet"))?;
        egress_port(pipeline.schema(), packet)
    }

    fn digest_ack(&self, client: ClientId, ack: proto::DigestListAck) {
        let known = {
            let state = self.state.read();
            state.pipeline().is_some_and(|pipeline| pipeline.schema().digest(ack.digest_id).is_some())
        };
        // The data plane learns nothing, so there is no list that this could be about.
        if !known {
            let refusal = Refusal::invalid(format!("there is no digest with id {}", ack.digest_id));
            let details = proto::DigestListAckError { digest_list_ack: Some(ack) };
            self.sessions().report(client, refusal, stream_error::Details::DigestListAck(details));
        }
    }

    /// Ends a stream, with the reason if the client is there to hear it.
    fn close_stream(&self, client: ClientId, result: Result<(), Status>) {
        let mut sessions = self.sessions();
        let notices = sessions.arbiter.leave(client);
        if let Some(outbox) = sessions.outboxes.remove(&client)
            && let Err(reason) = result
        {
            tracing::debug!(client, %reason, "stream refused");
            let _ = outbox.advice.try_send(Err(reason));
        }
        sessions.advise(notices);
        tracing::debug!(client, "stream closed");
    }

    /// Sends the data plane's packets to the primaries, until the data plane ends or the server does.
    pub(crate) async fn send_packet_ins(&self, mut packets: mpsc::Receiver<PacketIn>) {
        while let Some(Some(packet)) = self.shutdown.run_until_cancelled(packets.recv()).await {
            let packet = {
                let state = self.state.read();
                state.pipeline().and_then(|pipeline| packet_in(pipeline.schema(), packet))
            };
            if let Some(packet) = packet {
                self.tell(&Response::Packet(packet));
            }
        }
    }

    /// Tells every primary, and counts what could not be told.
    pub(crate) fn tell(&self, update: &Response) {
        let dropped = self.sessions().tell_primaries(update);
        self.dropped.fetch_add(dropped, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn advice() -> proto::MasterArbitrationUpdate {
        proto::MasterArbitrationUpdate::default()
    }

    fn packet(n: u8) -> Response {
        Response::Packet(proto::PacketIn { payload: vec![n], metadata: Vec::new() })
    }

    /// A primary that has a stream and doesn't read it.
    fn sleeper() -> (Sessions, ClientId, Outgoing, CancellationToken) {
        let mut sessions = Sessions::new(Arbiter::new(1, 4, 4), 2);
        let stop = CancellationToken::new();
        let (client, outgoing) = sessions.open(stop.clone(), None).unwrap();
        let election_id = Some(proto::Uint128 { high: 0, low: 1 });
        let update = proto::MasterArbitrationUpdate { device_id: 1, election_id, ..advice() };
        sessions.arbiter.update(client, &update).unwrap();
        sessions.arbiter.confirm(client);
        (sessions, client, outgoing, stop)
    }

    #[tokio::test]
    async fn advice_goes_before_packets() {
        let (sessions, client, mut outgoing, _) = sleeper();
        assert_eq!(sessions.tell_primaries(&packet(1)), 0);
        sessions.advise(vec![(client, advice())]);
        assert_eq!(sessions.tell_primaries(&packet(2)), 0);
        let order = [Response::Arbitration(advice()), packet(1), packet(2)];
        for expected in order {
            assert_eq!(outgoing.next().await.unwrap().unwrap().update, Some(expected));
        }
    }

    #[tokio::test]
    async fn packets_that_nobody_reads_are_dropped_and_counted() {
        let (sessions, _, _outgoing, stop) = sleeper();
        let dropped: u64 = (0..=PACKET_QUEUE).map(|_| sessions.tell_primaries(&packet(1))).sum();
        assert_eq!(dropped, 1);
        assert!(!stop.is_cancelled());
    }

    #[tokio::test]
    async fn advice_that_nobody_reads_ends_the_stream() {
        let (sessions, client, _outgoing, stop) = sleeper();
        for _ in 0..ADVICE_QUEUE {
            sessions.advise(vec![(client, advice())]);
        }
        assert!(!stop.is_cancelled());
        sessions.advise(vec![(client, advice())]);
        assert!(stop.is_cancelled());
    }
}

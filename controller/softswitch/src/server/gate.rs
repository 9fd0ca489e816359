//! What comes before a call: its connection's place, the room for its message, the time that it may take to arrive.
//!
//! gRPC puts five bytes before each message: whether it is compressed, and its length. They are read here, before
//! tonic makes room for as much as they say: too long is refused, and the message comes in when there is room for it
//! and for what it decodes to (`outplane_p4runtime::wire`). The room is given back with the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use outplane_admission::{Busy, Guarded, Peer, Place, Quota, Share};
use outplane_p4runtime::wire::Limits;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TlsConnectInfo;
use tower_layer::Layer;
use tower_service::Service;

/// Longest time to a message's first bytes, and to its end besides what its length needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes a second that a message comes with, at least.
const RATE: usize = 1 << 20;
/// How long a message waits for room.
const NO_ROOM: Duration = Duration::from_secs(30);
/// gRPC's bytes before a message.
const PREFIX: usize = 5;

/// Room for messages and what they decode to, KiB: two of the largest, one of them for strangers.
const ROOM: usize = 2 * LARGEST;
const LARGEST: usize = (16 + 160) << 10;

/// What all calls share.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    room: Quota,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { room: Quota::new(ROOM, LARGEST, LARGEST) }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

/// The service behind the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<S> {
    inner: S,
    gate: Gate,
}

/// Who is at the other end, and whether it has shown a certificate.
pub(crate) fn peer(extensions: &http::Extensions) -> Option<(&Peer, bool)> {
    if let Some(peer) = extensions.get::<Peer>() {
        return Some((peer, false));
    }
    let tls = extensions.get::<TlsConnectInfo<Peer>>()?;
    Some((tls.get_ref(), tls.peer_certs().is_some_and(|chain| !chain.is_empty())))
}

/// What a call holds until its answer is sent.
type Held = (Busy, Arc<Mutex<Option<Share>>>);

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some((place, certified)) =
            peer(request.extensions()).map(|(peer, certified)| (peer.place.clone(), certified))
        else {
            let status = Status::internal("a connection without a place");
            return Box::pin(async move { Ok(status.into_http()) });
        };
        if certified {
            place.authenticated();
        }
        let busy = place.request();
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let is_stream = method == "StreamChannel";
        let message = match method {
            "StreamChannel" => "StreamMessageRequest".to_owned(),
            method => format!("{method}Request"),
        };
        let limits = Limits::of(&format!("p4.v1.{message}"));
        let room = Arc::new(Mutex::new(None));
        let held: Held = (busy, Arc::clone(&room));
        let request = request.map(|body| {
            Body::new(Inbound {
                body,
                limits,
                is_stream,
                state: State::Prefix {
                    seen: 0,
                    length: 0,
                    deadline: (!is_stream).then(|| Box::pin(sleep(PATIENCE))),
                },
                place,
                quota: self.gate.room.clone(),
                room,
                kept: Bytes::new(),
            })
        });
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| Body::new(Guarded::new(body, held))))
        })
    }
}

/// Where a body is.
enum State {
    /// Before a message: bytes of its prefix that were seen, and what they say.
    Prefix { seen: usize, length: usize, deadline: Option<Pin<Box<Sleep>>> },
    /// The message has no room yet.
    Waiting { length: usize, room: Pin<Box<dyn Future<Output = Share> + Send>>, deadline: Pin<Box<Sleep>> },
    /// So many bytes of the message are still to come.
    Message { left: usize, deadline: Pin<Box<Sleep>> },
    /// A call of one message has had it.
    Done,
}

/// A request's body, measured as it comes in.
struct Inbound {
    body: Body,
    limits: Limits,
    is_stream: bool,
    state: State,
    place: Place,
    quota: Quota,
    /// The message's room, for the call to keep.
    room: Arc<Mutex<Option<Share>>>,
    /// Bytes that came and wait for room.
    kept: Bytes,
}

impl Inbound {
    /// Moves on over bytes that have come in; how many of them may be handed on now.
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.state {
                State::Prefix { seen, length, .. } => {
                    match *seen {
                        0 if bytes[at] > 1 => return Err(Status::internal("no gRPC message")),
                        0 => *length = 0,
                        _ => *length = *length << 8 | usize::from(bytes[at]),
                    }
                    *seen += 1;
                    at += 1;
                    if *seen < PREFIX {
                        continue;
                    }
                    let length = *length;
                    if length > self.limits.wire {
                        let most = self.limits.wire;
                        return Err(Status::resource_exhausted(format!(
                            "a message of {length} bytes: this call takes at most {most}"
                        )));
                    }
                    if length == 0 {
                        self.next();
                    } else if self.is_stream {
                        self.arrive(length);
                    } else {
                        self.wait(length);
                        return Ok(at);
                    }
                }
                State::Waiting { .. } => return Ok(at),
                State::Message { left, .. } => {
                    let step = (*left).min(bytes.len() - at);
                    *left -= step;
                    at += step;
                    if *left == 0 {
                        self.next();
                    }
                }
                State::Done => return Err(Status::invalid_argument("this call takes one message")),
            }
        }
        Ok(at)
    }

    fn wait(&mut self, length: usize) {
        let cost = (length + self.limits.decoded_at(length)).div_ceil(1 << 10);
        let (quota, place) = (self.quota.clone(), self.place.clone());
        let room = Box::pin(async move { quota.take(&place, cost).await });
        self.state = State::Waiting { length, room, deadline: Box::pin(sleep(NO_ROOM)) };
    }

    fn arrive(&mut self, length: usize) {
        let time = PATIENCE + Duration::from_secs((length / RATE) as u64);
        self.state = State::Message { left: length, deadline: Box::pin(sleep(time)) };
    }

    fn next(&mut self) {
        self.state =
            if self.is_stream { State::Prefix { seen: 0, length: 0, deadline: None } } else { State::Done };
    }

    /// Whether the time is over for what is awaited.
    fn check(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        let deadline = match &mut self.state {
            State::Prefix { deadline, seen, .. } => {
                // Whoever begins a message ends it.
                if *seen > 0 && deadline.is_none() {
                    *deadline = Some(Box::pin(sleep(PATIENCE)));
                }
                deadline.as_mut()
            }
            State::Waiting { deadline, .. } | State::Message { deadline, .. } => Some(deadline),
            State::Done => None,
        };
        if !deadline.is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            return Ok(());
        }
        Err(match self.state {
            State::Waiting { .. } => Status::resource_exhausted(
                "the switch has no room for this message, as others are being read; try again",
            ),
            _ => Status::deadline_exceeded("the request came too slowly"),
        })
    }
}

impl HttpBody for Inbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Err(status) = this.check(context) {
                return Poll::Ready(Some(Err(status)));
            }
            if let State::Waiting { length, room, .. } = &mut this.state {
                let share = ready!(room.as_mut().poll(context));
                *this.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
                let length = *length;
                this.arrive(length);
                continue;
            }
            let bytes = if this.kept.is_empty() {
                match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) => bytes,
                        Err(frame) => return Poll::Ready(Some(Ok(frame))),
                    },
                }
            } else {
                std::mem::take(&mut this.kept)
            };
            match this.pass(&bytes) {
                Err(status) => return Poll::Ready(Some(Err(status))),
                Ok(passed) => {
                    this.kept = bytes.slice(passed..);
                    if passed > 0 {
                        return Poll::Ready(Some(Ok(Frame::data(bytes.slice(..passed)))));
                    }
                }
            }
        }
    }
}

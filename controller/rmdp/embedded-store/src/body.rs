//! Bodies of requests: nothing is read of one before its request's signature is known to be good; XML as a whole, when
//! there is room for it; and what is left of one that was refused early.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use outplane_admission::Place;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::{S3Error, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Sleep, sleep};

use crate::MAX_OBJECT;
use crate::s3::with_status;

/// How long the rest of a body is read for.
const DRAIN: Duration = Duration::from_secs(10);
/// How long, and how much, of who has not signed: enough for a client that sends a small body before it looks.
const DRAIN_UNSIGNED: (Duration, u64) = (Duration::from_secs(1), 1 << 20);
/// How long XML may take to come in, once there is room for it.
const XML_TIME: Duration = Duration::from_secs(10);

/// Whether a request's signature is good. The payload's hash, which it names, is compared as the body is read.
#[derive(Debug)]
pub(crate) struct Signed {
    is: AtomicBool,
    place: Place,
}

impl Signed {
    pub(crate) fn new(place: Place) -> Self {
        Self { is: AtomicBool::new(false), place }
    }

    /// It is good: the peer has the key.
    pub(crate) fn confirm(&self) {
        self.is.store(true, Ordering::Release);
        self.place.authenticated();
    }

    fn is(&self) -> bool {
        self.is.load(Ordering::Acquire)
    }
}

/// What was wrong with a body.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Another hash than was signed.
    Hash,
    /// More than this many bytes of XML.
    Long(usize),
    /// It did not come to its end.
    Broken(String),
    /// It came too slowly.
    Slow,
}

impl Trouble {
    /// What the client is told.
    pub(crate) fn answer(self) -> S3Error {
        match self {
            Self::Hash => with_status(
                "XAmzContentSHA256Mismatch",
                400,
                "the body does not have the SHA-256 that was announced",
            ),
            Self::Long(most) => s3_error!(MaxMessageLengthExceeded, "the body may have {most} bytes"),
            Self::Broken(why) => s3_error!(IncompleteBody, "the body can't be read: {why}"),
            Self::Slow => s3_error!(RequestTimeout, "the body came too slowly"),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hash => formatter.write_str("Sha256Mismatch"),
            Self::Long(most) => write!(formatter, "it has more than {most} bytes"),
            Self::Broken(why) => formatter.write_str(why),
            Self::Slow => formatter.write_str("it came too slowly"),
        }
    }
}

impl std::error::Error for Trouble {}

type Noted = Arc<Mutex<Option<Trouble>>>;
type Permit = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// What XML is held to.
struct Xml {
    /// Until there is room.
    room: Option<Permit>,
    /// Held until the body is gone.
    permit: Option<OwnedSemaphorePermit>,
    deadline: Option<Pin<Box<Sleep>>>,
    announced: Option<[u8; 32]>,
    hash: Sha256,
    /// Bytes so far, and at most.
    length: usize,
    most: usize,
}

impl Xml {
    /// What is wrong with it after these bytes, which may be the last.
    fn take(&mut self, bytes: &[u8], last: bool) -> Option<Trouble> {
        self.length += bytes.len();
        if self.length > self.most {
            return Some(Trouble::Long(self.most));
        }
        self.hash.update(bytes);
        if !last {
            return None;
        }
        let announced = self.announced.take()?;
        let found = std::mem::replace(&mut self.hash, Sha256::new()).finalize();
        (found != announced).then_some(Trouble::Hash)
    }
}

/// A body that is read when its request is known to be signed, and given back when whoever has it is done with it.
pub(crate) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
    signed: Arc<Signed>,
    xml: Option<Box<Xml>>,
    noted: Noted,
}

/// What is left of a body, and what was wrong with it.
pub(crate) struct Left {
    rest: oneshot::Receiver<Incoming>,
    noted: Noted,
}

/// What came of a body.
pub(crate) struct Rest {
    pub(crate) trouble: Option<Trouble>,
}

impl Lent {
    /// An object, if anything.
    pub(crate) fn new(body: Incoming, signed: &Arc<Signed>) -> (Self, Left) {
        let (back, rest) = oneshot::channel();
        let noted = Noted::default();
        let left = Left { rest, noted: Arc::clone(&noted) };
        (Self { body: Some(body), back: Some(back), signed: Arc::clone(signed), xml: None, noted }, left)
    }

    /// XML, which is held as a whole: few at a time.
    pub(crate) fn xml(
        body: Incoming,
        headers: &HeaderMap,
        signed: &Arc<Signed>,
        room: &Arc<Semaphore>,
        most: usize,
    ) -> (Self, Left) {
        let (mut reader, left) = Self::new(body, signed);
        let room = Arc::clone(room);
        let xml = Xml {
            room: Some(Box::pin(async move { room.acquire_owned().await.ok() })),
            permit: None,
            deadline: None,
            announced: announced(headers),
            hash: Sha256::new(),
            length: 0,
            most,
        };
        reader.xml = Some(Box::new(xml));
        (reader, left)
    }

    fn note(&self, trouble: Trouble) -> Trouble {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
        trouble
    }
}

/// The SHA-256 that was signed. Other values name other ways to sign.
fn announced(headers: &HeaderMap) -> Option<[u8; 32]> {
    let text = headers.get("x-amz-content-sha256")?.to_str().ok().filter(|text| text.len() == 64)?;
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

impl Body for Lent {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let this = &mut *self;
        if !this.signed.is() {
            return Poll::Ready(Some(Err(this.note(Trouble::Broken("it is not signed".to_owned())))));
        }
        if let Some(xml) = &mut this.xml {
            if let Some(room) = &mut xml.room {
                xml.permit = ready!(room.as_mut().poll(context));
                xml.room = None;
                xml.deadline = Some(Box::pin(sleep(XML_TIME)));
            }
            if xml.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
                return Poll::Ready(Some(Err(this.note(Trouble::Slow))));
            }
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = match ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(error)) => return Poll::Ready(Some(Err(this.note(Trouble::Broken(error.to_string()))))),
            None => None,
        };
        // Whoever reads it may not look for an end behind as many bytes as were announced.
        let last = frame.is_none() || body.is_end_stream();
        let bytes = frame.as_ref().and_then(Frame::data_ref).map_or(&b""[..], |bytes| bytes);
        if let Some(trouble) = this.xml.as_mut().and_then(|xml| xml.take(bytes, last)) {
            return Poll::Ready(Some(Err(this.note(trouble))));
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            let _ = back.send(body);
        }
    }
}

impl Left {
    /// Reads what is left of a body that was given back, and not for long: at most as much as an object may have.
    pub(crate) async fn drain(mut self, signed: &Signed) -> Rest {
        if let Ok(body) = self.rest.try_recv() {
            let (time, most) = if signed.is() { (DRAIN, MAX_OBJECT) } else { DRAIN_UNSIGNED };
            let _ = tokio::time::timeout(time, read_on(body, most)).await;
        }
        Rest { trouble: self.noted.lock().unwrap_or_else(PoisonError::into_inner).take() }
    }
}

async fn read_on(mut body: Incoming, most: u64) {
    let mut length = 0;
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let Some(Ok(frame)) = frame else { return };
        length += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        if length > most {
            return;
        }
    }
}

//! Bodies of requests: XML as a whole, and what is left of one that was refused early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::{S3Result, s3_error};
use tokio::sync::oneshot;

use crate::MAX_OBJECT;
use crate::s3::with_status;

/// How long the rest of a body is read for.
const DRAIN: Duration = Duration::from_secs(10);

/// The next bytes; None at the end.
async fn next(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => return Some(Ok(bytes)),
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// All of it, at most so many bytes, and with the SHA-256 that was announced, if one was.
pub(crate) async fn whole(headers: &HeaderMap, mut body: Incoming, most: usize) -> S3Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(bytes) = next(&mut body).await {
        let bytes = bytes.map_err(|error| s3_error!(IncompleteBody, "the body can't be read: {error}"))?;
        if all.len() + bytes.len() > most {
            drop(all);
            read_on(body).await;
            return Err(s3_error!(MaxMessageLengthExceeded, "the body may have {most} bytes"));
        }
        all.extend_from_slice(&bytes);
    }
    let announced = headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()).unwrap_or("");
    // Other values name other ways to sign.
    if announced.len() == 64 {
        let found = Sha256::checksum(&all);
        let same = found.iter().zip(announced.as_bytes().chunks(2)).all(|(byte, digits)| {
            std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
                == Some(*byte)
        });
        if !same {
            return Err(with_status(
                "XAmzContentSHA256Mismatch",
                400,
                "the body does not have the SHA-256 that was announced",
            ));
        }
    }
    Ok(all.freeze())
}

/// A body that is given back when whoever has it is done with it.
pub(crate) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

impl Lent {
    pub(crate) fn new(body: Incoming) -> (Self, oneshot::Receiver<Incoming>) {
        let (sender, rest) = oneshot::channel();
        (Self { body: Some(body), back: Some(sender) }, rest)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
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

/// Reads what is left of a body that was given back: at most as much as an object may have, and not for long.
pub(crate) async fn drain(mut rest: oneshot::Receiver<Incoming>) {
    if let Ok(body) = rest.try_recv() {
        read_on(body).await;
    }
}

async fn read_on(mut body: Incoming) {
    let reading = async {
        let mut length = 0;
        while let Some(Ok(bytes)) = next(&mut body).await {
            length += bytes.len() as u64;
            if length > MAX_OBJECT {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN, reading).await;
}

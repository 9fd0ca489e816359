//! A byte stream that ends when its connection has lost its place, or a deadline is over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::Place;

/// A stream with its [`Place`].
pub struct Admitted<S> {
    stream: S,
    place: Place,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the first request.
    first: Option<Pin<Box<Sleep>>>,
    /// Until the end of its life.
    end: Option<Pin<Box<Sleep>>>,
    /// Since the other end takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Admitted<S> {
    /// This stream at that place. The deadline to its first request runs from now.
    pub fn new(stream: S, place: Place) -> Self {
        let sleep = |time| Box::pin(tokio::time::sleep(time));
        let settings = *place.settings();
        Self {
            stream,
            ended: Box::pin(place.ended().cancelled_owned()),
            first: Some(sleep(settings.first_request)),
            end: settings.lifetime.map(sleep),
            stalled: None,
            place,
        }
    }

    /// The place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The stream.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Fails when the connection is over.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.ended.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its place went to another"));
        }
        let over = |sleep: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>| {
            sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready())
        };
        let late = |place: &Place, what: &'static str| {
            place.late();
            Err(io::Error::new(io::ErrorKind::TimedOut, what))
        };
        if over(&mut self.first, context) {
            if !self.place.was_used() {
                return late(&self.place, "no request came in time");
            }
            self.first = None;
        }
        if over(&mut self.end, context) {
            return late(&self.place, "its time is over");
        }
        if over(&mut self.stalled, context) {
            return late(&self.place, "the other end takes nothing");
        }
        Ok(())
    }

    /// Notes whether the other end takes what is sent.
    fn taken<T>(&mut self, context: &mut Context<'_>, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.stalled = None;
        } else if self.stalled.is_none() {
            let mut sleep = Box::pin(tokio::time::sleep_until(Instant::now() + self.place.settings().stall));
            // So that it wakes us.
            let _ = sleep.as_mut().poll(context);
            self.stalled = Some(sleep);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Admitted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(context)?;
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Admitted<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(context)?;
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.taken(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(context)?;
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.taken(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(context)?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

//! All sockets of a receiver, read in turn.

use std::task::{Context, Poll};

use outplane_rmdp_wire::datagram::MAX_LENGTH;
use tokio::io::ReadBuf;

use crate::clock::monotonic_nanos;
use crate::filter::{Filter, Kernel};
use crate::received::Received;
use crate::socket::Incoming;

/// A byte more than a datagram may have shows that one has more.
const BUFFER: usize = MAX_LENGTH + 1;
/// Datagrams that are refused before other tasks get to run.
const REFUSED_AT_ONCE: u32 = 256;

pub(crate) struct Sockets {
    pub(crate) groups: Vec<Incoming>,
    pub(crate) unicast: Vec<Incoming>,
    /// Which one is looked at next, so that none starves the others.
    turn: usize,
    buffer: Box<[u8; BUFFER]>,
}

impl Sockets {
    pub(crate) fn new(unicast: Vec<Incoming>) -> Self {
        Self { groups: Vec::new(), unicast, turn: 0, buffer: Box::new([0; BUFFER]) }
    }

    pub(crate) fn count(&self) -> usize {
        self.groups.len() + self.unicast.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Incoming> + Clone {
        self.groups.iter().chain(&self.unicast)
    }

    /// The next datagram that the filter takes. `kernel`: see [`Filter::take`].
    pub(crate) fn poll(
        &mut self,
        filter: &mut Filter,
        kernel: impl Fn(u32) -> Option<Kernel>,
        context: &mut Context<'_>,
    ) -> Poll<Received> {
        let count = self.count();
        let (mut idle, mut refused) = (0, 0);
        while idle < count {
            self.turn = (self.turn + 1) % count;
            let in_unicast = self.turn.checked_sub(self.groups.len());
            let incoming = in_unicast.map_or_else(|| &self.groups[self.turn], |index| &self.unicast[index]);
            let mut buffer = ReadBuf::new(&mut self.buffer[..]);
            match incoming.socket.poll_recv(context, &mut buffer) {
                Poll::Pending => {
                    idle += 1;
                    continue;
                }
                Poll::Ready(Ok(())) => {
                    let length = buffer.filled().len();
                    let arrival = monotonic_nanos();
                    if let Ok(datagram) = filter.take(&self.buffer[..length], arrival, &kernel) {
                        let bytes = datagram.bytes().to_vec();
                        return Poll::Ready(Received { arrival, header: datagram.header, bytes });
                    }
                }
                // Of an interface that went down, say: told once by the kernel, and nothing to be done.
                Poll::Ready(Err(error)) => {
                    tracing::debug!(address = %incoming.address, %error, "cannot receive");
                }
            }
            idle = 0;
            refused += 1;
            if refused >= REFUSED_AT_ONCE {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Pending
    }
}

//! Receives the first authentic copy of each task, and every authentic heartbeat and hint.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll};

use outplane_rmdp_wire::{Datagram, Key};
use outplane_xdp::{Delivered, XdpControl, XdpError, XdpReceiver};
use tokio::task::{JoinSet, spawn_blocking};

use crate::counters::Counters;
use crate::error::TransportError;
use crate::filter::Filter;
use crate::interface::Interface;
use crate::received::Received;
use crate::ring;
use crate::settings::{Mode, Settings};
use crate::socket;
use crate::sockets::Sockets;

/// Receives from the XDP ring, from sockets, or from both: what XDP passes on for want of room, and what comes by other
/// interfaces than XDP's (loopback, say), arrives at the sockets and goes through the same checks in userspace.
///
/// Dropping it leaves the XDP program where it is, so that the next start of the daemon finds what came meanwhile;
/// [`Self::detach`] takes it away.
pub struct Receiver {
    interface: Option<Interface>,
    filter: Filter,
    ring: Option<XdpReceiver>,
    sockets: Sockets,
    port: u16,
    overflows_of_closed: u64,
    mode: Mode,
    /// Whose turn it is when both have something.
    ring_first: bool,
    /// The change of XDP's generations, one at most.
    ticking: JoinSet<Result<bool, XdpError>>,
}

/// What one look at ring and sockets has found.
enum Event {
    Ring(Result<Delivered, XdpError>),
    Socket(Received),
}

impl Receiver {
    /// Opens sockets, and XDP where it is wanted and works.
    pub async fn open(settings: Settings) -> Result<Self, TransportError> {
        let interface = settings.interface.as_deref().map(Interface::find).transpose()?;
        let Settings { network, keys, senders, window, capacity, .. } = &settings;
        let mut filter = Filter::new(*network, keys, senders, *window, *capacity);
        filter.begun(&settings.epochs);
        let unicast =
            settings.unicast.iter().map(|address| socket::bind(*address)).collect::<Result<_, _>>()?;
        let mut receiver = Self {
            interface,
            filter,
            ring: None,
            sockets: Sockets::new(unicast),
            port: settings.port,
            overflows_of_closed: 0,
            mode: Mode::Socket { reason: String::new() },
            ring_first: true,
            ticking: JoinSet::new(),
        };
        receiver.join(&settings.groups, settings.port)?;
        if receiver.sockets.count() == 0 {
            return Err(TransportError::Nowhere);
        }
        // Memberships come first, so that nothing that XDP would pass on is lost.
        let targets = receiver.targets();
        (receiver.ring, receiver.mode) = ring::open(&settings, targets).await?;
        if let Some(ring) = &receiver.ring {
            let control = ring.control();
            for sender in receiver.filter.senders() {
                if let Ok(Some(kernel)) = ring::stream(&control, sender) {
                    receiver.filter.beside(sender, &kernel);
                }
            }
        }
        Ok(receiver)
    }

    /// The next datagram. Cancel safe: what is remembered as seen was returned.
    pub async fn next(&mut self) -> Received {
        loop {
            self.ring_first = !self.ring_first;
            let event = self.event().await;
            match event {
                Event::Socket(received) => return received,
                Event::Ring(Ok(delivered)) => {
                    // The program has parsed it. Its own layout check would be the only reason to fail here.
                    let Ok(datagram) = Datagram::parse(&delivered.bytes) else { continue };
                    let header = datagram.header;
                    if self.filter.take_from_ring(&header, delivered.arrival) {
                        return Received { arrival: delivered.arrival, header, bytes: delivered.bytes };
                    }
                }
                Event::Ring(Err(error)) => self.ring_broke(&error),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let Self { ring, sockets, filter, ring_first, .. } = self;
        let Some(ring) = ring else {
            return Event::Socket(poll_fn(|context| sockets.poll(filter, |_| None, context)).await);
        };
        let control = ring.control();
        let seen = |sender| ring::seen(&control, sender);
        let mut from_ring = pin!(ring.next());
        poll_fn(|context| {
            let mut ring = |context: &mut Context<'_>| from_ring.as_mut().poll(context).map(Event::Ring);
            let mut sockets =
                |context: &mut Context<'_>| sockets.poll(filter, seen, context).map(Event::Socket);
            let first = if *ring_first { ring(context) } else { sockets(context) };
            match first {
                Poll::Pending if *ring_first => sockets(context),
                Poll::Pending => ring(context),
                ready @ Poll::Ready(_) => ready,
            }
        })
        .await
    }

    /// A ring that cannot be read must not swallow datagrams.
    fn ring_broke(&mut self, error: &XdpError) {
        self.give_up(format!("the ring cannot be read: {}", ring::chain(error)));
    }

    /// XDP goes, and the sockets do its work.
    fn give_up(&mut self, reason: String) {
        tracing::error!(alert = true, reason, "XDP is given up");
        let Some(ring) = self.ring.take() else { return };
        let control = ring.control();
        for sender in self.filter.senders() {
            // What cannot be read is forgotten, as at a start.
            if let Ok(Some(kernel)) = ring::stream(&control, sender) {
                self.filter.inherit(sender, &kernel);
            }
        }
        if let Err(error) = ring.detach() {
            tracing::error!(error = ring::chain(&error), "the XDP program cannot be detached");
        }
        self.mode = Mode::Socket { reason };
    }

    /// Accepts these keys from now on. With XDP there are at most [`outplane_xdp::MAX_KEYS`]; with more nothing changes.
    pub async fn set_keys(&mut self, keys: &[Key]) -> Result<(), TransportError> {
        let list = keys.to_vec();
        self.control(move |control| control.set_keys(&list)).await?;
        self.filter.set_keys(keys);
        Ok(())
    }

    /// Takes from these senders from now on. The streams of those that stay, or come back, go on where they were.
    ///
    /// XDP that has no place for all of them would be deaf to some: it is given up, which is told, and sockets do its work.
    pub async fn set_senders(&mut self, senders: &[u32]) -> Result<(), TransportError> {
        let list = senders.to_vec();
        let told = self.control(move |control| control.set_senders(&list)).await;
        self.filter.set_senders(senders);
        if let Err(error) = &told {
            self.give_up(error.to_string());
        }
        told
    }

    /// Is a member of these groups from now on; memberships that stay are not interrupted.
    ///
    /// Groups that cannot be joined are logged and left out, for instance those of a family that the machine does not
    /// have, as long as one can be, or there is a unicast address. On an error the memberships don't change.
    pub async fn set_groups(&mut self, groups: &[IpAddr], port: u16) -> Result<(), TransportError> {
        self.join(groups, port)?;
        let targets = self.targets();
        self.control(move |control| control.set_groups(&targets)).await
    }

    fn join(&mut self, groups: &[IpAddr], port: u16) -> Result<(), TransportError> {
        let current = &self.sockets.groups;
        let stays = |group: &IpAddr| {
            current.iter().any(|old| old.address.ip() == *group && old.address.port() == port)
        };
        let mut joined = Vec::new();
        let mut failure = None;
        for group in groups.iter().filter(|group| !stays(group)) {
            match socket::join(*group, port, self.interface.as_ref()) {
                Ok(incoming) => joined.push(incoming),
                Err(error) => {
                    tracing::warn!(%group, %error, "left out a multicast group");
                    failure = Some(error);
                }
            }
        }
        let members = joined.len() + groups.iter().filter(|group| stays(group)).count();
        if let (Some(error), 0, true) = (failure, members, self.sockets.unicast.is_empty()) {
            return Err(error);
        }
        let (mut stay, leave): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sockets.groups)
            .into_iter()
            .partition(|old| old.address.port() == port && groups.contains(&old.address.ip()));
        self.overflows_of_closed += socket::overflows(&leave.iter());
        stay.append(&mut joined);
        self.sockets.groups = stay;
        self.port = port;
        Ok(())
    }

    /// Destinations that XDP takes: an address that stands for all is left to the socket.
    fn targets(&self) -> Vec<(IpAddr, u16)> {
        let all = self.sockets.all().map(|incoming| (incoming.address.ip(), incoming.address.port()));
        all.filter(|(address, _)| !address.is_unspecified()).collect()
    }

    /// Calls of the control wait for running programs, a few milliseconds.
    async fn control<F>(&self, call: F) -> Result<(), TransportError>
    where
        F: FnOnce(&XdpControl) -> Result<(), XdpError> + Send + 'static,
    {
        let Some(ring) = &self.ring else { return Ok(()) };
        let control = ring.control();
        match spawn_blocking(move || call(&control)).await {
            Ok(done) => done.map_err(|error| TransportError::Xdp { reason: ring::chain(&error) }),
            Err(ended) => Err(TransportError::Xdp { reason: ended.to_string() }),
        }
    }

    /// Forgets what is old enough. `now` as of [`crate::monotonic_nanos`]; call it every second or so.
    ///
    /// With XDP a generation of many tasks takes a while to clear: that goes on behind, and what went wrong with it is
    /// told by the next call.
    pub fn tick(&mut self, now: u64) -> Result<(), TransportError> {
        self.filter.tick(now);
        let Some(ring) = &self.ring else { return Ok(()) };
        let control = ring.control();
        if self.ticking.is_empty() {
            self.ticking.spawn(async move { control.tick().await });
        }
        match self.ticking.try_join_next() {
            Some(Ok(Err(error))) => Err(TransportError::Xdp { reason: ring::chain(&error) }),
            Some(Err(ended)) => Err(TransportError::Xdp { reason: ended.to_string() }),
            Some(Ok(Ok(_))) | None => Ok(()),
        }
    }

    /// Counts of the sockets since the start, and of XDP since its maps were pinned. Reads files of `/proc`: not for
    /// every datagram.
    pub fn counters(&self) -> Result<Counters, TransportError> {
        let mut counters = self.filter.counters();
        counters.socket_overflows = self.overflows_of_closed + socket::overflows(&self.sockets.all());
        if let Some(ring) = &self.ring {
            let kernel = ring.control().counters();
            let kernel = kernel.map_err(|error| TransportError::Xdp { reason: ring::chain(&error) })?;
            ring::add(&mut counters, &kernel, self.filter.crossed());
        }
        Ok(counters)
    }

    /// How datagrams come in.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The groups that were joined, with their port.
    pub fn groups(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.groups.iter().map(|incoming| incoming.address)
    }

    /// Where unicast datagrams are taken, with the ports that were given.
    pub fn unicast(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.unicast.iter().map(|incoming| incoming.address)
    }

    /// Takes the XDP program off the interface, if there is one, and forgets what it remembers.
    pub fn detach(self) -> Result<(), TransportError> {
        let detached = self.ring.map_or(Ok(()), XdpReceiver::detach);
        detached.map_err(|error| TransportError::Xdp { reason: ring::chain(&error) })
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("mode", &self.mode)
            .field("groups", &self.groups().collect::<Vec<_>>())
            .field("unicast", &self.unicast().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

//! A connection to one switch, and the program that it is to run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use outplane_p4runtime_client::Problem as ClientProblem;
use outplane_p4runtime_client::{Options, Packets, Peer, Primacy, Shared, Target};
use tokio::sync::watch;
use tonic::Code;

use crate::counted::Counted;
use crate::errors::{Error, Problem};
use crate::pipeline::Pipeline;

/// A connection to one switch, as its primary controller or for reading only.
#[derive(Debug)]
pub struct Connection {
    pub(crate) client: outplane_p4runtime_client::Connection,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) counted: Option<Counted>,
    /// The next read asks for everything at once: the last one has found that it may.
    pub(crate) at_once: AtomicBool,
}

impl Connection {
    /// Connects and becomes the primary controller. What may pass (no route, no listener yet, a broken connection) is
    /// tried again as [`Options::backoff`] says.
    ///
    /// # Errors
    /// [`ClientProblem::NotPrimary`] where another controller has a higher election id; [`ClientProblem::Unreachable`] and what
    /// [`Problem`] says else.
    pub async fn open(target: Target, pipeline: Arc<Pipeline>, options: Options) -> Result<Self, Error> {
        Self::open_as(target, pipeline, options, true, Shared::default()).await
    }

    /// Connects for reading only: no arbitration, no writes, no packets.
    pub async fn open_read_only(
        target: Target,
        pipeline: Arc<Pipeline>,
        options: Options,
    ) -> Result<Self, Error> {
        Self::open_as(target, pipeline, options, false, Shared::default()).await
    }

    pub(crate) async fn open_as(
        target: Target,
        pipeline: Arc<Pipeline>,
        options: Options,
        as_controller: bool,
        shared: Shared,
    ) -> Result<Self, Error> {
        let client =
            outplane_p4runtime_client::Connection::open_with(target, options, as_controller, shared).await?;
        Ok(Self { client, pipeline, counted: None, at_once: AtomicBool::new(false) })
    }

    /// Where goes what entries have counted, whenever the switch is read to be compared or changed. Without, it is not
    /// read.
    #[must_use]
    pub fn with_counted(self, counted: impl Into<Option<Counted>>) -> Self {
        Self { counted: counted.into(), ..self }
    }

    /// Takes a higher election id: see [`outplane_p4runtime_client::Connection::raise`].
    ///
    /// # Errors
    /// [`ClientProblem::NotPrimary`] where another controller has or had a higher one, [`ClientProblem::ArbitrationRefused`] where
    /// one has the same, [`ClientProblem::Deadline`], [`ClientProblem::Disconnected`], [`ClientProblem::ReadOnly`]. Whatever it is, we keep
    /// the id that we had.
    pub async fn raise(&mut self, election_id: u128) -> Result<(), Error> {
        Ok(self.client.raise(election_id).await?)
    }

    /// Connects anew after the connection broke, with the same target, options and role, and the election id that it
    /// was raised to. Certificates are read again.
    pub async fn reopen(&mut self) -> Result<(), Error> {
        Ok(self.client.reopen().await?)
    }

    /// The switch.
    pub fn target(&self) -> &Target {
        self.client.target()
    }

    /// The program that entries are read and written by.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Whether we may write, and changes of that, until the next raise or reopening. None on a connection for reading
    /// only.
    pub fn primacy(&self) -> Option<watch::Receiver<Primacy>> {
        self.client.primacy()
    }

    /// Our election id: the option's, or a higher one after a take-over. None on a connection for reading only.
    pub fn election_id(&self) -> Option<u128> {
        self.client.election_id()
    }

    /// The P4Runtime version that the switch speaks; none where it does not tell.
    pub async fn capabilities(&self) -> Result<Option<String>, Error> {
        Ok(self.client.capabilities().await?)
    }

    /// Packets from the switch, unless [`Options::tap`] takes them. Only the first call gets them.
    pub fn packets(&mut self) -> Option<Packets> {
        self.client.packets(self.pipeline.schema())
    }

    /// Sends a frame out of a port of the switch.
    pub async fn send_packet(&self, egress_port: u32, frame: Vec<u8>) -> Result<(), Error> {
        self.client.check_primacy()?;
        let packet = self.pipeline.schema().build_packet_out(frame).field("egress_port", egress_port);
        let packet = packet.build().map_err(|_| {
            let message = format!("the program sends no packet out of port {egress_port}");
            self.error(Problem::Client(ClientProblem::Call {
                call: "packet-out",
                code: Code::InvalidArgument,
                message,
            }))
        })?;
        Ok(self.client.send_packet(packet).await?)
    }

    /// Its name and address, for messages.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        self.client.peer()
    }

    pub(crate) fn error(&self, problem: impl Into<Problem>) -> Error {
        Error::of(self.peer(), problem)
    }
}

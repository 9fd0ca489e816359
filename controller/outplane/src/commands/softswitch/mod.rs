//! `outplane softswitch`: the embedded P4Runtime switch.

mod journal;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use outplane_rmdp_node::plain;
use outplane_softswitch::dataplane::{PortSpec, PortStatus};
use outplane_softswitch::server::{Config, Tls};
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::options::Format;
use crate::{output, runtime};

/// Arguments of `softswitch`.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("ports").required(true).args(["port", "no_ports"]))]
pub(crate) struct Arguments {
    /// Forward frames at a network interface as a port of the switch, from 1 to 509; may be repeated. An interface
    /// that is not there is waited for
    #[arg(long, value_name = "NUMBER=INTERFACE")]
    port: Vec<PortSpec>,
    /// Serve the tables only and forward nothing; needs no rights
    #[arg(long)]
    no_ports: bool,
    /// Where to serve P4Runtime; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9559")]
    listen: SocketAddr,
    /// P4Runtime device id
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    device_id: u64,
    /// PEM file with the switch's certificate; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the switch's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with the authorities that clients' certificates must come from; clients must have one then
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// That others can reach it in plain text, or without a certificate, is meant: no warning
    #[arg(long)]
    insecure: bool,
    /// Append a JSON line for every write, by whom it was and what became of it
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Said once the switch can be talked to.
#[derive(Serialize)]
struct Ready {
    listening: SocketAddr,
    device_id: u64,
    ports: Vec<PortForm>,
}

#[derive(Serialize)]
struct PortForm {
    port: u16,
    interface: String,
    /// Whether the interface is there; if not, the switch waits for it.
    up: bool,
}

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    runtime::block_on(serve(arguments, format))?
}

async fn serve(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let mut server = Config::new(arguments.device_id);
    server.tls = tls(arguments)?;
    let broken = CancellationToken::new();
    if let Some(path) = &arguments.journal {
        server.witness = Some(journal::witness(path, arguments.device_id, broken.clone())?);
    }
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| crate::runtime::cannot_listen(arguments.listen))?;
    if let Some(warning) = exposed(arguments).filter(|_| !arguments.insecure) {
        tracing::warn!("{warning}");
    }
    let signals = runtime::Signals::new()?;
    let ports = arguments.port.clone();
    let switch = Switch::start(SwitchConfig { listener, server, ports, limits: Limits::default() })?;
    say(arguments, format, &switch)?;
    let ended = broken.run_until_cancelled(signals.wait()).await;
    switch.shutdown().await?;
    anyhow::ensure!(
        ended.is_some(),
        "the journal could not be written, and a switch without its witness ends"
    );
    Ok(Exit::Done)
}

/// What others can do to it who have no right to.
fn exposed(arguments: &Arguments) -> Option<String> {
    let (harm, cure) = match (&arguments.tls_cert, &arguments.tls_ca) {
        (Some(_), Some(_)) => return None,
        (Some(_), None) => (
            "whoever reaches it may write its tables, since clients need no certificate",
            "give it --tls-ca, or say --insecure if that is meant",
        ),
        (None, _) => (
            "whoever reaches it may write its tables, and whoever is on the way reads them",
            "give it --tls-cert, --tls-key and --tls-ca, or say --insecure if that is meant",
        ),
    };
    plain::listener("the switch", arguments.listen, harm, cure)
}

fn say(arguments: &Arguments, format: Format, switch: &Switch) -> anyhow::Result<()> {
    let port = |port: PortStatus| PortForm { port: port.number, interface: port.interface, up: port.up };
    let listening = switch.server().address();
    let ports = switch.ports().into_iter().map(port).collect();
    let ready = Ready { listening, device_id: arguments.device_id, ports };
    output::write(|mut out| {
        match format {
            Format::Text => writeln!(out, "listening on {listening}")?,
            Format::Json => {
                serde_json::to_writer(&mut out, &ready)?;
                writeln!(out)?;
            }
        }
        out.flush()
    })
}

fn tls(arguments: &Arguments) -> anyhow::Result<Option<Tls>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) else { return Ok(None) };
    Ok(Some(Tls {
        certificate: read(certificate)?,
        key: read(key)?,
        client_ca: arguments.tls_ca.as_deref().map(read).transpose()?,
    }))
}

//! What `distributor` and `controller` have in common: they run until a signal and then until they are drained.

use std::io::Write as _;
use std::path::PathBuf;

use outplane_rmdp_core::config::Role;
use outplane_rmdp_node::daemon::{self, Setup, Up};
use outplane_rmdp_node::file::DEFAULT_PATH;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::options::{Format, Global};
use crate::{logging, node, output, runtime};

/// Arguments of `distributor` and `controller`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The node's own file, see docs/configuration.md [default: `$OUTPLANE_CONFIG`, or /etc/outplane/node.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with the PEM files that the switches' `tls` names [default: `tls` beside the node's file]
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

/// Said once the daemon does its work.
#[derive(Serialize)]
struct Ready<'u> {
    node: &'u str,
    role: &'static str,
    epoch: u64,
    config: u64,
    receiver: &'u str,
    addresses: Vec<String>,
    http: Option<String>,
}

/// Runs a daemon.
pub(crate) fn run(arguments: &Arguments, role: Role, global: &Global) -> anyhow::Result<Exit> {
    let path = arguments.config.clone().or_else(node::from_environment);
    let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
    let loaded = outplane_rmdp_node::file::NodeFile::load(&path)?;
    logging::start_daemon(global, loaded.file.log);
    for warning in loaded.warnings.iter().chain(&loaded.of_daemon) {
        tracing::warn!("{warning}");
    }
    let beside = || path.parent().map(|folder| folder.join("tls")).unwrap_or_default();
    let tls = arguments.tls.clone().unwrap_or_else(beside);
    let setup = Setup { file: loaded.file, tls, role };
    runtime::block_on(serve(setup, role, global.output))?
}

async fn serve(setup: Setup, role: Role, format: Format) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let daemon = daemon::run(setup, stop.clone(), |up| say(up, role, format));
    tokio::pin!(daemon);
    loop {
        tokio::select! {
            ended = &mut daemon => return match ended {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(error.into()),
            },
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_cancelled() {
            tracing::warn!("a second signal: ending at once; what was claimed is left to the others");
            return Ok(Exit::Interrupted);
        }
        stop.cancel();
    }
}

fn say(up: &Up, role: Role, format: Format) {
    let role = match role {
        Role::Distributor => "distributor",
        Role::Controller => "controller",
    };
    let said = output::write(|mut out| {
        match format {
            Format::Text => {
                let Up { node, epoch, config, receiver, .. } = up;
                writeln!(out, "{role} {node} is up: epoch {epoch}, configuration {config}, {receiver}")?;
            }
            Format::Json => {
                let ready = Ready {
                    node: &up.node,
                    role,
                    epoch: up.epoch,
                    config: up.config,
                    receiver: &up.receiver,
                    addresses: up.addresses.iter().map(ToString::to_string).collect(),
                    http: up.http.map(|address| address.to_string()),
                };
                serde_json::to_writer(&mut out, &ready)?;
                writeln!(out)?;
            }
        }
        out.flush()
    });
    if let Err(error) = said {
        tracing::warn!(%error, "cannot say that it is up");
    }
}

//! `outplane store`: the S3 endpoint for one machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use outplane_embedded_store::{Keys, Metrics, Server, Settings, Tls};
use outplane_rmdp_node::http::{self, Lacking, Readiness};
use outplane_rmdp_node::metrics::{Named, Number, PlainMetrics};
use outplane_rmdp_node::notify::Notifier;
use outplane_rmdp_node::plain;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Usage};
use crate::options::Format;
use crate::{output, runtime};

/// How often the service manager may be told that it lives.
const ALIVE: Duration = Duration::from_secs(1);

/// Arguments of `store` itself.
#[derive(clap::Args, Debug)]
pub(super) struct Serve {
    /// Folder that everything is kept in; made if it is not there
    #[arg(long, value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Where to serve S3; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// File with the access key and the secret key [default: the environment's, else DIR/keys, made if it is not
    /// there]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Make this bucket if it is not there; may be repeated
    #[arg(long, value_name = "NAME")]
    bucket: Vec<String>,
    /// Most bytes that objects may take, such as 500M or 8G
    #[arg(long, value_name = "BYTES", default_value = "8G", value_parser = bytes)]
    max_bytes: u64,
    /// Most objects; each takes some 200 bytes of memory
    #[arg(long, value_name = "NUMBER", default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    max_objects: u64,
    /// Where to serve /metrics, /health, /ready and /status, for who may ask: there is no password [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// PEM file with the store's certificate; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the store's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// That it can be reached from elsewhere in plain text, or its pages, is meant: no warning
    #[arg(long)]
    insecure: bool,
    /// Size of the log's segments, for tests
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide = true)]
    segment: Option<u64>,
}

impl Serve {
    /// The parser demands it where there is no subcommand.
    fn dir(&self) -> anyhow::Result<&Path> {
        self.dir.as_deref().context("--dir is missing")
    }
}

/// Said once the store can be talked to.
#[derive(Serialize)]
struct Ready {
    listening: SocketAddr,
    /// Where the keys are; absent if they come from the environment.
    keys: Option<PathBuf>,
    /// Where metrics and health are served, if anywhere.
    http: Option<SocketAddr>,
}

/// Runs until SIGINT or SIGTERM.
pub(super) fn run(arguments: &Serve, format: Format) -> anyhow::Result<Exit> {
    runtime::block_on(serve(arguments, format))?
}

async fn serve(arguments: &Serve, format: Format) -> anyhow::Result<Exit> {
    let signals = runtime::Signals::new()?;
    let mut notifier = Notifier::from_environment();
    allow_open_files();
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| crate::runtime::cannot_listen(arguments.listen))?;
    if !arguments.insecure {
        for warning in exposed(arguments) {
            tracing::warn!("{warning}");
        }
    }
    let pages = Pages::default();
    pages.readiness.lacks(Lacking::Store, "the log is being read");
    // It ends with the set.
    let mut tasks = JoinSet::new();
    let http = match arguments.http {
        Some(address) => {
            let http = http::Server::bind(address).await?;
            let address = http.address();
            tasks.spawn(http.run(pages.served(), CancellationToken::new()));
            Some(address)
        }
        None => None,
    };
    let (keys, path) = keys(arguments)?;
    let settings = Settings {
        tls: tls(arguments)?,
        max_bytes: arguments.max_bytes,
        max_objects: arguments.max_objects,
        buckets: arguments.bucket.clone(),
        segment: arguments.segment,
        ..Settings::new(arguments.dir()?, keys)
    };
    let server = Server::start(listener, settings).await.map_err(|error| match error {
        outplane_embedded_store::Error::BucketName(_) => Usage(error.to_string()).into(),
        error => anyhow::Error::new(error),
    })?;
    pages.numbers.get_or_init(|| Arc::clone(server.metrics()));
    pages.readiness.has(Lacking::Store);
    say(format, &Ready { listening: server.address(), keys: path, http })?;
    notifier.ready(&format!("serving S3 on {}", server.address()));
    let started = Instant::now();
    let mut alive = tokio::time::interval(ALIVE);
    let mut asked = pin!(signals.wait());
    let why = loop {
        tokio::select! {
            () = &mut asked => break "asked to stop".to_owned(),
            // Told by the shutdown.
            error = server.failed() => {
                pages.readiness.lacks(Lacking::Disk, error.to_string());
                break "the disk has failed".to_owned();
            }
            _ = alive.tick() => notifier.alive(started.elapsed()),
        }
    };
    pages.readiness.lacks(Lacking::Draining, format!("stopping: {why}"));
    notifier.stopping(&why);
    server.shutdown().await?;
    Ok(Exit::Done)
}

/// What others can reach in plain text.
fn exposed(arguments: &Serve) -> Vec<String> {
    let cure = "give it --tls-cert and --tls-key, or say --insecure if that is meant";
    let harm = "whoever is on the way reads policies and statuses and can forge answers, claims among them (keys are not sent)";
    let store = match arguments.tls_cert {
        Some(_) => None,
        None => plain::listener("the store", arguments.listen, harm, cure),
    };
    let harm = "whoever reaches it reads metrics and status, there is no password";
    let cure = "say --insecure if that is meant";
    let pages =
        arguments.http.and_then(|address| plain::listener("HTTP (/metrics, /status)", address, harm, cure));
    store.into_iter().chain(pages).collect()
}

/// Connections and segments are open files; the limit that shells and service managers set first is low, for programs
/// that use select(2), and may be raised up to the hard one.
fn allow_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files could not be raised");
    }
}

/// The keys and the file they are in.
fn keys(arguments: &Serve) -> anyhow::Result<(Keys, Option<PathBuf>)> {
    if let Some(path) = &arguments.keys {
        return Ok((Keys::from_file(path)?, Some(path.clone())));
    }
    if let Some(keys) = Keys::from_environment()? {
        return Ok((keys, None));
    }
    let (keys, path) = Keys::in_folder(arguments.dir()?)?;
    Ok((keys, Some(path)))
}

/// What is served beside S3. Clones share it.
#[derive(Clone, Default)]
struct Pages {
    readiness: Readiness,
    /// There are none before the log is read.
    numbers: Arc<OnceLock<Arc<Metrics>>>,
}

impl Pages {
    fn served(&self) -> http::Pages {
        let of_metrics = self.clone();
        let plain = PlainMetrics::new("outplane_embedded_store", move || {
            let ready = Number::Gauge(of_metrics.readiness.is_ready().into());
            let ready = ("ready", "1 if it takes writes, see /ready.".to_owned(), ready);
            let numbers = of_metrics.numbers.get().into_iter().flat_map(|metrics| numbers(metrics));
            std::iter::once(ready).chain(numbers).collect()
        });
        let of_status = self.clone();
        let status = move || {
            let each = of_status.numbers.get().into_iter().flat_map(|metrics| metrics.each());
            let numbers: serde_json::Map<_, _> =
                each.map(|(name, _, value)| (name.to_owned(), value.into())).collect();
            serde_json::json!({ "ready": of_status.readiness.is_ready(), "numbers": numbers })
        };
        http::Pages {
            metrics: Arc::new(move || plain.encode()),
            readiness: self.readiness.clone(),
            status: Arc::new(status),
        }
    }
}

/// The store's numbers, gauges told from counters.
fn numbers(metrics: &Metrics) -> impl Iterator<Item = Named> {
    metrics.each().map(|(name, help, value)| match help.strip_prefix("Gauge: ") {
        Some(help) => (name, help.to_owned(), Number::Gauge(value)),
        None => (name, help.to_owned(), Number::Counter(value)),
    })
}

fn say(format: Format, ready: &Ready) -> anyhow::Result<()> {
    output::write(|mut out| {
        match format {
            Format::Text => {
                writeln!(out, "listening on {}", ready.listening)?;
                if let Some(path) = &ready.keys {
                    writeln!(out, "keys in {}", path.display())?;
                }
                if let Some(address) = ready.http {
                    writeln!(out, "metrics on http://{address}/metrics")?;
                }
            }
            Format::Json => {
                serde_json::to_writer(&mut out, &ready)?;
                writeln!(out)?;
            }
        }
        out.flush()
    })
}

fn tls(arguments: &Serve) -> anyhow::Result<Option<Tls>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) else { return Ok(None) };
    Ok(Some(Tls { certificate: read(certificate)?, key: read(key)? }))
}

/// A number of bytes: digits, and K, M, G or T for multiples of 1,024.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: Option<u64> =
        digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|number| *number > 0)
        .ok_or_else(|| "not a number of bytes like 500000, 500M or 8G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1", Some(1)),
            ("2K", Some(2048)),
            ("8G", Some(8 << 30)),
            ("0", None),
            ("", None),
            ("G", None),
            ("+1", None),
            ("1 G", None),
            ("99999999T", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }
}

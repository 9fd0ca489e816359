//! `outplane store`: the S3 endpoint for one machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use outplane_embedded_store::{Keys, Server, Settings, Tls};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::cli::Format;
use crate::exit::{Exit, Usage};
use crate::{output, runtime};

/// Arguments of `store`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Folder that everything is kept in; made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
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
    /// PEM file with the store's certificate; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the store's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Size of the log's segments, for tests
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide = true)]
    segment: Option<u64>,
}

/// Said once the store can be talked to.
#[derive(Serialize)]
struct Ready {
    listening: SocketAddr,
    /// Where the keys are; absent if they come from the environment.
    keys: Option<PathBuf>,
}

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    runtime::block_on(serve(arguments, format))?
}

async fn serve(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let signals = runtime::Signals::new()?;
    allow_open_files();
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let (keys, path) = keys(arguments)?;
    let settings = Settings {
        tls: tls(arguments)?,
        max_bytes: arguments.max_bytes,
        max_objects: arguments.max_objects,
        buckets: arguments.bucket.clone(),
        segment: arguments.segment,
        ..Settings::new(&arguments.dir, keys)
    };
    let server = Server::start(listener, settings).await.map_err(|error| match error {
        outplane_embedded_store::Error::BucketName(_) => Usage(error.to_string()).into(),
        error => anyhow::Error::new(error),
    })?;
    say(format, &Ready { listening: server.address(), keys: path })?;
    tokio::select! {
        () = signals.wait() => {}
        // Told by the shutdown.
        _ = server.failed() => {}
    }
    server.shutdown().await?;
    Ok(Exit::Done)
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
fn keys(arguments: &Arguments) -> anyhow::Result<(Keys, Option<PathBuf>)> {
    if let Some(path) = &arguments.keys {
        return Ok((Keys::from_file(path)?, Some(path.clone())));
    }
    if let Some(keys) = Keys::from_environment()? {
        return Ok((keys, None));
    }
    let (keys, path) = Keys::in_folder(&arguments.dir)?;
    Ok((keys, Some(path)))
}

fn say(format: Format, ready: &Ready) -> anyhow::Result<()> {
    output::write(|mut out| {
        match format {
            Format::Text => {
                writeln!(out, "listening on {}", ready.listening)?;
                if let Some(path) = &ready.keys {
                    writeln!(out, "keys in {}", path.display())?;
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

fn tls(arguments: &Arguments) -> anyhow::Result<Option<Tls>> {
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

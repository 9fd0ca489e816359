//! Whether a switch refuses whoever was overtaken, shown by itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use outplane_p4runtime::p4::v1::WriteRequest;
use tokio::sync::mpsc;
use tonic::Code;

use crate::arbitration::{PacketQueue, Primacy, Seen, Stream, to_wire};
use crate::connect::{connect, with_metadata_limit};
use crate::connection::within;
use crate::errors::{Error, Peer};
use crate::target::{Options, Target};

/// Has a switch show whether it fences: it is sent a write of nothing under an election id below one that it knows, and fences
/// if it refuses that for its id. It changes nothing, and is in nobody's way as long as the options' election id, from 1, is
/// below all that others have: with it a stream is opened, which ends with this.
///
/// # Errors
/// What it does cannot be told: [`Problem::ArbitrationRefused`](crate::Problem::ArbitrationRefused) where another stream has
/// that id, and what else [`Problem`](crate::Problem) says of connections and calls.
pub async fn fences(target: &Target, options: &Options) -> Result<bool, Error> {
    let peer = Peer::of(target);
    let mut client = connect(&peer, target, options).await?;
    let queue = PacketQueue { sender: mpsc::channel(1).0, dropped: Arc::new(AtomicU64::new(0)), tap: None };
    let mut stream = Stream::open(&peer, &mut client, target, options, queue, Seen::default()).await?;
    if *stream.primacy.borrow() == Primacy::NotOffered {
        return Ok(false);
    }
    let request = WriteRequest {
        device_id: target.device_id,
        role: target.role.clone().unwrap_or_default(),
        // No stream's, and below ours, which is the primary's or below that.
        election_id: Some(to_wire(options.election_id.saturating_sub(1))),
        ..WriteRequest::default()
    };
    let answer = within(options.call_deadline, client.write(with_metadata_limit(request))).await;
    stream.close().await;
    match answer {
        Ok(_) => Ok(false),
        Err(status) if status.code() == Code::PermissionDenied => Ok(true),
        Err(status) => Err(peer.call_error("Write", options.call_deadline, &status)),
    }
}

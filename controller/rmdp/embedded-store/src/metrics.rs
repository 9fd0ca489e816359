//! What has been done, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters of a store since it was started. Gauges are marked; all others only grow.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl Metrics {
            /// Name, what it counts, and what it stands at, in a fixed order.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name.get())),+].into_iter()
            }
        }
    };
}

metrics! {
    /// `PutObject` requests.
    put_object,
    /// `GetObject` requests.
    get_object,
    /// `HeadObject` requests.
    head_object,
    /// `DeleteObject` requests.
    delete_object,
    /// `DeleteObjects` requests.
    delete_objects,
    /// `ListObjectsV2` requests.
    list_objects,
    /// Requests about buckets: create, head, list, location, versioning.
    bucket,
    /// HTTP requests of any kind, refused ones among them.
    requests,
    /// Answers with a status from 400 to 499, but 404, 409 and 412.
    refused,
    /// Answers with a status from 500.
    failed,
    /// Writes whose condition did not hold (412).
    conflicts,
    /// Bytes of objects taken in.
    bytes_in,
    /// Bytes of objects given out.
    bytes_out,
    /// Writes refused because the store or its disk was full.
    full,
    /// Batches written to the log.
    batches,
    /// Changes in those batches: more than one a batch is group commit at work.
    changes,
    /// Bytes written to the log.
    log_bytes,
    /// Times the disk was asked to make writes durable.
    syncs,
    /// Microseconds spent waiting for that.
    sync_microseconds,
    /// Segments cleaned.
    segments_cleaned,
    /// Bytes copied by cleaning.
    bytes_moved,
    /// Times that a write found the queue of writes full and waited.
    queue_full,
    /// Connections that got no place.
    connections_refused,
    /// Connections that lost their place to a newcomer.
    connections_evicted,
    /// Connections that were ended since a deadline was over: no request, or nothing taken.
    connections_late,
    /// Gauge: connections open.
    connections,
    /// Gauge: objects held.
    objects,
    /// Gauge: bytes that they take.
    live_bytes,
    /// Gauge: bytes of the log.
    log_size,
}

impl Metrics {
    pub(crate) fn synced(&self, took: Duration) {
        self.syncs.add(1);
        self.sync_microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

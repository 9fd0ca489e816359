//! The client.

use bytes::Bytes;

use crate::{Created, EndpointStats, Error, Page, Probe, RequestCounts, Settings};

/// A client of one store. Clones share everything.
#[derive(Clone, Debug)]
pub struct Store {}

#[expect(clippy::unused_async, unused_variables, reason = "signatures first; bodies follow")]
impl Store {
    /// A client; nothing is sent yet.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        todo!()
    }

    /// Creates the bucket where it is absent; refuses a versioned one.
    pub async fn ensure_bucket(&self) -> Result<(), Error> {
        todo!()
    }

    /// Tries whether the store creates exactly once, with 32 concurrent writers over all endpoints.
    pub async fn probe(&self) -> Result<Probe, Error> {
        todo!()
    }

    /// Creates `key` unless it exists; decides by comparing bytes whose it is.
    pub async fn create(&self, key: &str, body: Bytes) -> Result<Created, Error> {
        todo!()
    }

    /// Writes `key`, whatever it was.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        todo!()
    }

    /// Reads `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        todo!()
    }

    /// Lists keys that start with `prefix`, after the key `after`; at most `limit`, and at most 1,000.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, Error> {
        todo!()
    }

    /// Deletes the keys that exist; 1,000 a request.
    pub async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        todo!()
    }

    /// What each endpoint did, in the order of the settings.
    pub fn endpoints(&self) -> Vec<EndpointStats> {
        todo!()
    }

    /// How many requests were sent.
    pub fn requests(&self) -> RequestCounts {
        todo!()
    }
}

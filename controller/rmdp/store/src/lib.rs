//! The store of tasks, claims and results: any S3 with honest conditional writes.
//!
//! Keys and bytes only; what they mean stands in `outplane-rmdp-core`. The one primitive that claims rest on is
//! [`Store::create`]: `PutObject` with `If-None-Match: *` (RFC 9110, 13.1.2), the first writer wins, and whoever is in
//! doubt reads the object and compares.

mod call;
mod connector;
mod endpoint;
mod error;
mod listing;
mod report;
mod settings;
mod skew;
mod store;
#[cfg(feature = "suite")]
pub mod suite;
mod trial;
mod trouble;

pub use error::Error;
pub use report::{Created, EndpointState, EndpointStats, ListedObject, Page, RequestCounts, Trial};
pub use settings::{Secret, Settings};
pub use store::Store;

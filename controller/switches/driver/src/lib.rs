//! What every driver of a switch is, with no protocol in it.
//!
//! Who executes tasks keeps a [`Session`] a switch. Under the [`Fence`] of an attempt, and as long as its [`Lease`] lasts,
//! the session brings the switch to a desired state and tells what it did ([`Report`]) or how else it [`Ended`]:
//!
//! ```text
//!   task ──► read_ahead ──► Fence, Lease ──► converge ──┬─► Report
//!            nobody is in    claimed         read,      └─► Ended: overtaken, too late, stopped, failed ..
//!            its way                         plan, write
//! ```
//! A driver stands behind that with one protocol: how a fence is told to a switch, what a desired state is made of, and
//! what there is to load into a switch before it can hold one.

mod ended;
mod fence;
mod lease;
mod report;
mod session;

pub use ended::Ended;
pub use fence::Fence;
pub use lease::{Lease, Loading};
pub use report::{Answer, Report};
pub use session::Session;

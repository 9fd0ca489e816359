//! The intent log: generations in parts, each written by whose it is, as what differs from the generation before.
//!
//! ```text
//!        i/64              i/65            i/66      ..   i/127           i/128
//!  apply    snapshot ◄──── delta ◄──────── same ◄─── .. ◄ delta           snapshot ◄── ..
//!  live/k8s snapshot ◄──── same ◄───────── delta ◄── .. ◄ delta           snapshot ◄── ..
//!  desired  whole    ◄──── delta ◄──────── delta ◄── .. ◄ delta           whole    ◄── ..
//!  numbers  snapshot ◄──── delta ◄──────── same ◄─── .. ◄ same            snapshot ◄── ..
//!              │                                                              │
//!              └─► i/s/64/<sha256>: one of its parts as a whole, packed       └─► i/s/128/<sha256>
//! ```
//!
//! - **A generation is one small object**, created once. It says of each part the SHA-256 and the length of its content,
//!   and where it is: the same as in the generation before, a delta on it, whole and packed in the object, or, where that
//!   would be much, whole in a *snapshot* beside it. Its own bytes have a sum.
//! - **Nobody writes another's part.** What `apply` gave and what a live source gave are parts of their own. Who appends
//!   reads the newest generation, puts its own part in place, compiles the whole, and creates the number after it. Where
//!   another was first, it begins again with what that one wrote. So of two that race each changes its own part alone.
//! - **A snapshot lies under the number that needs it**, by its bytes' hash: who is killed behind it has written nothing
//!   that counts, and two that write it write the same. It is there before the generation that names it.
//! - **Each block of 64 numbers begins anew**: the first of a block, and the powers of two, rest on nothing before them,
//!   and a reader refuses one that does. So what goes is told by numbers alone
//!   ([`generation_may_go`](outplane_rmdp_core::chain::generation_may_go)), and what stays can be read.
//! - **What cannot be put together is an error** that names the generation, what it lacks, and the cure, never less or
//!   something else. The generation counts as one that cannot be read; who appends on top of it writes all parts whole.
//! - **Generations of the older schema** are one object with everything in it. They are read, and new ones rest on them.
//!
//! Bounds: a generation's parts together as large as one of the older schema may be, told before anything is decompressed;
//! contents that were read or written last are kept by their hashes, 64 MiB.

mod append;
mod cache;
mod content;
mod delta;
mod pack;
mod read;

pub use append::{Own, Tasks, Tip, append, append_own, store};
pub(crate) use cache::Cache;
pub use read::Logged;
pub(crate) use read::record;

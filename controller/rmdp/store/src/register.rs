//! The one thing that claims rest on.

use std::future::Future;

use bytes::Bytes;

use crate::{Created, Error, Store};

/// Registers that take one value, once, and keep it.
///
/// [`Store`] is one over a single store: the value is an object, the first conditional PUT decides. Several
/// *independent* stores cannot vote that way (each of two writers may win half of them, for ever); there a register is
/// one object `{promised, accepted ballot, value}` per store, rewritten with `If-Match`, a majority decides, ballot 0
/// belongs to a home server that gets by with one round trip, and others must adopt a value that may have been
/// accepted (`CASPaxos`; Chockler and Malkhi, Active Disk Paxos). All of that fits behind these two calls: who asks
/// only learns which value the register has.
pub trait ClaimRegister: Send + Sync {
    /// Proposes `value`, which must differ from everybody else's (it carries a nonce), for `register`.
    ///
    /// [`Error::Unknown`]: the value may be the register's, now or later; proposing the same value again is harmless.
    fn propose(&self, register: &str, value: Bytes) -> impl Future<Output = Result<Created, Error>> + Send;

    /// The register's value, if it has one.
    fn value(&self, register: &str) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
}

impl ClaimRegister for Store {
    async fn propose(&self, register: &str, value: Bytes) -> Result<Created, Error> {
        self.create(register, value).await
    }

    async fn value(&self, register: &str) -> Result<Option<Bytes>, Error> {
        self.get(register).await
    }
}

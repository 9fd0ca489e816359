//! Updates into a switch: in chunks, several of them under way at once.
//!
//! ```text
//!   batch ──► chunk (Pacer) ──► Write, CONTINUE_ON_ERROR ──► judge ─┬─ each update: done, again, refused
//!               ▲   ▲                                               ├─ too large, too slow: smaller chunks
//!               │   └───────────────────────────────────────────────┼─ ABORTED: again
//!               └── while others are under way, before the time is  └─ not primary, broken: the end
//!                   over to start any
//! ```
//! A batch is over when every update is acknowledged. A chunk may come twice, because its answer was lost or too large:
//! what an insert of what is already there means then, says the [`Batch`].

mod engine;
mod outcome;
mod plain;

pub use engine::{Batch, Ended, Sent, Until, Verdict};

use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Counter, DefaultEntry, Entry, Key};
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{Entity, TableEntry, Update};

use crate::connection::Connection;
use crate::errors::Error;
use plain::Plain;

/// An update of one entity.
pub fn update(kind: Type, entity: impl Into<Entity>) -> Update {
    Update { r#type: kind.into(), entity: Some(entity.into()) }
}

/// The update that inserts an entry; it begins to count from `count`, on switches that take that.
pub fn insert(schema: &Schema, entry: &Entry, count: Option<Counter>) -> Update {
    let counter_data = count.map(Into::into);
    update(Type::Insert, TableEntry { counter_data, ..schema.entry_to_proto(entry) })
}

/// The update that changes the action or metadata of an entry.
pub fn modify(schema: &Schema, entry: &Entry) -> Update {
    update(Type::Modify, schema.entry_to_proto(entry))
}

/// The update that deletes an entry.
pub fn delete(schema: &Schema, key: &Key) -> Update {
    update(Type::Delete, schema.key_to_proto(key))
}

/// The update that sets a default action, or sets it back to the program's own.
pub fn set_default(schema: &Schema, entry: &DefaultEntry) -> Update {
    update(Type::Modify, schema.default_entry_to_proto(entry))
}

impl Connection {
    /// Writes updates. They go out in their order, in chunks of which several may be under way at once: what must be
    /// there before something else is written by a call of its own.
    ///
    /// # Errors
    /// [`Problem::Refused`](crate::Problem::Refused) tells which updates the switch did not take, and why; all others
    /// have been done. Any other problem leaves open which have been done.
    pub async fn write(&self, updates: &[Update]) -> Result<(), Error> {
        self.write_named(updates, &|place| format!("update {}", place + 1)).await
    }

    /// Inserts entries.
    ///
    /// # Errors
    /// As for [`Connection::write`].
    pub async fn insert(&self, schema: &Schema, entries: &[Entry]) -> Result<(), Error> {
        let updates: Vec<Update> = entries.iter().map(|entry| insert(schema, entry, None)).collect();
        self.write_named(&updates, &|place| format!("insert {}", schema.describe(&entries[place]))).await
    }

    /// Changes the actions and metadata of entries that are there.
    ///
    /// # Errors
    /// As for [`Connection::write`].
    pub async fn modify(&self, schema: &Schema, entries: &[Entry]) -> Result<(), Error> {
        let updates: Vec<Update> = entries.iter().map(|entry| modify(schema, entry)).collect();
        self.write_named(&updates, &|place| format!("modify {}", schema.describe(&entries[place]))).await
    }

    /// Deletes entries.
    ///
    /// # Errors
    /// As for [`Connection::write`].
    pub async fn delete(&self, schema: &Schema, keys: &[Key]) -> Result<(), Error> {
        let updates: Vec<Update> = keys.iter().map(|key| delete(schema, key)).collect();
        self.write_named(&updates, &|place| format!("delete {}", schema.describe_key(&keys[place]))).await
    }

    async fn write_named(
        &self,
        updates: &[Update],
        name: &(dyn Fn(usize) -> String + Sync),
    ) -> Result<(), Error> {
        let mut pacer = self.pacer();
        let mut batch = Plain::new(updates, name);
        let written = self.write_batch(&mut batch, &mut pacer, Until::default(), &mut Sent::default()).await;
        self.keep_pace(&pacer, written.as_ref().is_err_and(Error::is_disconnect));
        written?;
        batch.refusal().map_or(Ok(()), |refusal| Err(self.error(crate::Problem::Refused(refusal))))
    }
}

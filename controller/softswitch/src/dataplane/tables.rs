//! What the pipeline asks of the table state: the tables, actions, meter and groups of `outplane.p4`, by the names that
//! [`outplane_p4`] declares.

use std::cell::RefCell;
use std::time::Duration;

pub use outplane_p4::{DropCounter, Table};

use crate::meter::Color;

/// An action of `outplane.p4` with its parameters. Actions that one macro of the program makes for several
/// tables are one here; the table says whose verdict they set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "p4/README.md explains each action; the names are the program's")]
pub enum Action {
    #[default]
    NoAction,
    SetVersion {
        version: u8,
    },
    SetSegment {
        segment: u16,
    },
    SourceAllow,
    SourceDeny,
    SetSrcClass {
        filter_class: u16,
        pod_class: u16,
    },
    SetDstClass {
        filter_class: u16,
        pod_class: u16,
    },
    SetSportClass {
        port_class: u16,
    },
    SetDportClass {
        port_class: u16,
    },
    Permit,
    PermitLimited {
        limiter: u16,
    },
    Deny,
    DenyLog {
        rule: u32,
    },
    Pass,
    Reply,
    NoReply,
    ReplyPass,
    Forward {
        port: u16,
    },
    FloodTo {
        group: u16,
    },
    Drop,
}

/// What a lookup says: an entry's action, or the table's default action after a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// An entry matched.
    pub hit: bool,
    /// What it does.
    pub action: Action,
}

/// The table state that one packet sees. An implementation stands for one moment: nothing may change while a
/// packet is in the pipeline, or it could see half an update.
pub trait Tables {
    /// Looks `key` (one value for each of [`Table::fields`]) up. A hit counts one packet and `bytes` bytes for its
    /// entry where the table has direct counters; a miss counts nothing.
    fn lookup(&self, table: Table, key: &[u128], bytes: usize) -> Lookup;

    /// Asks cell `limiter` of the meter `rate_limiter` for the colour of a packet of `bytes` bytes at `now`. `None`,
    /// which leaves the packet as it is, when there is no such cell.
    fn rate_limiter(&self, limiter: u16, bytes: usize, now: Duration) -> Option<Color>;

    /// Counts one packet of `bytes` bytes in a cell of an indexed counter; there may be no such cell.
    fn count(&self, counter: DropCounter, index: usize, bytes: usize);

    /// Appends the egress port of each copy that multicast group `group` makes; none when there is no such group.
    fn group(&self, group: u16, ports: &mut Vec<u16>);
}

/// One lookup as [`Traced`] saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub table: Table,
    /// What for.
    pub key: Vec<u128>,
    /// With what result.
    pub lookup: Lookup,
}

/// Tables that remember what was asked of them: which entries a packet hit, in order.
#[derive(Debug)]
pub struct Traced<'a, T: ?Sized> {
    tables: &'a T,
    steps: RefCell<Vec<Step>>,
}

impl<'a, T: Tables + ?Sized> Traced<'a, T> {
    /// An empty trace over `tables`.
    pub fn new(tables: &'a T) -> Self {
        Self { tables, steps: RefCell::default() }
    }

    /// The lookups so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.into_inner()
    }
}

impl<T: Tables + ?Sized> Tables for Traced<'_, T> {
    fn lookup(&self, table: Table, key: &[u128], bytes: usize) -> Lookup {
        let lookup = self.tables.lookup(table, key, bytes);
        self.steps.borrow_mut().push(Step { table, key: key.to_vec(), lookup });
        lookup
    }

    fn rate_limiter(&self, limiter: u16, bytes: usize, now: Duration) -> Option<Color> {
        self.tables.rate_limiter(limiter, bytes, now)
    }

    fn count(&self, counter: DropCounter, index: usize, bytes: usize) {
        self.tables.count(counter, index, bytes);
    }

    fn group(&self, group: u16, ports: &mut Vec<u16>) {
        self.tables.group(group, ports);
    }
}

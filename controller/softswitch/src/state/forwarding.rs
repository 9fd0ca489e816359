//! The forwarding state: everything that belongs to one pipeline.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::{Cells, TableInfo};

use super::action::EntryAction;
use super::budget::Budget;
use super::direct::{Counter, Direct, MeterCell};
use super::limits::Limits;
use super::pipeline::Pipeline;
use super::pre::ReplicationEngine;
use super::profile::Profile;
use super::register::Register;
use super::table::{Entry, Matches, Shape, Table};

/// Tables, arrays, groups and profiles under one P4Info.
#[derive(Debug)]
pub struct Forwarding {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) tables: HashMap<u32, Table, RandomState>,
    pub(crate) profiles: BTreeMap<u32, Profile>,
    pub(crate) counters: BTreeMap<u32, Arc<[Counter]>>,
    pub(crate) meters: BTreeMap<u32, Arc<[MeterCell]>>,
    pub(crate) registers: BTreeMap<u32, Register>,
    pub(crate) value_sets: BTreeMap<u32, Arc<[Matches]>>,
    pub(crate) digests: BTreeMap<u32, proto::digest_entry::Config>,
    pub(crate) pre: ReplicationEngine,
    pub(crate) budget: Budget,
    pub(crate) limits: Limits,
    pub(crate) handles: u64,
}

impl Forwarding {
    /// The state right after a commit: every table with its initial default entry and nothing else.
    pub(crate) fn new(pipeline: Arc<Pipeline>, limits: &Limits) -> Self {
        let schema = pipeline.schema();
        let mut budget = Budget::new(limits.bytes);
        let tables = schema.tables().iter().map(|table| {
            let default = default_entry(&pipeline, table);
            budget.replace(default.cost(), 0);
            (table.id, Table::new(table.needs_priority(), Arc::new(default)))
        });
        let tables = tables.collect();
        let indexed = |cells: Cells| match cells {
            Cells::Indexed(size) => usize::try_from(size).ok(),
            Cells::Direct(_) => None,
        };
        let counters = schema.counters().iter().filter_map(|counter| {
            Some((counter.id, (0..indexed(counter.cells)?).map(|_| Counter::default()).collect()))
        });
        let meters = schema.meters().iter().filter_map(|meter| {
            Some((meter.id, (0..indexed(meter.cells)?).map(|_| MeterCell::default()).collect()))
        });
        Self {
            tables,
            profiles: schema.profiles().iter().map(|profile| (profile.id, Profile::default())).collect(),
            counters: counters.collect(),
            meters: meters.collect(),
            registers: schema.registers().iter().map(|register| (register.id, Register::default())).collect(),
            value_sets: schema.value_sets().iter().map(|set| (set.id, Arc::default())).collect(),
            digests: BTreeMap::new(),
            pre: ReplicationEngine::default(),
            budget,
            limits: limits.clone(),
            handles: 0,
            pipeline,
        }
    }

    /// The pipeline that this is the state of.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// A table's entries; none if the pipeline has no such table.
    pub fn table(&self, id: u32) -> Option<&Table> {
        self.tables.get(&id)
    }

    /// The cells of an indexed meter.
    pub fn meter(&self, id: u32) -> Option<&[MeterCell]> {
        self.meters.get(&id).map(AsRef::as_ref)
    }

    /// The cells of an indexed counter.
    pub fn counter(&self, id: u32) -> Option<&[Counter]> {
        self.counters.get(&id).map(AsRef::as_ref)
    }

    /// Multicast groups and clone sessions.
    pub fn replication(&self) -> &ReplicationEngine {
        &self.pre
    }
}

/// The default entry of a table as the program has it.
pub(crate) fn default_entry(pipeline: &Pipeline, table: &TableInfo) -> Entry {
    Entry {
        handle: 0,
        matches: Matches {
            shape: Arc::new(Shape { masks: vec![0; table.fields.len()].into(), ranges: Box::default() }),
            values: Arc::default(),
            ranges: Box::default(),
        },
        priority: 0,
        action: pipeline.initial_default(table).map_or(EntryAction::None, EntryAction::Call),
        metadata: Box::default(),
        controller_metadata: 0,
        idle_timeout_ns: 0,
        direct: Arc::new(new_direct(table.direct_meter.is_some(), false)),
    }
}

/// Direct resources of a new entry.
pub(crate) fn new_direct(meter: bool, idle: bool) -> Direct {
    Direct { counter: Counter::default(), meter: meter.then(Box::default), idle: idle.then(Box::default) }
}

//! The forwarding state: everything that belongs to one pipeline.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use outplane_p4runtime::p4::v1 as proto;

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
        let layout = pipeline.layout();
        let tables = layout.tables.iter().map(|(&id, table)| {
            let default = Arc::new(default_entry(&pipeline, id));
            (id, Table::new(table.by_priority, default))
        });
        let cells = |size: usize| (0..size).map(|_| MeterCell::default()).collect();
        Self {
            tables: tables.collect(),
            profiles: layout.profiles.keys().map(|&id| (id, Profile::default())).collect(),
            counters: layout
                .counters
                .values()
                .map(|counter| (counter.id, (0..counter.size).map(|_| Counter::default()).collect()))
                .collect(),
            meters: layout.meters.values().map(|meter| (meter.id, cells(meter.size))).collect(),
            registers: layout.registers.keys().map(|&id| (id, Register::default())).collect(),
            value_sets: layout.value_sets.keys().map(|&id| (id, Arc::default())).collect(),
            digests: BTreeMap::new(),
            pre: ReplicationEngine::default(),
            budget: Budget::new(limits.bytes),
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
pub(crate) fn default_entry(pipeline: &Pipeline, table: u32) -> Entry {
    let layout = pipeline.layout().tables.get(&table);
    let fields = layout.map_or(0, |layout| layout.fields.len());
    Entry {
        handle: 0,
        matches: Matches {
            shape: Arc::new(Shape { masks: vec![0; fields].into(), ranges: Box::default() }),
            values: Arc::default(),
            ranges: Box::default(),
        },
        priority: 0,
        action: pipeline.initial_default(table).map_or(EntryAction::None, EntryAction::Call),
        metadata: Box::default(),
        controller_metadata: 0,
        idle_timeout_ns: 0,
        direct: Arc::new(new_direct(layout.is_some_and(|layout| layout.meter.is_some()), false)),
    }
}

/// Direct resources of a new entry.
pub(crate) fn new_direct(meter: bool, idle: bool) -> Direct {
    Direct { counter: Counter::default(), meter: meter.then(Box::default), idle: idle.then(Box::default) }
}

/// Numbers pipelines, so that whoever keeps something derived from one notices the next.
pub(crate) fn next_generation() -> u64 {
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

//! What a switch holds, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use outplane_compiler::origin;
use outplane_compiler::program::{ActionKind, Table};
use outplane_compiler::state::{Desired, Installed, Origin};
use outplane_p4runtime::entry::{Entry, Key, MulticastGroup};
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::packet_replication_engine_entry::Type as Replication;
use outplane_p4runtime::p4::v1::{
    CounterData, Entity, MeterEntry, MulticastGroupEntry, PacketReplicationEngineEntry, TableEntry,
};
use outplane_p4runtime::schema::{Cells, MeterInfo, TableInfo};
use outplane_p4runtime_client::Problem as ClientProblem;
use outplane_p4runtime_client::{Bound, MAX_MESSAGE, ReadFailure, broken, timed_out};
use tokio::task::JoinSet;
use tonic::Code;

use crate::connection::Connection;
use crate::errors::{Error, Problem};

/// Reads that may be under way at once.
const IN_FLIGHT: usize = 4;

/// A switch that held no more entities than this at the last read is asked for all of them at once: that is one round
/// trip. BMv2 answers a request with one message, so much is better asked for table by table.
const AT_ONCE: usize = 10_000;

/// Largest message of a read that others run beside, bytes: some tens of thousands of entries. What is larger is read
/// by itself.
const SMALL: usize = 4 << 20;

/// What an entity may take on the wire, on average over a part.
const ENTITY: usize = 512;

/// A part may have so many entities besides what the P4Info promises room for, and twice as many as that: targets round
/// up.
const MORE: usize = 1024;

/// Groups and clone sessions of a switch.
const GROUPS: usize = 1 << 16;

/// What has been read.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// What the switch holds.
    pub installed: Installed,
    /// What it does not let read: "multicast groups", "meters". Plans write those each time.
    pub unreadable: Vec<&'static str>,
    /// How long it took.
    pub elapsed: Duration,
}

/// One question of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// All of it.
    Everything,
    Version,
    Table(u32),
    Groups,
    Meters,
}

impl Connection {
    /// Reads everything that is ours, and what of others matters to us. With `counters`, also what entries have counted.
    ///
    /// `desired` says which multicast groups are ours besides those that entries of ours use: groups have no owner's
    /// mark on switches that do not keep their metadata.
    ///
    /// # Errors
    /// [`ClientProblem::NoPipeline`] where the switch has no program; [`ClientProblem::Entity`] for entries of ours that do not fit
    /// ours; and what [`Problem`] says of calls.
    pub async fn read_installed(&self, desired: &Desired, counters: bool) -> Result<Read, Error> {
        self.sort_out(self.read_all(counters).await?, desired)
    }

    /// The reading of [`Connection::read_installed`], which needs not know what is desired.
    pub(crate) async fn read_all(&self, counters: bool) -> Result<Unsorted, Error> {
        let start = Instant::now();
        let read = match self.read_at_once(counters).await? {
            Some(read) => read,
            None => self.read_in_parts(counters).await?,
        };
        let Unsorted { installed, entries, .. } = read;
        let installed = Installed { entries: entries.into(), ..installed };
        Ok(Unsorted { installed, entries: Vec::new(), elapsed: start.elapsed(), ..read })
    }

    /// The rest of it.
    pub(crate) fn sort_out(&self, read: Unsorted, desired: &Desired) -> Result<Read, Error> {
        let (elapsed, unreadable) = (read.elapsed, read.unreadable());
        let installed = Reader { connection: self, read }.finish(desired)?;
        Ok(Read { installed, unreadable, elapsed })
    }

    /// Whether a read is one request, and of little.
    pub(crate) fn reads_at_once(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }

    /// Reads everything with one request, if the last read has shown that the switch lets us and holds little. A
    /// refusal is no error: then we ask for one part after the other.
    async fn read_at_once(&self, counters: bool) -> Result<Option<Unsorted>, Error> {
        if !self.reads_at_once() {
            return Ok(None);
        }
        let kinds = self.parts(counters).into_iter().map(|(_, kind)| kind).collect();
        let answer = self.client.read_within(kinds, self.bound(Part::Everything, SMALL)).await;
        if let Err(ReadFailure::Status(status)) = &answer
            && !timed_out(status)
            && !broken(status)
        {
            self.at_once.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        let mut reader = Reader { connection: self, read: Unsorted::default() };
        reader.take(Part::Everything, answer)?;
        self.at_once.store(reader.read.count <= AT_ONCE, Ordering::Relaxed);
        Ok(Some(reader.read))
    }

    async fn read_in_parts(&self, counters: bool) -> Result<Unsorted, Error> {
        let mut parts = self.parts(counters).into_iter();
        let mut under_way = JoinSet::new();
        let mut reader = Reader { connection: self, read: Unsorted::default() };
        let mut large = Vec::new();
        loop {
            while under_way.len() < IN_FLIGHT
                && let Some((part, kind)) = parts.next()
            {
                let read = self.client.read_within(vec![kind.clone()], self.bound(part, SMALL));
                under_way.spawn(async move { (part, kind, read.await) });
            }
            let Some(done) = under_way.join_next().await else { break };
            // A task neither panics nor is aborted while we wait for it; a runtime that shuts down may do the latter.
            let Ok((part, kind, answer)) = done else {
                return Err(self.error(Problem::Client(ClientProblem::Disconnected {
                    reason: "the program is ending".into(),
                })));
            };
            match answer {
                Err(failure) if failure.is_too_long() => large.push((part, kind)),
                answer => reader.take(part, answer)?,
            }
        }
        // One by one: a message and what it decodes to are in memory together.
        for (part, kind) in large {
            let answer = self.client.read_within(vec![kind], self.bound(part, MAX_MESSAGE)).await;
            reader.take(part, answer)?;
        }
        let read = reader.read;
        self.at_once.store(read.count <= AT_ONCE && read.unreadable().is_empty(), Ordering::Relaxed);
        Ok(read)
    }

    /// How much a part may have, by the P4Info's sizes.
    fn bound(&self, part: Part, message: usize) -> Bound {
        let schema = self.pipeline.schema();
        let most = self.client.options().max_entries;
        let size = |size: usize| if size == 0 { most } else { size.saturating_mul(2).saturating_add(MORE) };
        let table = |table: &TableInfo| size(usize::try_from(table.size).unwrap_or_default());
        let cells = |meter: &MeterInfo| match meter.cells {
            Cells::Indexed(cells) => usize::try_from(cells).unwrap_or(most).saturating_add(MORE),
            Cells::Direct(_) => 0,
        };
        let meters = || schema.meters().iter().map(cells).fold(0, usize::saturating_add);
        let entities = match part {
            Part::Everything => {
                let tables = schema.tables().iter().map(table).fold(GROUPS, usize::saturating_add);
                tables.saturating_add(meters())
            }
            Part::Version => MORE,
            Part::Table(id) => schema.table(id).map_or(most, table),
            Part::Groups => GROUPS,
            Part::Meters => meters(),
        };
        let entities = entities.min(most);
        let bytes =
            entities.saturating_mul(ENTITY).saturating_add(SMALL).min(self.client.options().max_read_bytes);
        Bound { entities, bytes, message: message.min(bytes) }
    }

    /// Everything there is to ask.
    fn parts(&self, counters: bool) -> Vec<(Part, Kind)> {
        let schema = self.pipeline.schema();
        let version_table = self.pipeline.program.table(Table::PolicyVersion);
        let default =
            TableEntry { table_id: version_table, is_default_action: true, ..TableEntry::default() };
        let mut parts = vec![(Part::Version, Kind::TableEntry(default))];
        for table in schema.tables() {
            // A keyless table has a default entry and no other; const entries are the program's.
            if table.fields.is_empty() || table.is_const {
                continue;
            }
            let entry = TableEntry {
                table_id: table.id,
                counter_data: (counters && table.has_direct_counter()).then(CounterData::default),
                ..TableEntry::default()
            };
            parts.push((Part::Table(table.id), Kind::TableEntry(entry)));
        }
        let group = Replication::MulticastGroupEntry(MulticastGroupEntry::default());
        let group = PacketReplicationEngineEntry { r#type: Some(group) };
        parts.push((Part::Groups, Kind::PacketReplicationEngineEntry(group)));
        for meter in schema.meters() {
            if matches!(meter.cells, Cells::Indexed(_)) {
                let meter = MeterEntry { meter_id: meter.id, ..MeterEntry::default() };
                parts.push((Part::Meters, Kind::MeterEntry(meter)));
            }
        }
        parts
    }

    /// The entries of these tables as they are now, ours and others', by key. Entries that we cannot understand are
    /// left out.
    pub(crate) async fn read_tables(&self, tables: BTreeSet<u32>) -> Result<BTreeMap<Key, Entry>, Error> {
        let mut entries = BTreeMap::new();
        for table_id in tables {
            let all = TableEntry { table_id, ..TableEntry::default() };
            let bound = self.bound(Part::Table(table_id), MAX_MESSAGE);
            let answer = self.client.read_within(vec![Kind::TableEntry(all)], bound).await;
            for entity in answer.map_err(|failure| self.read_error(failure))? {
                if let Some(Kind::TableEntry(entry)) = entity.entity
                    && let Ok(entry) = self.pipeline.schema().entry_from_proto(&entry)
                {
                    entries.insert(entry.key.clone(), entry);
                }
            }
        }
        Ok(entries)
    }

    /// Entries with their counters: each question is of one, or of a table's where it has no matches.
    pub(crate) async fn read_counters(&self, entries: Vec<Kind>) -> Result<Vec<Entity>, Error> {
        let bound = self.bound(Part::Everything, MAX_MESSAGE);
        self.client.read_within(entries, bound).await.map_err(|failure| self.read_error(failure))
    }

    /// Cells of arrays, one for each question.
    pub(crate) async fn read_cells(&self, cells: Vec<Kind>) -> Result<Vec<Entity>, ReadFailure> {
        let entities = cells.len().saturating_add(MORE);
        let bytes = entities.saturating_mul(ENTITY).saturating_add(SMALL);
        let bound = Bound { entities, bytes, message: SMALL };
        self.client.read_within(cells, bound).await
    }

    pub(crate) fn read_error(&self, failure: ReadFailure) -> Error {
        self.client.read_error(failure).into()
    }
}

/// What has been read, while it is not known which multicast groups are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsorted {
    /// All but the groups.
    installed: Installed,
    /// Those that are not in `installed` yet, in the switch's order.
    entries: Vec<Entry>,
    groups: Vec<MulticastGroupEntry>,
    groups_unreadable: bool,
    meters_unreadable: bool,
    /// Entries of any owner.
    count: usize,
    elapsed: Duration,
}

impl Unsorted {
    /// What was read, without groups.
    pub(crate) fn installed(&self) -> &Installed {
        &self.installed
    }

    fn unreadable(&self) -> Vec<&'static str> {
        let unreadable = [("multicast groups", self.groups_unreadable), ("meters", self.meters_unreadable)];
        unreadable.into_iter().filter(|&(_, is)| is).map(|(what, _)| what).collect()
    }
}

/// Puts answers together.
struct Reader<'a> {
    connection: &'a Connection,
    read: Unsorted,
}

impl Reader<'_> {
    fn take(&mut self, part: Part, answer: Result<Vec<Entity>, ReadFailure>) -> Result<(), Error> {
        let entities = match answer {
            Ok(entities) => entities,
            Err(ReadFailure::Status(status))
                if status.code() == Code::Unimplemented && part == Part::Groups =>
            {
                self.read.groups_unreadable = true;
                return Ok(());
            }
            Err(ReadFailure::Status(status))
                if status.code() == Code::Unimplemented && part == Part::Meters =>
            {
                self.read.meters_unreadable = true;
                return Ok(());
            }
            Err(failure) => return Err(self.connection.read_error(failure)),
        };
        self.read.count += entities.len();
        let most = self.connection.client.options().max_entries;
        if self.read.count > most {
            return Err(self.connection.read_error(ReadFailure::TooMany(most)));
        }
        let version_table = self.connection.pipeline.program.table(Table::PolicyVersion);
        for entity in entities {
            match (part, entity.entity) {
                (Part::Everything, Some(Kind::TableEntry(entry))) if entry.table_id == version_table => {
                    self.version(&entry)?;
                }
                (Part::Everything, Some(Kind::TableEntry(entry))) => self.entry(entry.table_id, &entry)?,
                (Part::Version, Some(Kind::TableEntry(entry))) => self.version(&entry)?,
                (Part::Table(table), Some(Kind::TableEntry(entry))) => self.entry(table, &entry)?,
                (
                    Part::Groups | Part::Everything,
                    Some(Kind::PacketReplicationEngineEntry(PacketReplicationEngineEntry {
                        r#type: Some(Replication::MulticastGroupEntry(group)),
                    })),
                ) => self.read.groups.push(group),
                (Part::Meters | Part::Everything, Some(Kind::MeterEntry(meter))) => self.meter(&meter)?,
                // What was not asked for.
                _ => {}
            }
        }
        Ok(())
    }

    fn version(&mut self, entry: &TableEntry) -> Result<(), Error> {
        let schema = self.connection.pipeline.schema();
        if !entry.is_default_action {
            return Ok(());
        }
        let wrong = |source| {
            self.connection.error(Problem::Client(ClientProblem::Entity { what: "a policy version", source }))
        };
        let entry = schema.default_entry_from_proto(entry).map_err(wrong)?;
        // Without an action it is the program's own default, version 0.
        self.read.installed.version = self.connection.pipeline.program.version_of(&entry).unwrap_or(0);
        Ok(())
    }

    fn entry(&mut self, table: u32, entry: &TableEntry) -> Result<(), Error> {
        // Some servers add the default entry to a read of all entries; it is not one of them.
        if entry.is_default_action {
            return Ok(());
        }
        let schema = self.connection.pipeline.schema();
        if Origin::decode(&entry.metadata).is_none() {
            *self.read.installed.foreign.entry(table).or_default() += 1;
            // What has no key as a value (another kind of action is no matter) cannot be in the way of ours.
            self.read.installed.foreign_keys.extend(schema.key_from_proto(entry));
            self.read.installed.foreign_entries.extend(schema.entry_from_proto(entry));
            return Ok(());
        }
        let wrong = |source| {
            self.connection.error(Problem::Client(ClientProblem::Entity { what: "an entry of ours", source }))
        };
        let value = schema.entry_from_proto(entry).map_err(wrong)?;
        if let Some(counter) = entry.counter_data {
            self.read.installed.counters.insert(value.key.clone(), counter.into());
        }
        self.read.entries.push(value);
        Ok(())
    }

    fn meter(&mut self, meter: &MeterEntry) -> Result<(), Error> {
        // BMv2 says -1 in every field where the standard says nothing.
        let limits_nothing = meter
            .config
            .is_none_or(|config| config.cir < 0 && config.cburst < 0 && config.pir < 0 && config.pburst < 0);
        if limits_nothing {
            return Ok(());
        }
        let wrong = |source| {
            self.connection.error(Problem::Client(ClientProblem::Entity { what: "a meter cell", source }))
        };
        let cell = self.connection.pipeline.schema().meter_cell_from_proto(meter).map_err(wrong)?;
        self.read.installed.meters.extend(cell);
        Ok(())
    }

    fn finish(mut self, desired: &Desired) -> Result<Installed, Error> {
        self.read.installed.foreign_keys.sort_unstable();
        self.read.installed.foreign_entries.sort_unstable();
        self.read.installed.meters.sort_unstable();
        // What our flood entries send to is ours.
        let program = &self.connection.pipeline.program;
        let used: BTreeSet<u32> = self
            .read
            .installed
            .entries
            .iter()
            .filter(|entry| program.action_of(entry.action.id) == Some(ActionKind::FloodTo))
            .filter_map(|entry| u32::try_from(program.argument(&entry.action, 0)?).ok())
            .filter(|&group| group != 0)
            .collect();
        if self.read.groups_unreadable {
            // Known by their ids alone, so that they are written anew, or deleted.
            self.read.installed.groups =
                used.iter().map(|&id| MulticastGroup { id, ports: Vec::new() }).collect();
        }
        for group in std::mem::take(&mut self.read.groups) {
            let wanted = desired.groups.iter().any(|wanted| wanted.id == group.multicast_group_id);
            if let Some(ours) = self.our_group(&group, wanted, &used)? {
                self.read.installed.groups.push(ours);
            } else {
                let theirs = self.connection.pipeline.schema().multicast_group_from_proto(&group);
                self.read.installed.foreign_groups.extend(theirs);
            }
        }
        self.read.installed.groups.sort_unstable();
        Ok(self.read.installed)
    }

    /// A group as value, if it is ours.
    fn our_group(
        &self,
        group: &MulticastGroupEntry,
        wanted: bool,
        used: &BTreeSet<u32>,
    ) -> Result<Option<MulticastGroup>, Error> {
        let id = group.multicast_group_id;
        let marked = group.metadata.starts_with(origin::PREFIX);
        if !group.metadata.is_empty() && !marked {
            let in_the_way = || self.connection.error(Problem::ForeignGroup { group: id });
            return if wanted { Err(in_the_way()) } else { Ok(None) };
        }
        if !marked && !wanted && !used.contains(&id) {
            return Ok(None);
        }
        let value = self.connection.pipeline.schema().multicast_group_from_proto(group);
        // A group of ours that nobody could have written so (a port twice) is written anew.
        Ok(Some(value.unwrap_or(MulticastGroup { id, ports: Vec::new() })))
    }
}

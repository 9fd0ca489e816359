//! Writes of table entries and of their direct counters and meters: the standard's section 9.1.

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::{MeterInfo, TableInfo};
use proto::update::Type;

use super::direct::{Counted, Direct, MeterConfig};
use super::forwarding::{Forwarding, default_entry, new_direct};
use super::refusal::{Outcome, Refusal};
use super::table::{Entry, Matches, Table};
use super::write::Journal;
use super::{arrays, wire};

/// What a table entry says about direct resources, checked against the table.
struct DirectWrite {
    /// The meter's configuration, in tables that have one: unset means the default.
    meter: Option<MeterConfig>,
    /// Set the counter to this.
    counter: Option<Counted>,
    /// Set the meter's counters to zero.
    clear_marked: bool,
}

impl Forwarding {
    /// What the P4Info says about a table; `INVALID_ARGUMENT` if there is none of that id.
    pub(crate) fn table_info(&self, id: u32) -> Outcome<&TableInfo> {
        let info = self.pipeline.schema().table(id);
        info.ok_or_else(|| Refusal::invalid(format!("there is no table with id {id}")))
    }

    pub(crate) fn table_mut(&mut self, id: u32) -> Outcome<&mut Table> {
        self.tables.get_mut(&id).ok_or_else(|| Refusal::invalid(format!("there is no table with id {id}")))
    }

    /// Inserts, modifies or deletes a table entry.
    pub(crate) fn write_entry(
        &mut self,
        kind: Type,
        entry: &proto::TableEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let pipeline = self.pipeline.clone();
        let Some(info) = pipeline.schema().table(entry.table_id) else {
            return Err(Refusal::invalid(format!("there is no table with id {}", entry.table_id)));
        };
        self.write_entry_of(info, kind, entry, journal).map_err(|refusal| refusal.within(&info.alias))
    }

    fn write_entry_of(
        &mut self,
        info: &TableInfo,
        kind: Type,
        entry: &proto::TableEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        if entry.is_const {
            return Err(Refusal::invalid("is_const is the program's to set, not the client's"));
        }
        if entry.is_default_action {
            return self.write_default(info, kind, entry, journal);
        }
        if info.is_const && (kind != Type::Modify || entry.action.is_some()) {
            return Err(Refusal::denied(
                "the table's entries are constant; only direct resources can be modified",
            ));
        }
        let (matches, priority) = key(info, entry)?;
        match kind {
            Type::Insert => self.insert_entry(info, matches, priority, entry, journal),
            Type::Modify => self.modify_entry(info, &matches, priority, entry, journal),
            Type::Delete => self.delete_entry(info, &matches, priority, journal),
            Type::Unspecified => Err(Refusal::invalid("the update says neither INSERT, MODIFY nor DELETE")),
        }
    }

    fn insert_entry(
        &mut self,
        info: &TableInfo,
        matches: Matches,
        priority: i32,
        entry: &proto::TableEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let action = entry.action.as_ref().ok_or_else(|| Refusal::invalid("an entry needs an action"))?;
        let action = self.entry_action(info, action)?;
        check_idle(info, entry)?;
        let direct = direct_write(self, info, entry)?;
        let size = self.pipeline.table_size(info);
        let table = self.table_mut(info.id)?;
        if table.get(&matches, priority).is_some() {
            return Err(Refusal::exists("an entry with these matches and this priority exists"));
        }
        if table.len() >= size {
            return Err(Refusal::exhausted(format!("the table is full: it holds {size} entries")));
        }
        let new = Entry {
            handle: self.handles + 1,
            matches,
            priority,
            action,
            metadata: entry.metadata.as_slice().into(),
            controller_metadata: entry.controller_metadata,
            idle_timeout_ns: entry.idle_timeout_ns,
            direct: Arc::new(new_direct(info.direct_meter.is_some(), info.idle_timeout)),
        };
        self.budget.check(new.cost(), 0)?;
        self.use_action(info, &new.action, None)?;
        self.handles += 1;
        self.budget.replace(new.cost(), 0);
        direct.apply(&new.direct);
        let (table, matches) = (info.id, new.matches.clone());
        self.table_mut(table)?.put(new);
        journal.note(move |state| state.take_out(table, &matches, priority));
        Ok(())
    }

    fn modify_entry(
        &mut self,
        info: &TableInfo,
        matches: &Matches,
        priority: i32,
        entry: &proto::TableEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let action = entry.action.as_ref().map(|action| self.entry_action(info, action)).transpose()?;
        check_idle(info, entry)?;
        let direct = direct_write(self, info, entry)?;
        let old = self.table_mut(info.id)?.get(matches, priority).cloned();
        let old =
            old.ok_or_else(|| Refusal::not_found("there is no entry with these matches and this priority"))?;
        if let Some(action) = action {
            let new = Entry {
                handle: old.handle,
                matches: old.matches.clone(),
                priority,
                action,
                metadata: entry.metadata.as_slice().into(),
                controller_metadata: entry.controller_metadata,
                idle_timeout_ns: entry.idle_timeout_ns,
                direct: old.direct.clone(),
            };
            self.budget.check(new.cost(), old.cost())?;
            self.use_action(info, &new.action, Some(&old.action))?;
            self.budget.replace(new.cost(), old.cost());
            self.table_mut(info.id)?.put(new);
            let (table, old) = (info.id, old.clone());
            journal.note(move |state| state.put_back(table, old));
        }
        direct.apply_noted(&old.direct, journal);
        Ok(())
    }

    fn delete_entry(
        &mut self,
        info: &TableInfo,
        matches: &Matches,
        priority: i32,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let removed = self.table_mut(info.id)?.remove(matches, priority);
        let removed = removed
            .ok_or_else(|| Refusal::not_found("there is no entry with these matches and this priority"))?;
        self.release_action(info, &removed.action);
        self.budget.replace(0, removed.cost());
        let table = info.id;
        journal.note(move |state| state.put_back(table, removed));
        Ok(())
    }

    /// Undoes an insertion.
    fn take_out(&mut self, table: u32, matches: &Matches, priority: i32) {
        let pipeline = self.pipeline.clone();
        let removed = self.tables.get_mut(&table).and_then(|table| table.remove(matches, priority));
        if let (Some(removed), Some(info)) = (removed, pipeline.schema().table(table)) {
            self.release_action(info, &removed.action);
            self.budget.replace(0, removed.cost());
        }
    }

    /// Undoes a modification or deletion.
    fn put_back(&mut self, table: u32, entry: Arc<Entry>) {
        let pipeline = self.pipeline.clone();
        let Some(info) = pipeline.schema().table(table) else { return };
        self.keep_action(info, &entry.action);
        let bytes = entry.cost();
        let replaced = self.tables.get_mut(&table).and_then(|table| table.place(entry));
        if let Some(replaced) = &replaced {
            self.release_action(info, &replaced.action);
        }
        self.budget.replace(bytes, replaced.map_or(0, |replaced| replaced.cost()));
    }

    fn write_default(
        &mut self,
        info: &TableInfo,
        kind: Type,
        entry: &proto::TableEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        if kind != Type::Modify {
            return Err(Refusal::invalid(
                "the default entry is always there: it can be modified and nothing else",
            ));
        }
        check_default_key(entry)?;
        if entry.idle_timeout_ns != 0 || entry.time_since_last_hit.is_some() {
            return Err(Refusal::invalid("the default entry has no idle timeout"));
        }
        if info.const_default_action.is_some() || info.implementation.is_some() {
            return Err(Refusal::denied("the default entry is constant"));
        }
        let action = entry.action.as_ref().map(|action| self.default_action(info, action)).transpose()?;
        let direct = direct_write(self, info, entry)?;
        let old = self.table_mut(info.id)?.default_entry().clone();
        let mut new = default_entry(&self.pipeline, info);
        new.direct = old.direct.clone();
        let reset = action.is_none();
        if let Some(action) = action {
            new.action = action;
            new.metadata = entry.metadata.as_slice().into();
            new.controller_metadata = entry.controller_metadata;
        }
        self.budget.check(new.cost(), old.cost())?;
        self.budget.replace(new.cost(), old.cost());
        self.table_mut(info.id)?.set_default_entry(Arc::new(new));
        let (table, previous) = (info.id, old.clone());
        journal.note(move |state| {
            if let Some(table) = state.tables.get_mut(&table) {
                let bytes = previous.cost();
                let replaced = table.set_default_entry(previous);
                state.budget.replace(bytes, replaced.cost());
            }
        });
        let direct =
            if reset { DirectWrite { meter: None, counter: None, clear_marked: false } } else { direct };
        direct.apply_noted(&old.direct, journal);
        Ok(())
    }

    /// The entry that a direct counter or meter entry names: by its matches and priority, or the default entry.
    pub(crate) fn named_entry(&self, info: &TableInfo, entry: &proto::TableEntry) -> Outcome<&Arc<Entry>> {
        let table = self.tables.get(&info.id);
        let table =
            table.ok_or_else(|| Refusal::invalid(format!("there is no table with id {}", info.id)))?;
        if entry.is_default_action {
            check_default_key(entry)?;
            return Ok(table.default_entry());
        }
        let (matches, priority) = key(info, entry)?;
        let found = table.get(&matches, priority);
        found.ok_or_else(|| Refusal::not_found("there is no entry with these matches and this priority"))
    }

    /// The table and entry of a direct resource that is to be modified.
    fn direct_of(&self, kind: Type, entry: Option<&proto::TableEntry>) -> Outcome<(&TableInfo, &Arc<Entry>)> {
        if kind != Type::Modify {
            return Err(Refusal::invalid(
                "direct counters and meters come and go with their entry: MODIFY only",
            ));
        }
        let entry = entry.ok_or_else(|| Refusal::invalid("the table entry is missing"))?;
        let info = self.table_info(entry.table_id)?;
        let found = self.named_entry(info, entry).map_err(|refusal| refusal.within(&info.alias))?;
        Ok((info, found))
    }

    /// Writes a direct counter.
    pub(crate) fn write_direct_counter(
        &mut self,
        kind: Type,
        write: &proto::DirectCounterEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let (info, entry) = self.direct_of(kind, write.table_entry.as_ref())?;
        if info.direct_counter.is_none() {
            return Err(Refusal::invalid(format!("table {} has no direct counter", info.alias)));
        }
        let counter = write.data.as_ref().map(arrays::counted).transpose()?;
        DirectWrite { meter: None, counter, clear_marked: false }.apply_counter(&entry.direct, journal);
        Ok(())
    }

    /// Writes a direct meter.
    pub(crate) fn write_direct_meter(
        &mut self,
        kind: Type,
        write: &proto::DirectMeterEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        let (info, entry) = self.direct_of(kind, write.table_entry.as_ref())?;
        let meter = self.direct_meter(info)?;
        let config = write.config.as_ref().map(|config| arrays::meter_config(meter, config)).transpose()?;
        let clear_marked = write.counter_data.as_ref().map(arrays::check_cleared).transpose()?.is_some();
        DirectWrite { meter: config, counter: None, clear_marked }.apply_noted(&entry.direct, journal);
        Ok(())
    }

    pub(crate) fn direct_meter(&self, info: &TableInfo) -> Outcome<&MeterInfo> {
        let meter = info.direct_meter.and_then(|id| self.pipeline.schema().meter(id));
        meter.ok_or_else(|| Refusal::invalid(format!("table {} has no direct meter", info.alias)))
    }
}

/// The key of an entry that is not the default one.
pub(crate) fn key(info: &TableInfo, entry: &proto::TableEntry) -> Outcome<(Matches, i32)> {
    if info.fields.is_empty() {
        return Err(Refusal::invalid("the table has no key: it has a default entry and no other"));
    }
    let matches = wire::matches(&info.fields, &entry.r#match)?;
    if info.needs_priority() && entry.priority <= 0 {
        return Err(Refusal::invalid(
            "the table has ternary, range or optional fields: the priority must be above 0",
        ));
    }
    if !info.needs_priority() && entry.priority != 0 {
        return Err(Refusal::invalid("the table has only exact and LPM fields: the priority must be 0"));
    }
    Ok((matches, entry.priority))
}

pub(crate) fn check_default_key(entry: &proto::TableEntry) -> Outcome<()> {
    if entry.r#match.is_empty() && entry.priority == 0 {
        return Ok(());
    }
    Err(Refusal::invalid("the default entry has neither matches nor a priority"))
}

fn check_idle(info: &TableInfo, entry: &proto::TableEntry) -> Outcome<()> {
    if entry.time_since_last_hit.is_some() {
        return Err(Refusal::invalid("time_since_last_hit can be read and not written"));
    }
    if entry.idle_timeout_ns < 0 {
        return Err(Refusal::invalid("idle_timeout_ns is negative"));
    }
    if entry.idle_timeout_ns != 0 && !info.idle_timeout {
        return Err(Refusal::invalid("the table has no idle timeouts: idle_timeout_ns must be 0"));
    }
    Ok(())
}

fn direct_write(state: &Forwarding, info: &TableInfo, entry: &proto::TableEntry) -> Outcome<DirectWrite> {
    let meter = match &entry.meter_config {
        Some(config) => Some(arrays::meter_config(state.direct_meter(info)?, config)?),
        None => None,
    };
    if entry.counter_data.is_some() && info.direct_counter.is_none() {
        return Err(Refusal::invalid("counter_data, but the table has no direct counter"));
    }
    let counter = entry.counter_data.as_ref().map(arrays::counted).transpose()?;
    if entry.meter_counter_data.is_some() && info.direct_meter.is_none() {
        return Err(Refusal::invalid("meter_counter_data, but the table has no direct meter"));
    }
    let clear_marked = entry.meter_counter_data.as_ref().map(arrays::check_cleared).transpose()?.is_some();
    Ok(DirectWrite { meter, counter, clear_marked })
}

impl DirectWrite {
    /// For an entry that no packet has seen.
    fn apply(&self, direct: &Direct) {
        if let Some(cell) = &direct.meter {
            cell.set_config(self.meter);
        }
        if let Some(counter) = self.counter {
            direct.counter.set(counter);
        }
    }

    fn apply_noted(&self, direct: &Arc<Direct>, journal: &mut Journal) {
        if let Some(cell) = &direct.meter {
            let config = cell.set_config(self.meter);
            let marked = self.clear_marked.then(|| cell.set_marked([Counted::default(); 3]));
            let direct = direct.clone();
            journal.note(move |_| {
                if let Some(cell) = &direct.meter {
                    cell.set_config(config);
                    if let Some(marked) = marked {
                        cell.set_marked(marked);
                    }
                }
            });
        }
        self.apply_counter(direct, journal);
    }

    fn apply_counter(&self, direct: &Arc<Direct>, journal: &mut Journal) {
        if let Some(counter) = self.counter {
            let old = direct.counter.set(counter);
            let direct = direct.clone();
            journal.note(move |_| {
                direct.counter.set(old);
            });
        }
    }
}

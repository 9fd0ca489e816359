//! Entries, counters and meters by names.

use std::collections::BTreeMap;

use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Counter, Entry, MeterCell};
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{
    CounterData, CounterEntry, DirectMeterEntry, Index, MeterConfig, MeterEntry, TableEntry,
};
use outplane_p4runtime::schema::{Cells, MeterInfo, TableInfo};

use crate::connection::Connection;
use crate::errors::{Error, Problem};
use crate::write::update;

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundEntry {
    /// The entry.
    pub entry: Entry,
    /// What it has counted, where its table has a direct counter.
    pub counter: Option<Counter>,
    /// How it is metered, where its table has a direct meter and it was set; none: everything is green.
    pub meter: Option<Meter>,
}

/// A two-rate three-colour marker (RFC 2698); units are the meter's (packets or bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Committed information rate, units a second.
    pub cir: i64,
    /// Committed burst, units.
    pub cburst: i64,
    /// Peak information rate, units a second, at least `cir`.
    pub pir: i64,
    /// Peak burst, units.
    pub pburst: i64,
}

impl From<Meter> for MeterConfig {
    fn from(Meter { cir, cburst, pir, pburst }: Meter) -> Self {
        Self { cir, cburst, pir, pburst, eburst: 0 }
    }
}

impl Meter {
    /// None for one that limits nothing: BMv2 says -1 in every field where the standard says nothing.
    fn of_wire(config: Option<MeterConfig>) -> Option<Self> {
        let MeterConfig { cir, cburst, pir, pburst, .. } = config?;
        let limits = [cir, cburst, pir, pburst].iter().any(|&value| value >= 0);
        limits.then_some(Self { cir, cburst, pir, pburst })
    }
}

impl Connection {
    /// The entries of a table, by full name or alias, with what they count and how they are metered. Default entries are
    /// not among them.
    ///
    /// # Errors
    /// [`Problem::Unknown`] for a table that the program does not have; [`Problem::Entity`] for an entry that has no form
    /// as a value; and as for [`Connection::read`].
    pub async fn entries(&self, schema: &Schema, table: &str) -> Result<Vec<FoundEntry>, Error> {
        let info = self.table(schema, table)?;
        let asked = TableEntry {
            table_id: info.id,
            counter_data: info.direct_counter.map(|_| CounterData::default()),
            ..TableEntry::default()
        };
        let mut found = Vec::new();
        for entity in self.read(vec![Kind::TableEntry(asked)]).await? {
            let Some(Kind::TableEntry(entry)) = entity.entity else { continue };
            // Some servers add the default entry to a read of all entries; it is not one of them.
            if entry.table_id != info.id || entry.is_default_action {
                continue;
            }
            let wrong = |source| self.error(Problem::Entity { what: "an entry", source });
            let value = schema.entry_from_proto(&entry).map_err(wrong)?;
            let counter = entry.counter_data.map(Counter::from);
            found.push(FoundEntry { entry: value, counter, meter: Meter::of_wire(entry.meter_config) });
        }
        if info.direct_meter.is_some() {
            let mut meters = self.direct_meters(schema, info).await?;
            for entry in &mut found {
                entry.meter = meters.remove(&entry.entry.key).or(entry.meter);
            }
        }
        Ok(found)
    }

    async fn direct_meters(
        &self,
        schema: &Schema,
        info: &TableInfo,
    ) -> Result<BTreeMap<outplane_p4runtime::entry::Key, Meter>, Error> {
        let all = TableEntry { table_id: info.id, ..TableEntry::default() };
        let asked = DirectMeterEntry { table_entry: Some(all), ..DirectMeterEntry::default() };
        let mut meters = BTreeMap::new();
        for entity in self.read(vec![Kind::DirectMeterEntry(asked)]).await? {
            let Some(Kind::DirectMeterEntry(entry)) = entity.entity else { continue };
            let Some(of) = entry.table_entry.filter(|of| !of.is_default_action) else { continue };
            let wrong = |source| self.error(Problem::Entity { what: "a direct meter", source });
            let key = schema.key_from_proto(&of).map_err(wrong)?;
            meters.extend(Meter::of_wire(entry.config).map(|meter| (key, meter)));
        }
        Ok(meters)
    }

    /// Meters an entry by its table's direct meter; none: everything is green again.
    ///
    /// # Errors
    /// As for [`Connection::write`].
    pub async fn set_direct_meter(
        &self,
        schema: &Schema,
        entry: &Entry,
        meter: Option<Meter>,
    ) -> Result<(), Error> {
        let table_entry = Some(schema.key_to_proto(&entry.key));
        let config = meter.map(Into::into);
        let kind = Kind::DirectMeterEntry(DirectMeterEntry { table_entry, config, counter_data: None });
        let entity = outplane_p4runtime::p4::v1::Entity { entity: Some(kind) };
        self.write(&[update(Type::Modify, entity)]).await
    }

    /// The cells of an indexed counter, by full name or alias: by their index; none: all of them.
    ///
    /// # Errors
    /// [`Problem::Unknown`] for a counter that the program does not have, or that is direct (its cells come with
    /// [`Connection::entries`]); and as for [`Connection::read`].
    pub async fn counter(
        &self,
        schema: &Schema,
        counter: &str,
        index: Option<i64>,
    ) -> Result<BTreeMap<i64, Counter>, Error> {
        let info = schema.counter_by_name(counter).filter(|info| matches!(info.cells, Cells::Indexed(_)));
        let info = info.ok_or_else(|| self.unknown("indexed counter", counter))?;
        let index = index.map(|index| Index { index });
        let asked = CounterEntry { counter_id: info.id, index, data: None };
        let mut cells = BTreeMap::new();
        for entity in self.read(vec![Kind::CounterEntry(asked)]).await? {
            if let Some(Kind::CounterEntry(CounterEntry { counter_id, index: Some(index), data })) =
                entity.entity
                && counter_id == info.id
            {
                cells.insert(index.index, Counter::from(data.unwrap_or_default()));
            }
        }
        Ok(cells)
    }

    /// The cells of an indexed meter, by full name or alias, that limit something, by their index.
    ///
    /// # Errors
    /// [`Problem::Unknown`] for a meter that the program does not have, or that is direct (its cells come with
    /// [`Connection::entries`]); and as for [`Connection::read`].
    pub async fn meter(&self, schema: &Schema, meter: &str) -> Result<BTreeMap<i64, Meter>, Error> {
        let info = self.indexed_meter(schema, meter)?;
        let asked = MeterEntry { meter_id: info.id, ..MeterEntry::default() };
        let mut cells = BTreeMap::new();
        for entity in self.read(vec![Kind::MeterEntry(asked)]).await? {
            if let Some(Kind::MeterEntry(MeterEntry { meter_id, index: Some(index), config, .. })) =
                entity.entity
                && meter_id == info.id
            {
                cells.extend(Meter::of_wire(config).map(|meter| (index.index, meter)));
            }
        }
        Ok(cells)
    }

    /// Sets a cell of an indexed meter; none: everything is green again.
    ///
    /// # Errors
    /// As for [`Connection::meter`] and [`Connection::write`].
    pub async fn set_meter(
        &self,
        schema: &Schema,
        meter: &str,
        index: i64,
        rates: Option<Meter>,
    ) -> Result<(), Error> {
        let meter = self.indexed_meter(schema, meter)?.id;
        let entry = match rates {
            Some(Meter { cir, cburst, pir, pburst }) => {
                schema.meter_cell_to_proto(&MeterCell { meter, index, cir, cburst, pir, pburst })
            }
            None => schema.meter_reset_to_proto(meter, index),
        };
        self.write(&[update(Type::Modify, entry)]).await
    }

    fn indexed_meter<'a>(&self, schema: &'a Schema, meter: &str) -> Result<&'a MeterInfo, Error> {
        let info = schema.meter_by_name(meter).filter(|info| matches!(info.cells, Cells::Indexed(_)));
        info.ok_or_else(|| self.unknown("indexed meter", meter))
    }

    fn table<'a>(&self, schema: &'a Schema, table: &str) -> Result<&'a TableInfo, Error> {
        schema.table_by_name(table).ok_or_else(|| self.unknown("table", table))
    }

    fn unknown(&self, what: &'static str, name: &str) -> Error {
        self.error(Problem::Unknown { what, name: name.to_owned() })
    }
}

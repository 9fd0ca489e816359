//! Writes of indexed counters, meters and registers: the standard's sections 9.3, 9.4 and 9.7.

use std::sync::Arc;

use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::{MeterInfo, MeterKind};
use proto::update::Type;

use super::direct::{Counted, Counter, MeterCell, MeterConfig};
use super::forwarding::Forwarding;
use super::refusal::{Outcome, Refusal};
use super::register;
use super::write::Journal;

/// A counter's value from the wire.
pub(crate) fn counted(data: &proto::CounterData) -> Outcome<Counted> {
    let number =
        |value: i64| u64::try_from(value).map_err(|_| Refusal::invalid("a counter value is negative"));
    Ok(Counted { packets: number(data.packet_count)?, bytes: number(data.byte_count)? })
}

/// A counter's value to the wire.
pub(crate) fn counter_data(counted: Counted) -> proto::CounterData {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    proto::CounterData { byte_count: number(counted.bytes), packet_count: number(counted.packets) }
}

/// A meter's counters can be cleared, and not written otherwise.
pub(crate) fn check_cleared(data: &proto::MeterCounterData) -> Outcome<()> {
    let zero = proto::CounterData::default();
    let colors = [&data.green, &data.yellow, &data.red];
    if colors.into_iter().flatten().all(|color| *color == zero) {
        return Ok(());
    }
    Err(Refusal::invalid("the counters of a meter can only be set to zero"))
}

/// A meter's counters to the wire.
pub(crate) fn meter_counter_data([green, yellow, red]: [Counted; 3]) -> proto::MeterCounterData {
    let data = |counted| Some(counter_data(counted));
    proto::MeterCounterData { green: data(green), yellow: data(yellow), red: data(red) }
}

/// A meter's configuration from the wire: no negative rate, and what the meter's type allows.
pub(crate) fn meter_config(meter: &MeterInfo, config: &proto::MeterConfig) -> Outcome<MeterConfig> {
    let invalid = |message: &str| Refusal::invalid(format!("meter {}: {message}", meter.alias));
    let number = |value: i64| u64::try_from(value).map_err(|_| invalid("a rate or burst is negative"));
    let config = MeterConfig {
        cir: number(config.cir)?,
        cburst: number(config.cburst)?,
        pir: number(config.pir)?,
        pburst: number(config.pburst)?,
        eburst: number(config.eburst)?,
    };
    let single_rate = config.pir == config.cir && config.pburst == config.cburst;
    match meter.kind {
        MeterKind::TwoRateThreeColor if config.eburst != 0 => {
            Err(invalid("a two-rate meter has no excess burst"))
        }
        MeterKind::TwoRateThreeColor if config.pir < config.cir => {
            Err(invalid("the peak rate is below the committed rate"))
        }
        MeterKind::SingleRateThreeColor if !single_rate => {
            Err(invalid("a single-rate meter has the peak rate and burst equal to the committed ones"))
        }
        MeterKind::SingleRateTwoColor if !single_rate || config.eburst != 0 => {
            Err(invalid("a single-rate two-color meter has one rate, one burst, and no excess burst"))
        }
        _ => Ok(config),
    }
}

/// A meter's configuration to the wire.
pub(crate) fn meter_config_to_proto(config: MeterConfig) -> proto::MeterConfig {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    proto::MeterConfig {
        cir: number(config.cir),
        cburst: number(config.cburst),
        pir: number(config.pir),
        pburst: number(config.pburst),
        eburst: number(config.eburst),
    }
}

/// The cells that an index means: one, or all if there is none.
pub(crate) fn cells(size: usize, index: Option<&proto::Index>) -> Outcome<std::ops::Range<usize>> {
    let Some(proto::Index { index }) = index else { return Ok(0..size) };
    let index = *index;
    if index < 0 {
        return Err(Refusal::invalid(format!("index {index} is negative")));
    }
    let found = usize::try_from(index).ok().filter(|index| *index < size).map(|index| index..index + 1);
    found.ok_or_else(|| Refusal::out_of_range(format!("index {index}, but the size is {size}")))
}

fn modify_only(kind: Type, what: &str) -> Outcome<()> {
    if kind == Type::Modify {
        return Ok(());
    }
    Err(Refusal::invalid(format!("{what} are always there: they can be modified and nothing else")))
}

impl Forwarding {
    /// The cells of an indexed counter; `INVALID_ARGUMENT` if there is none of that id.
    pub(crate) fn indexed_counter(&self, id: u32) -> Outcome<&Arc<[Counter]>> {
        self.counters
            .get(&id)
            .ok_or_else(|| Refusal::invalid(format!("there is no indexed counter with id {id}")))
    }

    /// An indexed meter and its cells; `INVALID_ARGUMENT` if there is none of that id.
    pub(crate) fn indexed_meter(&self, id: u32) -> Outcome<(&MeterInfo, &Arc<[MeterCell]>)> {
        let meter = self.pipeline.schema().meter(id).zip(self.meters.get(&id));
        meter.ok_or_else(|| Refusal::invalid(format!("there is no indexed meter with id {id}")))
    }

    /// How many cells a register has; `INVALID_ARGUMENT` if there is none of that id.
    pub(crate) fn register_size(&self, id: u32) -> Outcome<usize> {
        let info = self.pipeline.schema().register(id);
        let info = info.ok_or_else(|| Refusal::invalid(format!("there is no register with id {id}")))?;
        Ok(usize::try_from(info.size).unwrap_or(usize::MAX))
    }

    /// Writes cells of an indexed counter.
    pub(crate) fn write_counter(
        &mut self,
        kind: Type,
        entry: &proto::CounterEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        modify_only(kind, "counters")?;
        let counter = self.indexed_counter(entry.counter_id)?;
        let cells = cells(counter.len(), entry.index.as_ref())?;
        if let Some(value) = entry.data.as_ref().map(counted).transpose()? {
            let old: Vec<Counted> = counter[cells.clone()].iter().map(|cell| cell.set(value)).collect();
            let counter = counter.clone();
            journal.note(move |_| {
                for (cell, old) in counter[cells].iter().zip(old) {
                    cell.set(old);
                }
            });
        }
        Ok(())
    }

    /// Configures cells of an indexed meter.
    pub(crate) fn write_meter(
        &mut self,
        kind: Type,
        entry: &proto::MeterEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        modify_only(kind, "meters")?;
        let (info, meter) = self.indexed_meter(entry.meter_id)?;
        let cells = cells(meter.len(), entry.index.as_ref())?;
        let config = entry.config.as_ref().map(|config| meter_config(info, config)).transpose()?;
        let clear = entry.counter_data.as_ref().map(check_cleared).transpose()?.is_some();
        let write = |cell: &MeterCell| {
            (cell.set_config(config), clear.then(|| cell.set_marked([Counted::default(); 3])))
        };
        let old: Vec<_> = meter[cells.clone()].iter().map(write).collect();
        let meter = meter.clone();
        journal.note(move |_| {
            for (cell, (config, marked)) in meter[cells].iter().zip(old) {
                cell.set_config(config);
                if let Some(marked) = marked {
                    cell.set_marked(marked);
                }
            }
        });
        Ok(())
    }

    /// Writes cells of a register.
    pub(crate) fn write_register(
        &mut self,
        kind: Type,
        entry: &proto::RegisterEntry,
        journal: &mut Journal,
    ) -> Outcome<()> {
        modify_only(kind, "registers")?;
        let pipeline = self.pipeline.clone();
        let id = entry.register_id;
        let cells = cells(self.register_size(id)?, entry.index.as_ref())?;
        let data = entry.data.as_ref().ok_or_else(|| Refusal::invalid("the data is missing"))?;
        let (spec, types) = pipeline.register_type(id);
        let data =
            register::check(data, &spec, types).map_err(|refusal| Refusal::invalid(refusal.message))?;
        let bytes = register::cost(&data).saturating_mul(cells.len());
        let register = self.registers.entry(id).or_default();
        let instead: usize = register.cells.range(cells.clone()).map(|(_, cell)| register::cost(cell)).sum();
        self.budget.check(bytes, instead)?;
        self.budget.replace(bytes, instead);
        let data = Arc::new(data);
        let old: Vec<_> = cells.clone().map(|cell| register.cells.insert(cell, data.clone())).collect();
        journal.note(move |state| {
            let register = state.registers.entry(id).or_default();
            for (cell, old) in cells.zip(old) {
                match old {
                    Some(old) => register.cells.insert(cell, old),
                    None => register.cells.remove(&cell),
                };
            }
            state.budget.replace(instead, bytes);
        });
        Ok(())
    }
}

//! What a switch has dropped, as its program counts it.

use std::collections::{BTreeMap, BTreeSet};

use outplane_compiler::program::{ActionKind, DropCounter, Field, Program, Table};
use outplane_compiler::state::Installed;
use outplane_p4::Dropped;
use outplane_p4runtime::entry::{Counter, Entry, Match};
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::{CounterEntry, Index};
use outplane_p4runtime_client::ReadFailure;
use tonic::Code;

use crate::connection::Connection;
use crate::errors::Error;

/// Frames that a switch has dropped since its program was pushed (or it was started). A frame is counted once in
/// `reasons`, and again in those of the others that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// By reason, by the names of [`Dropped`]; all of them.
    pub reasons: BTreeMap<&'static str, Counter>,
    /// By the id of the segment that the frame entered in, 0 for none: those that the parser let through and that a policy
    /// has judged. Segments that have dropped nothing are left out.
    pub segments: BTreeMap<u16, Counter>,
    /// By the cell of the rate limiter: those above a rate. Cells that have dropped nothing are left out.
    pub limiters: BTreeMap<u16, Counter>,
    /// By where they entered: those whose source address may not enter there, since the entry was written.
    pub spoofed: BTreeMap<Guarded, Counter>,
}

/// Where an entry of the source guard denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guarded {
    /// The port; none: the address is that of a host on another port, or the whole segment is guarded.
    pub port: Option<u16>,
    /// The id of the segment, 0 for none. None: any in which no host is on the port.
    pub segment: Option<u16>,
}

impl Connection {
    /// Reads what the switch has dropped. `installed` is what it holds, read with counters: it says which cells there are
    /// to ask for. None: the switch lets nobody read indexed counters.
    ///
    /// # Errors
    /// What [`crate::Problem`] says of calls.
    pub async fn read_drops(&self, installed: &Installed) -> Result<Option<Drops>, Error> {
        let program = &self.pipeline().program;
        let mut drops = Drops { spoofed: spoofed(program, installed), ..Drops::default() };
        let cells: BTreeSet<(DropCounter, u16)> = (0..Dropped::ALL.len())
            .filter_map(|reason| Some((DropCounter::Drops, u16::try_from(reason).ok()?)))
            .chain(segments(program, installed).into_iter().map(|id| (DropCounter::SegmentDrops, id)))
            .chain(
                installed
                    .meters
                    .iter()
                    .filter_map(|cell| Some((DropCounter::LimiterDrops, u16::try_from(cell.index).ok()?))),
            )
            .collect();
        let asked = cells.iter().map(|(counter, index)| {
            let index = Some(Index { index: (*index).into() });
            Kind::CounterEntry(CounterEntry { counter_id: program.drop_counter(*counter), index, data: None })
        });
        let answer = match self.read_cells(asked.collect()).await {
            Ok(answer) => answer,
            Err(ReadFailure::Status(status)) if status.code() == Code::Unimplemented => return Ok(None),
            Err(failure) => return Err(self.read_error(failure)),
        };
        for entity in answer {
            let Some(Kind::CounterEntry(entry)) = entity.entity else { continue };
            let counter =
                DropCounter::ALL.iter().find(|counter| program.drop_counter(**counter) == entry.counter_id);
            let index = entry.index.and_then(|index| u16::try_from(index.index).ok());
            let (Some(counter), Some(index)) = (counter, index) else { continue };
            let value = Counter::from(entry.data.unwrap_or_default());
            let nothing = value == Counter::default();
            match counter {
                DropCounter::Drops => {
                    let dropped = Dropped::ALL.get(usize::from(index));
                    drops.reasons.extend(dropped.map(|dropped| (dropped.name(), value)));
                }
                DropCounter::SegmentDrops if !nothing => _ = drops.segments.insert(index, value),
                DropCounter::LimiterDrops if !nothing => _ = drops.limiters.insert(index, value),
                DropCounter::SegmentDrops | DropCounter::LimiterDrops => {}
            }
        }
        Ok(Some(drops))
    }
}

/// The segments that frames enter in, and none.
fn segments(program: &Program, installed: &Installed) -> BTreeSet<u16> {
    let sets = installed.entries.iter().filter(|entry| entry.key.table == program.table(Table::SegmentOf));
    let ids = sets.filter_map(|entry| u16::try_from(program.argument(&entry.action, 0)?).ok());
    ids.chain([0]).collect()
}

fn spoofed(program: &Program, installed: &Installed) -> BTreeMap<Guarded, Counter> {
    let mut spoofed: BTreeMap<Guarded, Counter> = BTreeMap::new();
    let denies = |entry: &&Entry| {
        matches!(
            program.action_of(entry.action.id),
            Some(ActionKind::SourceV4Deny | ActionKind::SourceV6Deny)
        )
    };
    for entry in installed.entries.iter().filter(denies) {
        let Some(table) = program.table_of(entry.key.table) else { continue };
        let value = |field: Field| {
            let id = program.field(table, field)?;
            let found = entry.key.matches.iter().find(|matches| matches.field == id)?;
            match found.matches {
                Match::Ternary { value, .. } => u16::try_from(value).ok(),
                _ => None,
            }
        };
        let at = Guarded { port: value(Field::IngressPort), segment: value(Field::Segment) };
        let Some(Counter { packets, bytes }) = installed.counters.get(&entry.key).copied() else { continue };
        if packets > 0 {
            let sum = spoofed.entry(at).or_default();
            sum.packets = sum.packets.saturating_add(packets);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
    }
    spoofed
}

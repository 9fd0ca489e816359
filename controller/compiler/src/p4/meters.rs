//! Cells of the meter that limits rates.

use outplane_p4runtime::entry::MeterCell;

use crate::rows::meters::Limiters;

/// All cells and their rates, by index.
pub(crate) fn meter_cells(limiters: &Limiters, meter: u32) -> Vec<MeterCell> {
    let mut cells: Vec<MeterCell> = limiters
        .rates()
        .map(|(cell, limit)| {
            let (rate, burst) = (i64::from(limit.packets_per_second), i64::from(limit.burst));
            let index = i64::try_from(cell).expect("cells are fewer than 2^63");
            MeterCell { meter, index, cir: rate, cburst: burst, pir: rate, pburst: burst }
        })
        .collect();
    cells.sort_unstable();
    cells
}

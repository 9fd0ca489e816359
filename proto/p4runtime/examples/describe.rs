//! What a P4 program is to a controller: `cargo run -p outplane-p4runtime --example describe -- FILE.p4info.txt`.
//!
//! Without a file it describes router.p4info.txt, which stands beside this.

use std::error::Error;

use outplane_p4runtime::schema::Cells;
use outplane_p4runtime::{EXAMPLE_P4INFO, Schema};

fn main() -> Result<(), Box<dyn Error>> {
    let text = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?,
        None => EXAMPLE_P4INFO.to_owned(),
    };
    let schema = Schema::from_text(&text)?;
    for table in schema.tables() {
        println!("table {}, {} entries", table.alias, table.size);
        for field in &table.fields {
            println!("  field {}: {:?}, {} bits", field.name, field.kind, field.bits);
        }
        for action in table.actions.iter().filter_map(|reference| schema.action(reference.action)) {
            let params = action.params.iter().map(|param| format!("{}: {} bits", param.name, param.bits));
            println!("  action {}({})", action.alias, params.collect::<Vec<_>>().join(", "));
        }
    }
    let cells = |cells| match cells {
        Cells::Indexed(size) => format!("{size} cells"),
        Cells::Direct(table) => {
            format!("one in each entry of {}", schema.table(table).map_or("?", |table| &table.alias))
        }
    };
    for counter in schema.counters() {
        println!("counter {}: {:?}, {}", counter.alias, counter.unit, cells(counter.cells));
    }
    for meter in schema.meters() {
        println!("meter {}: {:?}, {}", meter.alias, meter.unit, cells(meter.cells));
    }
    Ok(())
}

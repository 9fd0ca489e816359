//! The tables of outplane.p4 as Markdown: what they match, what they do, with widths in bits.
//!
//! `cargo run -p outplane-p4 --example reference [TABLE]`

use outplane_p4::{MatchKind, Table};

fn kind(kind: MatchKind) -> &'static str {
    match kind {
        MatchKind::Exact => "exact",
        MatchKind::Ternary => "ternary",
        MatchKind::Range => "range",
    }
}

fn main() {
    let wanted = std::env::args().nth(1);
    if let Some(name) = wanted.as_deref()
        && Table::named(name).is_none()
    {
        let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
        eprintln!("outplane.p4 has no table {name}; it has {}", names.join(", "));
        std::process::exit(2);
    }
    for table in Table::ALL.iter().filter(|table| wanted.as_deref().is_none_or(|name| name == table.name())) {
        println!("## {}\n", table.name());
        println!("| field | bits | match |\n|---|---|---|");
        for (field, bits) in table.fields() {
            println!("| {} | {bits} | {} |", field.name(), kind(table.match_kind(*field)));
        }
        println!();
        for action in table.actions() {
            let params: Vec<String> =
                action.params().iter().map(|(name, bits)| format!("{name}: bit<{bits}>")).collect();
            println!("- {}({})", action.name(), params.join(", "));
        }
        println!();
    }
}

//! README.md has every table of the program, with its fields, actions and size.

use outplane_p4::P4INFO;

const PAGE: &str = include_str!("../README.md");

/// The blocks of a kind at the top level of the P4Info.
fn blocks(kind: &str) -> Vec<&'static str> {
    let start = format!("{kind} {{\n");
    let texts = P4INFO.split("\n}\n").map(|block| block.trim_start_matches('\n'));
    texts.filter_map(|block| block.strip_prefix(start.as_str())).collect()
}

/// The values of a key, quotes taken off.
fn values<'t>(block: &'t str, key: &str) -> Vec<&'t str> {
    let start = format!("{key}: ");
    let lines = block.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix(start.as_str())).map(|value| value.trim_matches('"')).collect()
}

/// 65536 as 65,536.
fn thousands(number: &str) -> String {
    let (start, end) = number.split_at(number.len().saturating_sub(3));
    if start.is_empty() { end.to_owned() } else { format!("{},{end}", thousands(start)) }
}

/// The section whose heading names a table.
fn section(table: &str) -> &'static str {
    let name = format!("`{table}`");
    let mut sections = PAGE.split("\n### ");
    sections
        .find(|section| {
            section.lines().next().is_some_and(|heading| heading.split(", ").any(|part| part == name))
        })
        .unwrap_or_else(|| panic!("README.md has no section for table {table}"))
}

#[test]
fn every_table_is_explained() {
    let tables = blocks("tables");
    assert!(tables.len() > 20, "the P4Info is read");
    for table in tables {
        let alias = values(table, "alias")[0];
        let section = section(alias);
        assert!(section.contains("```\n"), "{alias}: there is no example entry");
        // A table without a key has no entries, whatever size p4c gives it.
        let fields = values(table, "name");
        let size = values(table, "size")[0];
        if fields.len() > 1 {
            assert!(section.contains(&thousands(size)), "{alias}: its size is {size}");
        }
        // Fields may stand in another table's section with the same key.
        for field in &fields[1..] {
            assert!(PAGE.contains(&format!("`{field}` ")), "{alias}: field {field} is not explained");
        }
    }
}

#[test]
fn every_action_is_explained() {
    for action in blocks("actions") {
        let alias = values(action, "alias")[0];
        let params = values(action, "name");
        // NoAction is a miss; the others are called by the program alone.
        if ["NoAction", "send_to_controller", "discard", "discard_in_segment"].contains(&alias) {
            continue;
        }
        assert!(PAGE.contains(&format!("`{alias}(")), "action {alias} is not explained");
        for param in &params[1..] {
            assert!(PAGE.contains(&format!("{param}:")), "{alias}: parameter {param} is not explained");
        }
    }
}

#[test]
fn packet_headers_are_explained() {
    let headers = blocks("controller_packet_metadata");
    assert_eq!(headers.len(), 2);
    for field in headers.iter().flat_map(|header| values(header, "name").split_off(1)) {
        assert!(PAGE.contains(&format!("| `{field}` | ")), "field {field} is not explained");
    }
}

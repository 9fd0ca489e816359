use super::*;

#[test]
fn outplane_p4_is_indexed() {
    let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
    let table = schema.table_by_name("filter_admin").unwrap();
    assert!(table.needs_priority());
    assert!(table.has_direct_counter());
}

use super::*;

fn bind(text: &str) -> Result<Program, ProgramError> {
    Program::new(Schema::from_text(text).unwrap())
}

#[test]
fn the_committed_p4info_fits() {
    let program = Program::outplane();
    for table in Table::ALL {
        assert_eq!(program.table_of(program.table(*table)), Some(*table));
        for (field, _) in table.fields() {
            let id = program.field(*table, *field).unwrap();
            assert_eq!(program.field_of(*table, id), Some(*field));
        }
    }
    for kind in ActionKind::ALL {
        let arguments: Vec<u128> = (1..=kind.params().len() as u128).collect();
        let action = program.action(*kind, &arguments);
        assert_eq!(program.action_of(action.id), Some(*kind));
        for (place, argument) in arguments.iter().enumerate() {
            assert_eq!(program.argument(&action, place), Some(*argument));
        }
    }
    let shown = program.action(ActionKind::SetVersion, &[7]);
    let of = |table| DefaultEntry { table: program.table(table), action: Some(shown.clone()) };
    assert_eq!(program.version_of(&of(Table::PolicyVersion)), Some(7));
    assert_eq!(program.version_of(&of(Table::Flood)), None);
    assert_eq!(program.rate_limiter_cells(), 1024);
    assert!(!Table::L2Forward.is_versioned() && Table::SegmentOf.is_versioned());
}

#[test]
fn every_table_and_action_is_bound() {
    let schema = Program::outplane().schema();
    assert_eq!(schema.tables().len(), Table::ALL.len());
    // No entry uses NoAction, send_to_controller, discard and discard_in_segment.
    assert_eq!(schema.actions().len(), ActionKind::ALL.len() + 4);
}

#[test]
fn another_p4info_is_refused() {
    let text = outplane_p4::P4INFO;
    let renamed = |name: &str| {
        let preamble = format!("\"OutplaneIngress.{name}\"\n    alias: \"{name}\"");
        (preamble, "\"OutplaneIngress.x\"\n    alias: \"x\"".to_owned())
    };
    let replaced = |there: &str, instead: &str| (there.to_owned(), instead.to_owned());
    let cases = [
        (renamed("flood"), "no table flood"),
        (renamed("admin_pass"), "no action admin_pass"),
        (renamed("rate_limiter"), "no meter rate_limiter"),
        (replaced("\"tcp_flags\"", "\"flags\""), "no match field filter_admin.tcp_flags"),
        (replaced("bitwidth: 48", "bitwidth: 47"), "dst_mac is Exact of 47 bits, expected Exact of 48"),
        (replaced("\"filter_class\"", "\"class\""), "it has no filter_class of 16 bits"),
    ];
    for ((there, instead), message) in cases {
        assert!(text.contains(&there), "{there}");
        let error = bind(&text.replacen(&there, &instead, 1)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!(matches!(bind("pkg_info { arch: \"v1model\" }"), Err(ProgramError::Missing { .. })));
}

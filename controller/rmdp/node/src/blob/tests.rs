//! Blobs of real policies, and bytes that are none.

use outplane_compiler::compile::{Options, compile};
use outplane_intent::reader;
use outplane_p4runtime::p4::v1::WriteRequest;
use proptest::prelude::*;

use super::*;

/// A switch with groups, meters and entries.
fn state() -> Desired {
    let files = [
        ("network.yaml", include_str!("../../../../../examples/campus/network.yaml")),
        ("policy.yaml", include_str!("../../../../../examples/campus/policy.yaml")),
    ];
    let loaded = reader::parse(files).unwrap_or_else(|error| panic!("{error}"));
    let at = jiff::Timestamp::UNIX_EPOCH;
    let mut compiled = compile(&loaded.intent, &Options { at }).unwrap();
    let mut desired = compiled.switches.remove("core").unwrap().desired;
    let meter = Program::outplane().rate_limiter();
    desired.meters = [3, 5]
        .map(|index| outplane_p4runtime::entry::MeterCell {
            meter,
            index,
            cir: 1000,
            cburst: 10,
            pir: 2000,
            pburst: 20,
        })
        .to_vec();
    assert!(!desired.groups.is_empty() && desired.entries.len() > 5);
    desired
}

#[test]
fn there_and_back() {
    let desired = state();
    let blob = encode(&desired);
    assert_eq!(decode_named(name(&desired), &blob).unwrap(), desired);
    assert_eq!(decode_named(name(&Desired::default()), &[]).unwrap(), Desired::default());
}

#[test]
fn other_tools_read_it() {
    let desired = state();
    let blob = encode(&desired);
    let request = WriteRequest::decode(blob.as_slice()).unwrap();
    assert_eq!(request.updates.len(), desired.entries.len() + desired.groups.len() + desired.meters.len());
    assert_eq!(request.encode_to_vec(), blob);
}

#[test]
fn another_state_under_its_name_is_refused() {
    let desired = state();
    let name = name(&desired);
    let mut other = desired.clone();
    other.meters[1].cir += 1;
    let found = self::name(&other);
    assert_eq!(decode_named(name, &encode(&other)), Err(BlobError::OtherState { found }));
    let mut bytes = encode(&desired);
    *bytes.last_mut().unwrap() ^= 1;
    assert!(decode_named(name, &bytes).is_err());
}

type Change = fn(&mut WriteRequest);

#[test]
fn only_the_one_form_is_taken() {
    let request = WriteRequest::decode(encode(&state()).as_slice()).unwrap();
    let changes: [(&str, Change); 6] = [
        ("order", |request| request.updates.reverse()),
        ("twice", |request| request.updates.push(request.updates.last().unwrap().clone())),
        ("device", |request| request.device_id = 1),
        ("delete", |request| request.updates[0].set_type(Type::Delete)),
        ("no entity", |request| request.updates[0].entity = None),
        ("unknown table", |request| {
            let Some(Kind::TableEntry(entry)) =
                &mut request.updates.last_mut().unwrap().entity.as_mut().unwrap().entity
            else {
                panic!("entries come last")
            };
            entry.table_id += 1000;
        }),
    ];
    for (what, change) in changes {
        let mut request = request.clone();
        change(&mut request);
        let bytes = request.encode_to_vec();
        assert!(decode(&bytes).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut blob = encode(&state());
        let at = at.index(blob.len());
        blob[at] = byte;
        if cut {
            blob.truncate(at);
        }
        let _ = decode(&blob);
    }
}

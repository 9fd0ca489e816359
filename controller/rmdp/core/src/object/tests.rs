use proptest::prelude::*;

use super::*;
use crate::task::{Digest, Event, NETWORK, NetworkId, Work};

fn task() -> QueuedTask {
    let work = Work::Converge { generation: 7, desired: Digest([1; 32]), entries: 3 };
    QueuedTask { event: Event::generation(NETWORK, 7, "leaf1"), work, by: "d1".to_owned(), at_ms: 5 }
}

fn key() -> Key {
    Key::Queue(task().event.id().unwrap())
}

/// One of each kind, under its key.
#[expect(clippy::too_many_lines, reason = "a list of objects")]
fn every() -> Vec<(Key, Object)> {
    let event = Event::generation(NETWORK, 7, "leaf1");
    let id = event.id().unwrap();
    let s = str::to_owned;
    let work = task().work;
    let claim = Claim {
        owner: s("c1"),
        nonce: s("c1/1/1"),
        attempt: 2,
        lease_ms: 3000,
        source: s("intent"),
        occurrence: 7,
        switch: s("leaf1"),
        received: s("d1"),
        waited_us: 0,
        at_ms: 0,
    };
    let result = AttemptResult {
        owner: s("c1"),
        nonce: s("c1/1/1"),
        attempt: 2,
        source: s("intent"),
        occurrence: 7,
        reason: s("no answer"),
        push: false,
        patience: 0,
        unended_ms: 0,
        at_ms: 0,
    };
    let outcome = Outcome::Done { report: s("3 writes"), steps: Steps::default() };
    let decision =
        Decision { owner: s("c1"), nonce: s("c1/1/1"), attempt: 2, event, work, outcome, at_ms: 9 };
    let status = NodeStatus {
        node: s("c1"),
        role: crate::config::Role::Controller,
        epoch: 4,
        version: s("0.1.0"),
        config: 1,
        generation: 7,
        receiver: s("socket: no privilege"),
        draining: false,
        counters: [(s("announced"), 3)].into(),
        tasks: vec![],
        alerts: vec![s("c2 is silent")],
        heard: [
            (s("c2"), HeardAt { ms: Some(40), ..HeardAt::default() }),
            (s("d1"), HeardAt { ms: None, silent: true, left: false, lost_percent: None }),
        ]
        .into(),
        keys: Some(vec![1, 2]),
        estranged: None,
        since_ms: vec![5],
        past: vec![PastAlert { text: s("the store is away"), from_ms: 1, until_ms: 4 }],
        at_ms: 1,
    };
    let alert = Alert {
        node: s("d1"),
        of: AlertOf::Sender,
        hard: true,
        reason: s("60 ms late"),
        by: s("c1"),
        at_ms: 0,
    };
    let file = PolicyFile { name: s("a.yaml"), text: s("kind: X\n") };
    let state = DesiredState { sha256: Digest([1; 32]), entries: 3, place: 0 };
    let generation = Generation {
        network: NETWORK,
        generation: 7,
        files: vec![file],
        sources: [(s("cluster"), Vec::new())].into(),
        numbers: None,
        desired: [(s("leaf1"), state)].into(),
        since: std::collections::BTreeMap::new(),
        as_of_ms: -1,
        author: s("root@x"),
        at_ms: 0,
    };
    let config = StoredConfig { version: 2, toml: s("# x"), author: s("root"), at_ms: 0 };
    vec![
        (Key::Network, Object::Network(Network { network: NETWORK, by: s("root@x"), at_ms: 0 })),
        (
            Key::Recovery(NETWORK),
            Object::Recovery(Recovery {
                network: NETWORK,
                before: vec![s("0000000000000002")],
                above: 7,
                by: s("root@x"),
                at_ms: 0,
            }),
        ),
        (Key::Generation(7), Object::Generation(generation)),
        (Key::Generation(75), Object::Parts(parts())),
        (
            Key::Probe(3),
            Object::Probe(ProbeEntry {
                network: NETWORK,
                number: 3,
                switches: vec![s("leaf1")],
                author: s("root@x"),
                at_ms: 0,
            }),
        ),
        (
            Key::Audit(3, crate::key::switch_id("leaf1").unwrap()),
            Object::Audit(AuditEntry {
                network: NETWORK,
                number: 3,
                switch: s("leaf1"),
                generation: 7,
                desired: Digest([1; 32]),
                entries: 3,
                why: s("2 entries are missing"),
                by: s("c1"),
                at_ms: 0,
            }),
        ),
        (
            Key::Kept(s("c1")),
            Object::Kept(KeptSwitches {
                node: s("c1"),
                switches: vec![KeptSwitch {
                    switch: s("leaf1"),
                    generation: 7,
                    standing: Standing::Drifted,
                    seen: s("no pipeline"),
                    verified_ms: Some(5),
                    what: s("everything"),
                    repairs: 1,
                    version: Some(1),
                    primary: Some(PrimaryOf {
                        generation: 7,
                        fence: s("generation 7, attempt 1"),
                        ours: true,
                    }),
                    is_fenced: None,
                    counted_ms: Some(6),
                }],
                at_ms: 0,
            }),
        ),
        (Key::Queue(id), Object::Task(task())),
        (Key::Claim(id, 2), Object::Claim(claim)),
        (Key::Result(id, 2), Object::Result(result)),
        (Key::Decision(id), Object::Decision(decision)),
        (
            Key::Horizon(s("intent"), 8),
            Object::Horizon(Horizon { source: s("intent"), below: 8, by: s("c1"), at_ms: 0 }),
        ),
        (Key::Config(2), Object::Config(config)),
        (
            Key::Epoch(s("c1"), 4),
            Object::Epoch(StreamEpoch { node: s("c1"), epoch: 4, nonce: s("5eed"), at_ms: 0 }),
        ),
        (Key::Status(s("c1")), Object::Status(status)),
        (Key::Degraded(s("d1")), Object::Degraded(alert)),
        (Key::Packets(s("c1"), batch_number(4, 7)), Object::Packets(batch())),
        (
            Key::Totals(crate::key::switch_id("leaf1").unwrap()),
            Object::Totals(SwitchTotals {
                switch: s("leaf1"),
                number: 9,
                by: s("c1"),
                since_ms: 1,
                read_ms: 2,
                rules: vec![RuleTotal {
                    policy: s("FilterPolicy/edge"),
                    rule: s("web"),
                    packets: 67,
                    bytes: 6700,
                }],
                others: (1, 64),
                entries: vec![EntryCount(u64::MAX, 60, 6000, 0), EntryCount(7, 7, 700, 0)],
                left_out: 2,
                at_ms: 0,
            }),
        ),
    ]
}

fn parts() -> GenerationParts {
    let (sha256, bytes, packed) = (Digest([1; 32]), 70, "AQNL".to_owned());
    let parts = [
        (Part::Apply, StoredPart::Delta { sha256, bytes, on: Digest([2; 32]), packed: packed.clone() }),
        (Part::Desired, StoredPart::Whole { sha256, bytes, packed }),
        (Part::Live("cluster".to_owned()), StoredPart::Snapshot { sha256, bytes, at: Digest([3; 32]) }),
        (Part::Numbers, StoredPart::Same { sha256, bytes }),
    ];
    GenerationParts {
        network: NETWORK,
        generation: 75,
        as_of_ms: -1,
        author: "root@x".to_owned(),
        at_ms: 0,
        base: 70,
        parts: parts.into(),
    }
}

/// A switch keeps its task for as long as each generation says the same of it.
#[test]
fn a_task_is_of_the_first_generation_that_says_so() {
    let state = |byte| DesiredState { sha256: Digest([byte; 32]), entries: 3, place: 9 };
    let record = |generation, states: &[(&str, DesiredState)]| Generation {
        network: NETWORK,
        generation,
        files: Vec::new(),
        sources: std::collections::BTreeMap::new(),
        numbers: None,
        desired: states.iter().map(|(switch, state)| ((*switch).to_owned(), *state)).collect(),
        since: std::collections::BTreeMap::new(),
        as_of_ms: 0,
        author: "ops".to_owned(),
        at_ms: 0,
    };
    let after = |before: &Generation, mut next: Generation| {
        next.since = before.all_since();
        next.follow(Some(before));
        next
    };
    let first = record(1, &[("a", state(1)), ("b", state(1)), ("c", state(1))]);
    let elsewhere = DesiredState { place: 8, ..state(1) };
    let second =
        after(&first, record(2, &[("a", state(1)), ("b", state(2)), ("c", elsewhere), ("d", state(1))]));
    assert_eq!(["a", "b", "c", "d"].map(|switch| second.since(switch)), [1, 2, 2, 2]);
    // What was said before it was said otherwise does not count; nor what a generation has left out.
    let third = after(&second, record(3, &[("a", state(1)), ("b", state(1)), ("d", state(1))]));
    assert_eq!(["a", "b", "d"].map(|switch| third.since(switch)), [1, 3, 2]);
    let fourth = after(&third, record(4, &[("a", state(1)), ("c", elsewhere)]));
    assert_eq!(["a", "c"].map(|switch| fourth.since(switch)), [1, 4]);
    assert_eq!(fourth.task("a").unwrap().fence(1).generation, 1);
    // Only the one right before it counts, of the same network, and only what that says of it.
    assert_eq!(after(&second, record(4, &[("a", state(1))])).since("a"), 4);
    let other = Generation { network: NetworkId::new(9), ..third.clone() };
    assert_eq!(after(&other, record(4, &[("a", state(1))])).since("a"), 4);
    let mut wrong = record(4, &[("a", state(1)), ("b", state(1))]);
    wrong.since = [("a".to_owned(), 2), ("b".to_owned(), 1), ("z".to_owned(), 1)].into();
    assert_eq!(first.contradicts(&first), None);
    assert_eq!((wrong.contradicts(&second), fourth.contradicts(&second)), (Some("a"), None));
    wrong.follow(Some(&third));
    assert!(wrong.since.is_empty());
}

#[test]
fn every_byte_of_a_generation_in_parts_counts() {
    let (key, bytes) = (Key::Generation(75), Object::Parts(parts()).encode());
    assert_eq!(Object::decode(&key, &bytes), Ok(Object::Parts(parts())));
    for place in 0..bytes.len() {
        for flip in [1, 0x20, 0x80] {
            let mut damaged = bytes.clone();
            damaged[place] ^= flip;
            let error = Object::decode(&key, &damaged).expect_err("it is not what was written");
            assert!(error.to_string().contains(&key.path()), "{error}");
        }
        assert!(Object::decode(&key, &bytes[..place]).is_err());
    }
    assert!(Object::decode(&key, &[&bytes[..], b" "].concat()).is_err());
    let long = Object::Parts(GenerationParts { author: "x".repeat(MAX_PARTS), ..parts() }).encode();
    assert!(matches!(Object::decode(&key, &long), Err(ObjectError::TooLarge { limit: MAX_PARTS, .. })));
}

#[test]
fn what_a_generation_may_rest_on() {
    let refused = |change: fn(&mut GenerationParts), words: &str| {
        let mut parts = parts();
        change(&mut parts);
        let key = Key::Generation(parts.generation);
        let error = Object::decode(&key, &Object::Parts(parts).encode()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(|parts| parts.base = 63, "does not rest on generation 63");
    refused(|parts| parts.base = 76, "does not rest on generation 76");
    refused(|parts| parts.base = 75, "part apply rests on the generation before");
    refused(|parts| (parts.generation, parts.base) = (128, 128), "part apply rests on the generation before");
    let huge = StoredPart::Same { sha256: Digest([1; 32]), bytes: u64::MAX };
    let mut parts = parts();
    parts.parts.insert(Part::Numbers, huge);
    let error = Object::decode(&Key::Generation(75), &Object::Parts(parts).encode()).unwrap_err();
    assert!(error.to_string().contains("at most 67108864 are taken"), "{error}");
}

fn batch() -> PacketBatch {
    let packet = LoggedPacket {
        src: Some("10.0.0.1".to_owned()),
        proto: Some("tcp".to_owned()),
        dport: Some(22),
        ..LoggedPacket::default()
    };
    let line = PacketLine { switch: "leaf1".to_owned(), packet, ..PacketLine::default() };
    PacketBatch {
        node: "c1".to_owned(),
        number: batch_number(4, 7),
        lines: vec![line],
        left_out: 3,
        at_ms: 0,
    }
}

#[test]
fn written_and_read_again() {
    for (key, mut object) in every() {
        let bytes = object.encode();
        let schema = if matches!(object, Object::Parts(_)) { PARTS_SCHEMA } else { SCHEMA };
        assert!(bytes.starts_with(format!("{{\"schema\":{schema},").as_bytes()), "{key}");
        assert_eq!(Object::decode(&key, &bytes).as_ref(), Ok(&object), "{key}");
        object.stamp(77);
        assert!(String::from_utf8(object.encode()).unwrap().contains("\"at_ms\":77"), "{key}");
    }
}

#[test]
fn another_key_is_not_its_place() {
    for (number, (_, object)) in every().into_iter().enumerate() {
        for (place, (key, _)) in every().into_iter().enumerate() {
            assert_eq!(
                Object::decode(&key, &object.encode()).is_ok(),
                number == place,
                "{object:?} at {key}"
            );
        }
    }
    let bytes = Object::Task(task()).encode();
    let id = Event::generation(NETWORK, 8, "leaf1").id().unwrap();
    let error = Object::decode(&Key::Queue(id), &bytes).unwrap_err();
    assert!(matches!(error, ObjectError::Misplaced { .. }), "{error}");
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[test]
fn hostile_bytes() {
    let deep = format!("{{\"schema\":1,\"event\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let text = String::from_utf8(Object::Task(task()).encode()).unwrap();
    let more = text.replacen('{', "{\"more\":1,", 1);
    let newer = text.replace("\"schema\":1", "\"schema\":2");
    let converge = text.replace("converge", "explode");
    let nameless = text.replace("leaf1", "");
    let cases: [(&str, &str); 9] = [
        ("", "cannot be read"),
        ("null", "cannot be read"),
        ("{}", "missing field `schema`"),
        ("{\"schema\":1}", "missing field"),
        (&deep, "recursion limit"),
        (&more, "unknown field `more`"),
        (&newer, "has schema 2, this program reads 1"),
        (&converge, "unknown variant `explode`"),
        (&nameless, "the switch is empty"),
    ];
    for (bytes, expected) in cases {
        let error = Object::decode(&key(), bytes.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&key().path()), "{error}");
    }
    let large = Object::decode(&key(), &vec![b' '; MAX_OBJECT + 1]).unwrap_err();
    assert!(matches!(large, ObjectError::TooLarge { length, .. } if length == MAX_OBJECT + 1));
}

#[test]
fn long_texts_are_cut() {
    assert_eq!(text("short"), "short");
    assert_eq!(text(&"é".repeat(MAX_TEXT + 1)).chars().count(), MAX_TEXT + 2);
}

proptest! {
    /// Bytes that somebody has damaged are taken or refused in words, and what is taken is taken again.
    #[test]
    fn damaged_bytes(which in 0..17usize, damage in prop::collection::vec((any::<u16>(), any::<u8>(), 0..3u8), 1..6)) {
        let (key, object) = every().swap_remove(which);
        let mut bytes = object.encode();
        for (place, byte, how) in damage {
            let place = usize::from(place) % bytes.len().max(1);
            match how {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, byte),
                _ => if let Some(old) = bytes.get_mut(place) { *old = byte },
            }
        }
        match Object::decode(&key, &bytes) {
            Ok(object) => prop_assert_eq!(Object::decode(&key, &object.encode()), Ok(object)),
            Err(error) => prop_assert!(error.to_string().contains(&key.path())),
        }
    }

    #[test]
    fn any_path(path in "\\PC{0,60}", number: u64, name in "[a-z0-9][a-z0-9._-]{0,62}") {
        if let Ok(key) = Key::parse(&path) {
            prop_assert_eq!(key.path(), path);
        }
        for key in [Key::Generation(number), Key::Horizon(name.clone(), number), Key::Status(name)] {
            prop_assert_eq!(Key::parse(&key.path()), Ok(key));
        }
    }
}

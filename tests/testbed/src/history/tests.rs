//! Every kind of fault is found, and a clean history has none.

use outplane_rmdp_core::key::switch_id;
use outplane_rmdp_core::object::{AttemptResult, Claim, Decision, Outcome, RuleTotal, Steps, SwitchTotals};
use outplane_rmdp_core::task::{Digest, NetworkId, Work};

use super::*;

const LEASE: u64 = 1000;
const NETWORK: NetworkId = NetworkId::new(3);

fn event() -> Event {
    Event::generation(NETWORK, 7, "s1")
}

fn claim(attempt: u32, owner: &str, at_ms: u64) -> (Key, Object) {
    let claim = Claim {
        owner: owner.to_owned(),
        nonce: format!("{owner}/1/{attempt}"),
        attempt,
        lease_ms: LEASE,
        source: "intent".to_owned(),
        occurrence: 7,
        switch: "s1".to_owned(),
        received: "d1".to_owned(),
        waited_us: 0,
        at_ms,
    };
    (Key::Claim(event().id().unwrap(), attempt), Object::Claim(claim))
}

fn result(attempt: u32, owner: &str, at_ms: u64) -> (Key, Object) {
    let result = AttemptResult {
        owner: owner.to_owned(),
        nonce: format!("{owner}/1/{attempt}"),
        attempt,
        source: "intent".to_owned(),
        occurrence: 7,
        reason: "no".to_owned(),
        push: false,
        patience: 0,
        unended_ms: 0,
        at_ms,
    };
    (Key::Result(event().id().unwrap(), attempt), Object::Result(result))
}

fn decision(attempt: u32, owner: &str, at_ms: u64) -> (Key, Object) {
    let decision = Decision {
        owner: owner.to_owned(),
        nonce: format!("{owner}/1/{attempt}"),
        attempt,
        event: event(),
        work: Work::Converge { generation: 7, desired: Digest([0; 32]), entries: 1 },
        outcome: Outcome::Done { report: "1 write".to_owned(), steps: Steps::default() },
        at_ms,
    };
    (Key::Decision(event().id().unwrap()), Object::Decision(decision))
}

/// A write at a time, under an attempt of generation 7, by a controller's number.
fn write(at_ms: u64, attempt: u64, controller: u8, result: &str, changes: &[&str]) -> String {
    let changes: Vec<_> = changes.iter().map(|change| format!("{change:?}")).collect();
    format!(
        r#"{{"schema":1,"monotonic_ns":1,"unix_ns":{},"device_id":1,"role":"","election_id":{{"high":7,"low":{attempt}}},"peer":"10.77.0.4{controller}:5000","event":"write","result":"{result}","message":"","asked":1,"inserts":1,"modifies":0,"deletes":0,"refused":0,"digest":null,"changes":[{}]}}"#,
        at_ms * 1_000_000,
        changes.join(",")
    )
}

fn history(objects: impl IntoIterator<Item = (Key, Object)>, lines: &[String]) -> History {
    let journal = JournalLine::parse_all(&lines.join("\n")).unwrap();
    let owners = (1..=3).map(|number| (format!("10.77.0.4{number}").parse().unwrap(), format!("c{number}")));
    History {
        network: NETWORK,
        generations: BTreeSet::from([7]),
        objects: objects.into_iter().collect(),
        totals: Totals::new(),
        unlisted: 0,
        unreadable: Vec::new(),
        journals: BTreeMap::from([("s1".to_owned(), journal)]),
        silence_ms: None,
        owners: owners.collect(),
    }
}

#[test]
fn one_attempt() {
    let history = history(
        [claim(1, "c1", 100), decision(1, "c1", 120)],
        &[write(110, 1, 1, "OK", &["insert:a:1", "insert:b:1"])],
    );
    let verdict = history.check(&[event()]);
    assert_eq!(verdict.faults().collect::<Vec<_>>(), [""; 0]);
    assert_eq!((verdict.done, verdict.attempts, verdict.updates, verdict.fenced), (1, 1, 2, 0));
    assert!(verdict.to_string().contains("0 lost, 0 attempts with two owners"), "{verdict}");
}

#[test]
fn the_second_finishes_what_the_first_began_and_the_first_is_refused() {
    let lines = [
        write(110, 1, 1, "OK", &["insert:a:1"]),
        write(1700, 2, 2, "OK", &["insert:b:1"]),
        write(1710, 1, 1, "PERMISSION_DENIED", &[]),
    ];
    let history = history([claim(1, "c1", 100), claim(2, "c2", 1600), decision(2, "c2", 1720)], &lines);
    let verdict = history.check(&[event()]);
    assert_eq!(verdict.faults().collect::<Vec<_>>(), [""; 0]);
    assert_eq!((verdict.retried, verdict.shared, verdict.fenced), (1, 1, 1));
}

#[test]
fn lost() {
    let nothing = history([claim(1, "c1", 100)], &[]).check(&[event()]);
    assert_eq!(nothing.lost.len(), 1, "{nothing}");
    let unwritten = history([claim(1, "c1", 100), decision(1, "c1", 120)], &[]).check(&[event()]);
    assert_eq!(unwritten.lost.len(), 1, "{unwritten}");
    let queued = outplane_rmdp_core::object::QueuedTask {
        event: event(),
        work: Work::Ask {},
        by: "d1".to_owned(),
        at_ms: 0,
    };
    let queued = (Key::Queue(event().id().unwrap()), Object::Task(queued));
    let forgotten = history([queued], &[]).check(&[]);
    assert_eq!(forgotten.lost.len(), 1, "{forgotten}");
}

#[test]
fn a_generation_may_be_overtaken_before_it_is_queued() {
    let write = [write(110, 1, 1, "OK", &["insert:a:1"])];
    let older = Event::generation(NETWORK, 6, "s1");
    let verdict =
        history([claim(1, "c1", 100), decision(1, "c1", 120)], &write).check(&[older.clone(), event()]);
    assert_eq!((verdict.faults().count(), verdict.dropped, verdict.done), (0, 1, 1), "{verdict}");
    // The newest one may not, nor that of another switch.
    let newest = history([claim(1, "c1", 100), decision(1, "c1", 120)], &write);
    let verdict =
        newest.check(&[event(), Event::generation(NETWORK, 8, "s1"), Event::generation(NETWORK, 6, "s2")]);
    assert_eq!((verdict.lost.len(), verdict.dropped), (2, 0), "{verdict}");
}

#[test]
fn two_owners() {
    let writes = [write(110, 1, 1, "OK", &["insert:a:1"]), write(111, 1, 2, "OK", &["insert:b:1"])];
    let both_wrote = history([claim(1, "c1", 100), decision(1, "c1", 120)], &writes).check(&[event()]);
    assert_eq!(both_wrote.two_owners.len(), 1, "{both_wrote}");
    let stolen = history([claim(1, "c1", 100), decision(1, "c2", 120)], &writes[..1]).check(&[event()]);
    assert_eq!(stolen.two_owners.len(), 1, "{stolen}");
    let unclaimed = history(
        [claim(1, "c1", 100), decision(1, "c1", 120)],
        &[writes[0].clone(), write(112, 2, 2, "OK", &["insert:c:1"])],
    );
    let unclaimed = unclaimed.check(&[event()]);
    assert_eq!(unclaimed.two_owners.len(), 1, "{unclaimed}");
    let stranger =
        history([claim(1, "c1", 100), decision(1, "c1", 120)], &[write(110, 1, 9, "OK", &["insert:a:1"])]);
    let stranger = stranger.check(&[event()]);
    assert_eq!(stranger.two_owners.len(), 1, "{stranger}");
    let (Key::Claim(id, _), Object::Claim(mut again)) = claim(2, "c1", 5000) else { unreachable!() };
    again.nonce = "c1/1/1".to_owned();
    let reused = [claim(1, "c1", 100), (Key::Claim(id, 2), Object::Claim(again)), decision(1, "c1", 120)];
    let reused = history(reused, &writes[..1]).check(&[event()]);
    assert_eq!(reused.two_owners.len(), 1, "{reused}");
}

#[test]
fn too_early() {
    let write = [write(110, 1, 1, "OK", &["insert:a:1"])];
    let early = |more: Option<(Key, Object)>, second: u64| {
        let objects = [claim(1, "c1", 100), claim(2, "c2", second), decision(2, "c2", 9000)];
        history(objects.into_iter().chain(more), &write).check(&[event()]).too_early.len()
    };
    assert_eq!(early(None, 1599), 1);
    assert_eq!(early(None, 1600), 0);
    assert_eq!(early(Some(result(1, "c1", 300)), 300), 0);
    assert_eq!(early(Some(result(1, "c1", 300)), 299), 1);
    let taken_over = |second: u64| {
        let objects = [claim(1, "c1", 100), claim(2, "c2", second), decision(2, "c2", 9000)];
        let verdict = History { silence_ms: Some(200), ..history(objects, &write) }.check(&[event()]);
        (verdict.too_early.len(), verdict.taken_over)
    };
    assert_eq!((taken_over(299), taken_over(300), taken_over(1600)), ((1, 0), (0, 1), (0, 0)));
    let skipped = history([claim(2, "c2", 5000), decision(2, "c2", 9000)], &[]).check(&[]);
    assert_eq!(skipped.too_early.len(), 1, "{skipped}");
}

#[test]
fn doubled() {
    let objects = || [claim(1, "c1", 100), claim(2, "c2", 1600), decision(2, "c2", 1800)];
    let check = |lines: &[String]| history(objects(), lines).check(&[event()]);
    let again = check(&[
        write(110, 1, 1, "OK", &["insert:a:1"]),
        write(1700, 2, 2, "OK", &["delete:a:1", "insert:a:1"]),
    ]);
    assert_eq!(again.doubled.len(), 1, "{again}");
    let undone = check(&[
        write(110, 1, 1, "OK", &["modify:a:1"]),
        write(1700, 2, 2, "OK", &["modify:a:2"]),
        write(1701, 2, 2, "OK", &["modify:a:1"]),
    ]);
    assert_eq!(undone.doubled.len(), 1, "{undone}");
    let repeated = check(&[write(110, 1, 1, "OK", &["modify:a:1"]), write(111, 1, 1, "OK", &["modify:a:1"])]);
    assert_eq!((repeated.doubled.len(), repeated.idle), (0, 1), "{repeated}");
    let late = check(&[write(110, 1, 1, "OK", &["insert:a:1"]), write(1801, 2, 2, "OK", &["insert:b:1"])]);
    assert_eq!((late.doubled.len(), late.late), (1, 0), "{late}");
    assert!(late.doubled[0].contains("1 ms after attempt 2 of c2 was decided: Done"), "{late}");
    let unfenced =
        check(&[write(1700, 2, 2, "OK", &["insert:a:1"]), write(1701, 1, 1, "OK", &["insert:b:1"])]);
    assert_eq!(unfenced.doubled.len(), 1, "{unfenced}");
}

#[test]
fn what_was_superseded_is_written_until_the_newer_fence() {
    let mut objects = [claim(1, "c1", 100), claim(2, "c2", 300), decision(2, "c2", 310)];
    let Object::Decision(decision) = &mut objects[2].1 else { unreachable!() };
    decision.outcome = Outcome::Superseded { by: 8 };
    let late = write(320, 1, 1, "OK", &["insert:a:1"]);
    let newer = write(330, 1, 2, "OK", &["insert:b:1"]).replace("\"high\":7", "\"high\":8");
    let check = |lines: &[String]| {
        History { silence_ms: Some(200), ..history(objects.clone(), lines) }.check(&[event()])
    };
    let before = check(std::slice::from_ref(&late));
    assert_eq!((before.faults().count(), before.late), (0, 1), "{before}");
    let after = check(&[newer, late]);
    assert_eq!((after.doubled.len(), after.late), (1, 1), "{after}");
}

#[test]
fn a_switch_that_was_emptied_is_filled_again() {
    let emptied =
        r#"{"schema":1,"unix_ns":1,"election_id":{"high":7,"low":2},"event":"pipeline","result":"OK"}"#;
    let lines = [
        write(110, 1, 1, "OK", &["insert:a:1"]),
        emptied.to_owned(),
        write(1700, 2, 2, "OK", &["insert:a:1", "insert:b:1"]),
    ];
    let objects = [claim(1, "c1", 100), claim(2, "c2", 1600), decision(2, "c2", 1800)];
    let history = history(objects, &lines);
    let verdict = history.check(&[event()]);
    assert_eq!(verdict.faults().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(history.owners_of(verdict.hardest[0]), ["c1", "c2"]);
}

#[test]
fn nonsense() {
    let mut broken = history([], &[]);
    broken.unreadable.push("d/x cannot be read".to_owned());
    assert_eq!(broken.check(&[]).nonsense.len(), 1);
    let unknown = history([], &[write(1, 1, 1, "OK", &["insert"])]).check(&[]);
    assert_eq!(unknown.nonsense.len(), 1, "{unknown}");
    assert!(JournalLine::parse_all("{}").is_err());
    assert!(
        JournalLine::parse_all(&write(1, 1, 1, "OK", &[]).replace("\"schema\":1", "\"schema\":2")).is_err()
    );
}

/// Totals only grow, whoever writes them.
#[test]
fn miscounted() {
    let totals = |number: u64, by: &str, packets: u64| SwitchTotals {
        number,
        by: by.to_owned(),
        since_ms: 1,
        read_ms: number,
        rules: vec![RuleTotal {
            policy: "FilterPolicy/edge".into(),
            rule: "web".into(),
            packets,
            bytes: packets,
        }],
        ..SwitchTotals::new("s1")
    };
    let key = Key::Totals(switch_id("s1").unwrap());
    let judged = |readings: Vec<SwitchTotals>| {
        let mut history = history([], &[]);
        history.totals = [(key.clone(), readings)].into();
        let verdict = history.check(&[]);
        assert_eq!(verdict.faults().count(), verdict.miscounted.len(), "{verdict}");
        verdict.miscounted.len()
    };
    let first = totals(1, "c1", 60);
    assert_eq!(judged(vec![first.clone(), totals(2, "c2", 67), totals(9, "c1", 67)]), 0);
    assert_eq!(judged(vec![first.clone(), totals(2, "c2", 59)]), 1);
    assert_eq!(judged(vec![first.clone(), SwitchTotals { rules: vec![], ..totals(2, "c1", 0) }]), 1);
    assert_eq!(judged(vec![first.clone(), totals(1, "c2", 67)]), 1);
    assert_eq!(judged(vec![first.clone(), SwitchTotals { since_ms: 2, ..totals(2, "c1", 67) }]), 1);
    assert_eq!(judged(vec![first.clone(), SwitchTotals { read_ms: 0, ..totals(2, "c1", 67) }]), 1);
    assert_eq!(judged(vec![SwitchTotals { others: (5, 5), ..first.clone() }, totals(2, "c1", 67)]), 1);
    assert_eq!(judged(vec![totals(1, "d1", 60)]), 1);
    assert_eq!(judged(vec![SwitchTotals { switch: "s2".to_owned(), ..first }]), 1);
}

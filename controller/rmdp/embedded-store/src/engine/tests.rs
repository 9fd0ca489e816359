//! The engine beside a model, with crashes anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::disk::{BLOBS, Disk as _, LOG, blob_name, segment_name};
use super::format::{BATCH_HEADER, SEGMENT_HEADER, castagnoli};
use super::sim::SimDisk;
use super::*;

const LIMITS: Limits = Limits { bytes: 1 << 20, objects: 1000, segment: 2000 };

type Model = BTreeMap<String, (u8, usize)>;

fn open(disk: &SimDisk) -> Result<(Engine, recover::Found), Error> {
    Engine::open(Arc::new(disk.clone()), LIMITS, Arc::default())
}

fn etag(value: u8, length: usize) -> Etag {
    let mut etag = [value; 16];
    etag[..8].copy_from_slice(&(length as u64).to_be_bytes());
    etag
}

fn put(key: &str, value: u8, length: usize, condition: Condition) -> Op {
    let data = Bytes::from(vec![value; length]);
    let crc = castagnoli().checksum(&data);
    let headers = format!("x-amz-meta-v:{value}\n").into_bytes();
    Op::Put(Put {
        key: key.into(),
        condition,
        headers,
        etag: etag(value, length),
        crc,
        data: PutData::Inline(data),
    })
}

fn create(key: &str, value: u8, length: usize) -> Op {
    put(key, value, length, Condition { if_none_match: Some(Tag::Any), if_match: None })
}

fn delete(key: &str) -> Op {
    Op::Delete { bucket: "b".into(), keys: vec![(key.into(), Condition::default())] }
}

/// A large object whose file is on the disk.
fn blob(disk: &SimDisk, id: u64, key: &str, length: usize) -> std::io::Result<Op> {
    let file = disk.create(&blob_name(id))?;
    file.write_all_at(&vec![9; length], 0)?;
    file.sync()?;
    disk.sync_folder(BLOBS)?;
    let data = PutData::Blob { id, length: length as u64 };
    let condition = Condition::default();
    Ok(Op::Put(Put { key: key.into(), condition, headers: vec![], etag: etag(9, length), crc: 0, data }))
}

/// Everything the engine has, read back from its files.
fn contents(engine: &Engine, disk: &SimDisk) -> Model {
    let index = read(engine.index());
    let mut model = Model::new();
    let (mut live, mut in_log) = (0, 0);
    for (key, entry) in index.objects() {
        let length = usize::try_from(entry.length).unwrap();
        let mut data = vec![0; length];
        if entry.blob == 0 {
            let from = entry.place.offset + entry.prefix(key) + u64::from(entry.headers);
            index.segments[&entry.place.segment].read_exact_at(&mut data, from).unwrap();
            assert_eq!(castagnoli().checksum(&data), entry.crc, "{key}");
        } else {
            disk.open(&blob_name(entry.blob)).unwrap().read_exact_at(&mut data, 0).unwrap();
        }
        let value = data.first().copied().unwrap_or(0);
        assert!(data.iter().all(|byte| *byte == value), "{key}");
        assert!(length == 0 || entry.etag == etag(value, length), "{key}");
        live += entry.size(key);
        in_log += entry.in_log(key);
        model.insert(key.to_owned(), (value, length));
    }
    assert_eq!((index.live, index.live_in_log), (live, in_log));
    model
}

fn clean(engine: &mut Engine, disk: &SimDisk) -> Result<(), Error> {
    while let Some(segment) = engine.wants_cleaning() {
        let index = Arc::clone(engine.index());
        let metrics = Metrics::default();
        clean::clean(disk, &index, &metrics, segment, &mut |op| {
            engine.commit(7, &[op]).pop().expect("an outcome").map(|_| ())
        })?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Do {
    Put(u8, u8, usize),
    Create(u8, u8, usize),
    Replace(u8, u8, usize),
    Blob(u8, usize),
    Delete(u8),
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Vec<Do>>> {
    let (key, value, length) = (0..12_u8, 1..200_u8, 0..300_usize);
    let put = (key.clone(), value.clone(), length.clone());
    let action = prop_oneof![
        4 => put.clone().prop_map(|(k, v, l)| Do::Put(k, v, l)),
        4 => put.clone().prop_map(|(k, v, l)| Do::Create(k, v, l)),
        2 => put.prop_map(|(k, v, l)| Do::Replace(k, v, l)),
        1 => (key.clone(), 1..2000_usize).prop_map(|(k, l)| Do::Blob(k, l)),
        4 => key.prop_map(Do::Delete),
        1 => Just(Do::Restart),
    ];
    proptest::collection::vec(proptest::collection::vec(action, 1..8), 1..40)
}

/// The batch as operations, and what the model says about each and has afterwards.
fn expected(
    model: &Model,
    batch: &[Do],
    disk: &SimDisk,
    ids: &mut u64,
) -> std::io::Result<(Vec<Op>, Vec<bool>, Model)> {
    let mut model = model.clone();
    let (mut ops, mut outcomes) = (Vec::new(), Vec::new());
    for action in batch {
        let name = |key: &u8| format!("b/{key}");
        match action {
            Do::Put(key, value, length) => {
                ops.push(put(&name(key), *value, *length, Condition::default()));
                outcomes.push(true);
                model.insert(name(key), (*value, *length));
            }
            Do::Create(key, value, length) => {
                ops.push(create(&name(key), *value, *length));
                outcomes.push(!model.contains_key(&name(key)));
                model.entry(name(key)).or_insert((*value, *length));
            }
            Do::Replace(key, value, length) => {
                // By the tag that is there now, or by one that nothing has.
                let tag = model.get(&name(key)).map_or([0; 16], |(value, length)| etag(*value, *length));
                let condition = Condition { if_match: Some(Tag::Is(tag)), if_none_match: None };
                ops.push(put(&name(key), *value, *length, condition));
                outcomes.push(model.contains_key(&name(key)));
                model.entry(name(key)).and_modify(|held| *held = (*value, *length));
            }
            Do::Blob(key, length) => {
                *ids += 1;
                ops.push(blob(disk, *ids, &name(key), *length)?);
                outcomes.push(true);
                model.insert(name(key), (9, *length));
            }
            Do::Delete(key) => {
                ops.push(delete(&name(key)));
                outcomes.push(true);
                model.remove(&name(key));
            }
            Do::Restart => {}
        }
    }
    Ok((ops, outcomes, model))
}

/// Values of length 0 have no byte to know them by.
fn comparable(model: &Model) -> Model {
    model
        .iter()
        .map(|(key, (value, length))| (key.clone(), (if *length == 0 { 0 } else { *value }, *length)))
        .collect()
}

/// Runs batches until the power goes; then what is on the disk must be what was acknowledged, with or without the
/// batch that was under way, and go on from there.
fn run(batches: &[Vec<Do>], power: Option<u64>, seed: u64) {
    let mut disk = SimDisk::default();
    let (mut engine, _) = open(&disk).expect("an empty store opens");
    let mut rng = fastrand::Rng::with_seed(seed);
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]).remove(0).expect("it is new");
    disk.faults.lock().unwrap().power = power;
    let mut model = Model::new();
    let mut ids = 0;
    let mut next = 0;
    while let Some(batch) = batches.get(next) {
        next += 1;
        let mut restart = batch.iter().any(|action| matches!(action, Do::Restart));
        let mut under_way = None;
        if let Ok((ops, outcomes, after)) = expected(&model, batch, &disk, &mut ids) {
            let all = engine.commit(7, &ops);
            let lost = all.iter().any(|outcome| matches!(outcome, Err(Error::Failed { .. })));
            if lost {
                under_way = Some(after);
                restart = true;
            } else {
                let found: Vec<bool> = all.iter().map(Result::is_ok).collect();
                assert_eq!(found, outcomes, "{batch:?}");
                model = after;
                engine.release();
                restart |= clean(&mut engine, &disk).is_err() || engine.failure().is_some();
            }
        } else {
            restart = true;
        }
        if restart {
            disk = disk.after_power_loss(&mut rng);
            (engine, _) = open(&disk).unwrap_or_else(|error| panic!("{error}\n{:?}", disk.all()));
            let found = contents(&engine, &disk);
            if let Some(under_way) = under_way
                && found == comparable(&under_way)
            {
                model = under_way;
            }
            // Blobs of a batch that was lost are gone, too.
            let blobs = disk.names(BLOBS).unwrap().len();
            assert_eq!(
                disk.names(LOG).unwrap().len(),
                engine.sealed.len() + 1,
                "nothing is left of cleaned segments"
            );
            assert_eq!(blobs, read(engine.index()).objects().filter(|(_, entry)| entry.blob != 0).count());
        }
        assert_eq!(contents(&engine, &disk), comparable(&model));
        assert!(engine.log_size() <= 2 * read(engine.index()).live_in_log + 2 * LIMITS.segment + 10_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(batches in actions(), seed in any::<u64>()) {
        run(&batches, None, seed);
    }

    #[test]
    fn power_failures_lose_nothing_acknowledged(batches in actions(), power in 0..150_u64, seed in any::<u64>()) {
        run(&batches, Some(power), seed);
    }

    #[test]
    fn a_log_cut_anywhere_is_a_prefix(batches in actions(), cut in any::<prop::sample::Index>()) {
        let disk = SimDisk::default();
        let (mut engine, _) = open(&disk).unwrap();
        engine.limits.segment = u64::MAX;
        engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
        // Where each batch ends, and what is there then.
        let mut states = vec![(0, Model::new()), (engine.active.length, Model::new())];
        let mut ids = 0;
        for batch in &batches {
            let batch: Vec<Do> = batch.iter().filter(|action| !matches!(action, Do::Blob(..))).cloned().collect();
            let (ops, _, after) = expected(&states.last().unwrap().1, &batch, &disk, &mut ids).unwrap();
            engine.commit(7, &ops);
            states.push((engine.active.length, after));
        }
        let length = usize::try_from(engine.active.length).unwrap();
        let cut = cut.index(length + 1);
        disk.tamper(&segment_name(1), |bytes| bytes.truncate(cut));
        let (engine, found) = open(&disk).unwrap();
        let (end, model) = states.iter().rev().find(|(end, _)| *end <= cut as u64).unwrap();
        prop_assert_eq!(contents(&engine, &disk), comparable(model));
        if *end > 0 {
            prop_assert_eq!(found.torn, cut as u64 - end);
        }
    }

    #[test]
    fn damage_is_found_and_named(flip in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let disk = SimDisk::default();
        let (mut engine, _) = open(&disk).unwrap();
        engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
        let mut last = 0;
        for number in 0..40 {
            last = engine.active.length;
            engine.commit(7, &[create(&format!("b/{number}"), 3, 100)]);
        }
        let segments: Vec<u64> = read(engine.index()).segments.keys().copied().collect();
        prop_assert!(segments.len() > 2);
        // A bit of any byte of any segment but of the last batch, which may as well be torn.
        let spans: Vec<(u64, usize)> = segments.iter().flat_map(|number| {
            let length = if *number == engine.active.number { last } else { engine.sealed[number] };
            (0..usize::try_from(length).unwrap()).map(|at| (*number, at))
        }).collect();
        let (number, at) = spans[flip.index(spans.len())];
        let damaged = disk.copy();
        damaged.tamper(&segment_name(number), |bytes| bytes[at] ^= 1_u8 << bit);
        match open(&damaged) {
            Err(Error::Damaged { path, offset, .. }) => {
                prop_assert_eq!(path.to_str().unwrap(), segment_name(number));
                prop_assert!(offset <= at as u64);
                // What stands before the offset is whole: the cure that the message names works.
                if number == engine.active.number && offset > 0 {
                    damaged.tamper(&segment_name(number), |bytes| bytes.truncate(usize::try_from(offset).unwrap()));
                    prop_assert!(open(&damaged).is_ok());
                }
            }
            Err(error) => prop_assert!(false, "{error}"),
            Ok(_) => prop_assert!(false, "byte {at} of segment {number} was believed"),
        }
    }
}

/// Puts and deletes that have several segments cleaned.
fn churn() -> Vec<Vec<Do>> {
    let batch = |number: u8| match number % 4 {
        0 => vec![Do::Create(number, 1, 200), Do::Delete(number.saturating_sub(8))],
        1 => vec![Do::Put(7, number, 250), Do::Put(8, number, 50)],
        2 => vec![Do::Blob(9, 600), Do::Put(10, number, 250)],
        _ => vec![Do::Put(11, number, 290)],
    };
    (1..60).map(batch).collect()
}

#[test]
fn every_step_can_be_the_last_before_the_power_goes() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    let (mut model, mut ids) = (Model::new(), 0);
    disk.faults.lock().unwrap().power = Some(u64::MAX);
    for batch in churn() {
        let (ops, _, after) = expected(&model, &batch, &disk, &mut ids).unwrap();
        engine.commit(7, &ops);
        engine.release();
        clean(&mut engine, &disk).unwrap();
        model = after;
    }
    assert!(engine.sealed.keys().next().is_none_or(|oldest| *oldest > 4), "several segments were cleaned");
    let steps = u64::MAX - disk.faults.lock().unwrap().power.unwrap();
    assert!(steps > 200);
    for power in 0..=steps {
        for seed in 0..3 {
            run(&churn(), Some(power), seed);
        }
    }
}

#[test]
fn what_is_moved_is_looked_at_again() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }, create("b/1", 1, 10), create("b/2", 2, 10)]);
    let moved = |key: &str, engine: &Engine| {
        let place = read(engine.index()).get(key).unwrap().place;
        let bytes = disk::read_all(&*engine.active.file, 10_000).unwrap();
        let start = usize::try_from(place.offset).unwrap();
        let (_, size) = format::Record::decode(&bytes[start..]).unwrap();
        Moved { place, record: Bytes::from(bytes[start..start + size].to_vec()) }
    };
    // Found live by cleaning, and no longer so when it comes to be moved: before the batch, and in it.
    let (one, two) = (moved("b/1", &engine), moved("b/2", &engine));
    engine.commit(2, &[put("b/1", 7, 20, Condition::default())]);
    let outcomes = engine.commit(3, &[delete("b/2"), Op::Move(vec![one, two])]);
    assert!(outcomes.iter().all(Result::is_ok));
    let model = Model::from([("b/1".to_owned(), (7, 20))]);
    assert_eq!(contents(&engine, &disk), model);
    let (engine, _) = open(&disk).unwrap();
    assert_eq!(contents(&engine, &disk), model);
}

#[test]
fn a_large_object_whose_sync_failed_may_be_there_or_not() {
    for both in [true, false] {
        let disk = SimDisk::default();
        let (mut engine, _) = open(&disk).unwrap();
        engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
        let op = blob(&disk, 1, "b/1", 700).unwrap();
        disk.faults.lock().unwrap().sync = Some(0);
        assert!(engine.commit(1, &[op])[0].is_err());
        engine.release();
        // The record has reached the disk all the same, or has not.
        let after = if both { disk.copy() } else { disk.after_power_loss(&mut fastrand::Rng::with_seed(1)) };
        let (engine, _) = open(&after).unwrap();
        let found = contents(&engine, &after).len();
        assert!(if both { found == 1 } else { found <= 1 });
    }
}

#[test]
fn a_segment_or_a_large_object_that_is_gone_is_named() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    engine.commit(1, &[blob(&disk, 1, "b/blob", 500).unwrap()]);
    for number in 0..60 {
        engine.commit(7, &[create(&format!("b/{number}"), 3, 100)]);
    }
    assert!(read(engine.index()).segments.len() > 3);
    let missing = |disk: &SimDisk| match open(disk) {
        Err(Error::Missing { path, .. }) => path.to_str().unwrap().to_owned(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opened"),
    };
    for name in [segment_name(1), segment_name(2), blob_name(1)] {
        let copy = disk.copy();
        copy.lose(&name);
        assert_eq!(missing(&copy), name);
    }
    let copy = disk.copy();
    for name in copy.names(LOG).unwrap() {
        copy.lose(&name);
    }
    assert_eq!(missing(&copy), segment_name(1));
    let copy = disk.copy();
    copy.tamper(&blob_name(1), |bytes| bytes.truncate(10));
    assert!(matches!(open(&copy), Err(Error::Damaged { .. })));
    assert!(open(&disk).is_ok());
}

#[test]
fn a_failed_sync_ends_it_for_good() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    disk.faults.lock().unwrap().sync = Some(1);
    engine.commit(1, &[create("b/1", 1, 1)]).remove(0).unwrap();
    let outcomes = engine.commit(1, &[create("b/2", 1, 1), create("b/1", 1, 1)]);
    assert!(matches!(outcomes[0], Err(Error::Failed { .. })));
    assert!(matches!(outcomes[1], Err(Error::Precondition(_))));
    assert!(read(engine.index()).get("b/2").is_none(), "it is not shown");
    // The next sync would succeed, and prove nothing.
    disk.faults.lock().unwrap().sync = None;
    assert!(matches!(engine.commit(1, &[create("b/3", 1, 1)])[0], Err(Error::Failed { .. })));
    assert!(engine.failure().is_some());
}

#[test]
fn a_full_disk_is_survived() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    disk.faults.lock().unwrap().room = Some(1000);
    let mut written = 0;
    for number in 0..20 {
        match engine.commit(7, &[create(&format!("b/{number}"), 3, 100)]).remove(0) {
            Ok(_) => written += 1,
            Err(error) => assert!(matches!(error, Error::NoSpace(_)), "{error}"),
        }
    }
    assert!((1..20).contains(&written));
    assert!(engine.failure().is_none());
    disk.faults.lock().unwrap().room = None;
    engine.commit(7, &[create("b/after", 3, 100)]).remove(0).unwrap();
    let (engine, found) = open(&disk).unwrap();
    assert_eq!((contents(&engine, &disk).len(), found.torn), (written + 1, 0));
}

/// A full disk refuses what is put, and takes deletes: they make room, also where every segment must be cleaned first.
#[test]
fn a_full_disk_takes_deletes() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    disk.faults.lock().unwrap().room = Some(20_000);
    let no_room = |outcome: &Result<Outcome, Error>| matches!(outcome, Err(Error::NoSpace(_)));
    let mut written = 0;
    let mut put_next = |engine: &mut Engine, now| {
        let outcome = engine.commit(now, &[create(&format!("b/{written}"), 3, 100)]).remove(0);
        if outcome.is_ok() {
            written += 1;
        }
        outcome
    };
    while !no_room(&put_next(&mut engine, 2)) {}
    // A delete beside a put, in one batch: each has its own outcome.
    let outcomes = engine.commit(3, &[create("b/x", 1, 5000), delete("b/0")]);
    assert!(no_room(&outcomes[0]) && outcomes[1].is_ok(), "{outcomes:?}");
    // What was kept for deletes is not filled by others.
    for _ in 0..100 {
        assert!(no_room(&put_next(&mut engine, 3)));
    }
    for number in 1..100 {
        assert!(engine.commit(4, &[delete(&format!("b/{number}"))]).remove(0).is_ok());
    }
    clean(&mut engine, &disk).unwrap();
    disk.faults.lock().unwrap().room = Some(20_000);
    engine.commit(2000, &[delete("b/none")]);
    disk.give_back().unwrap();
    disk.faults.lock().unwrap().room = Some(8 << 20);
    engine.commit(4000, &[delete("b/none")]);
    put_next(&mut engine, 4001).unwrap();
    assert!(engine.failure().is_none());
    let model = contents(&engine, &disk);
    drop(engine);
    let (engine, _) = open(&disk.copy()).unwrap();
    assert_eq!(contents(&engine, &disk), model);
}

/// Connections have taken all descriptors when the log must go on in a new segment. Nothing is lost, and the log goes
/// on when it can.
#[test]
fn a_rotation_that_fails_is_tried_again() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    let before = engine.active.number;
    disk.faults.lock().unwrap().files = Some(0);
    let mut number = 0;
    let mut next = |engine: &mut Engine| {
        number += 1;
        engine.commit(1, &[create(&format!("b/{number}"), 1, 300)]).remove(0).unwrap();
    };
    for _ in 0..20 {
        next(&mut engine);
    }
    assert_eq!(engine.active.number, before, "no descriptor, no segment");
    assert!(engine.active.length > LIMITS.segment && engine.failure().is_none());
    let (after_a_crash, _) = open(&disk.copy()).unwrap();
    assert_eq!(contents(&after_a_crash, &disk).len(), 20);
    // A segment that can't be followed takes no more at last.
    let length = std::mem::replace(&mut engine.active.length, LONGEST_SEGMENT);
    let refused = engine.commit(1, &[create("b/more", 1, 1)]).remove(0);
    assert!(matches!(refused, Err(Error::NoFiles(_))), "{refused:?}");
    engine.active.length = length;
    disk.faults.lock().unwrap().files = None;
    next(&mut engine);
    assert!(engine.active.number > before && engine.failure().is_none());
    let model = contents(&engine, &disk);
    let (engine, _) = open(&disk.copy()).unwrap();
    assert_eq!(contents(&engine, &disk), model);
}

#[test]
fn limits_are_kept_and_deleting_makes_room() {
    let disk = SimDisk::default();
    let limits = Limits { bytes: 1000, objects: 5, segment: 2000 };
    let (mut engine, _) = Engine::open(Arc::new(disk.clone()), limits, Arc::default()).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    let full = |outcome: &Result<Outcome, Error>| matches!(outcome, Err(Error::Full { .. }));
    // In one batch, so the second is judged after the first.
    let outcomes = engine.commit(1, &[create("b/1", 1, 500), create("b/2", 1, 500), create("b/3", 1, 50)]);
    assert_eq!(outcomes.iter().map(full).collect::<Vec<_>>(), [false, true, false]);
    engine.commit(1, &[delete("b/1"), create("b/2", 1, 500)]).pop().unwrap().unwrap();
    // Smaller than before is always taken.
    engine.commit(1, &[put("b/2", 1, 10, Condition::default())]).pop().unwrap().unwrap();
    let outcomes =
        engine.commit(1, &(10..20).map(|number| create(&format!("b/{number}"), 1, 1)).collect::<Vec<_>>());
    assert_eq!(outcomes.iter().filter(|outcome| full(outcome)).count(), 7);
    let names: Vec<Op> =
        (0..MAX_BUCKETS).map(|number| Op::CreateBucket { name: format!("bucket-{number}") }).collect();
    let outcomes = engine.commit(1, &names);
    assert_eq!(outcomes.iter().filter(|outcome| full(outcome)).count(), 1);
}

#[test]
fn conditions() {
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    let mut one = |op| engine.commit(1, &[op]).remove(0);
    assert!(matches!(one(create("b/1", 1, 1)), Err(Error::NoBucket(_))));
    one(Op::CreateBucket { name: "b".into() }).unwrap();
    assert!(matches!(one(Op::CreateBucket { name: "b".into() }), Err(Error::BucketExists(_))));
    one(create("b/1", 1, 1)).unwrap();
    let with = |if_match, if_none_match| put("b/1", 1, 1, Condition { if_match, if_none_match });
    let (right, wrong) = (Tag::Is(etag(1, 1)), Tag::Is([0; 16]));
    for (if_match, if_none_match, holds) in [
        (None, None, true),
        (Some(right), None, true),
        (Some(wrong), None, false),
        (Some(Tag::Any), None, true),
        (Some(Tag::Foreign), None, false),
        (None, Some(right), false),
        (None, Some(wrong), true),
        (None, Some(Tag::Foreign), true),
        (None, Some(Tag::Any), false),
    ] {
        assert_eq!(one(with(if_match, if_none_match)).is_ok(), holds, "{if_match:?} {if_none_match:?}");
    }
    let absent = put("b/2", 1, 1, Condition { if_match: Some(Tag::Any), if_none_match: None });
    assert!(matches!(one(absent), Err(Error::NoObject(_))));
    let keys = vec![
        ("b/1".to_owned(), Condition { if_match: Some(wrong), if_none_match: None }),
        ("b/2".to_owned(), Condition::default()),
        ("b/1".to_owned(), Condition { if_match: Some(right), if_none_match: None }),
        ("b/1".to_owned(), Condition { if_match: Some(right), if_none_match: None }),
    ];
    let Ok(Outcome::Delete(outcomes)) = one(Op::Delete { bucket: "b".into(), keys }) else {
        panic!("refused")
    };
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true, false]);
}

#[test]
fn objects_can_hold_copies_of_the_log() {
    // A torn tail whose bytes look like a batch is still a torn tail: the segment's salt is not in it.
    let disk = SimDisk::default();
    let (mut engine, _) = open(&disk).unwrap();
    engine.commit(1, &[Op::CreateBucket { name: "b".into() }]);
    let mut batch = vec![0; BATCH_HEADER];
    format::Record::Keep { segment: 1 }.encode(&mut batch);
    seal_batch(&mut batch, 0, 99);
    let length = usize::try_from(engine.active.length).unwrap();
    assert!(length > SEGMENT_HEADER);
    let mut torn = vec![0; 200];
    torn.extend(&batch);
    disk.tamper(&segment_name(1), |bytes| bytes.extend(&torn));
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.torn, torn.len() as u64);
}

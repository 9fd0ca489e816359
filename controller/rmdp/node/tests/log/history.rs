//! Random histories: edits of all parts, generations of the older schema, garbage, sweeps.

use std::collections::BTreeMap;

use bytes::Bytes;
use outplane_rmdp_core::chain::generation_may_go;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Generation, Object, Part};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::log::{Logged, Own, Tip};
use outplane_rmdp_node::objects::Objects;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::*;

#[derive(Clone, Debug)]
enum Act {
    /// So many lines from there on are others.
    Edit { source: u8, at: usize, lines: usize, seed: u64 },
    /// Everything is another.
    Replace { source: u8, lines: usize, seed: u64 },
    /// Its files are gone.
    Empty { source: u8 },
    /// By a program of before, or a recovery.
    Older { is_placeholder: bool },
    /// Somebody else's bytes have the next number.
    Garbage,
    /// What retention does not keep is gone.
    Sweep { keep: u32 },
    /// So many appends that change nothing.
    Idle { times: u8 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let edit = (0..3u8, 0..400usize, 0..4usize, any::<u64>())
        .prop_map(|(source, at, lines, seed)| Act::Edit { source, at, lines, seed });
    let replace = (0..3u8, 0..400usize, any::<u64>()).prop_map(|(source, lines, seed)| Act::Replace {
        source,
        lines,
        seed,
    });
    let act = prop_oneof![
        12 => edit,
        3 => replace,
        1 => (0..3u8).prop_map(|source| Act::Empty { source }),
        1 => any::<bool>().prop_map(|is_placeholder| Act::Older { is_placeholder }),
        1 => Just(Act::Garbage),
        1 => (0..90u32).prop_map(|keep| Act::Sweep { keep }),
        1 => (1..30u8).prop_map(|times| Act::Idle { times }),
    ];
    prop::collection::vec(act, 1..60)
}

struct Log {
    objects: Objects,
    texts: [Vec<String>; 3],
    appended: BTreeMap<u64, Generation>,
    newest: u64,
}

fn of_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| format!("{line}\n")).collect()
}

impl Log {
    async fn act(&mut self, act: Act) {
        match act {
            Act::Edit { source, at, lines: count, seed } => {
                let text = &mut self.texts[usize::from(source)];
                let at = at.min(text.len());
                let end = (at + count).min(text.len());
                text.splice(at..end, of_lines(&lines(seed, count + 1)));
                self.say(source).await;
            }
            Act::Replace { source, lines: count, seed } => {
                self.texts[usize::from(source)] = of_lines(&lines(seed, count));
                self.say(source).await;
            }
            Act::Empty { source } => {
                self.texts[usize::from(source)].clear();
                self.say(source).await;
            }
            Act::Older { is_placeholder } => {
                let tip = Tip::read(&self.objects, NETWORK).await.unwrap();
                let before = tip.generation().cloned().filter(|_| !is_placeholder);
                // The older schema has no place for numbers, nor for whose tasks are whose.
                let (generation, numbers) = (self.newest + 1, None);
                let before = before.unwrap_or(Generation {
                    network: NETWORK,
                    generation,
                    files: Vec::new(),
                    sources: BTreeMap::new(),
                    numbers: None,
                    desired: BTreeMap::new(),
                    since: BTreeMap::new(),
                    as_of_ms: 0,
                    author: "recovery".to_owned(),
                    at_ms: 0,
                });
                let mut record = Generation { generation, numbers, since: BTreeMap::new(), ..before };
                record.desired.values_mut().for_each(|state| state.place = 0);
                let mut object = Object::Generation(record);
                assert!(Chain::Generations.append_at(&self.objects, generation, &mut object).await.unwrap());
                let Object::Generation(record) = object else { unreachable!() };
                self.newest = generation;
                self.appended.insert(generation, record);
            }
            Act::Garbage => {
                self.newest += 1;
                let path = Key::Generation(self.newest).path();
                self.objects.store().put(&path, Bytes::from_static(b"{\"schema\":9}")).await.unwrap();
            }
            Act::Sweep { keep } => {
                let newest = self.newest;
                let goes = |key: &Key| match key {
                    Key::Generation(number) | Key::Snapshot(number, _) => {
                        generation_may_go(*number, newest, keep)
                    }
                    _ => false,
                };
                let gone: Vec<Key> = keys(&self.objects).await.into_iter().filter(goes).collect();
                self.objects.delete(&gone).await.unwrap();
                self.appended.retain(|number, _| !generation_may_go(*number, newest, keep));
            }
            Act::Idle { times } => {
                for _ in 0..times {
                    self.say(0).await;
                }
            }
        }
    }

    async fn say(&mut self, source: u8) {
        let text = self.texts[usize::from(source)].concat();
        let own = match source {
            0 if text.is_empty() => Own::Apply(Vec::new()),
            0 => Own::Apply(vec![file("a.yaml", text), file("empty \"\u{e9}\"", "no line feed")]),
            one => Own::Live(format!("cluster-{one}"), vec![file("pods", text)]),
        };
        let mut made = None;
        let append = outplane_rmdp_node::log::append_own(&self.objects, NETWORK, &own, |next| {
            let next = compiled(next, "somebody");
            made = Some(next.clone());
            std::future::ready(Ok::<_, outplane_rmdp_node::Error>((next, BTreeMap::new())))
        });
        let number = append.await.unwrap().number();
        assert_eq!(number, self.newest + 1);
        self.newest = number;
        let mut made = made.unwrap();
        made.follow(self.appended.get(&(number - 1)));
        self.appended.insert(number, made);
    }
}

fn untimed(record: Generation) -> Generation {
    Generation { at_ms: 0, ..record }
}

/// Whatever stays is read as it was appended, by whoever comes, whole or a part at a time.
async fn whatever_was_appended_is_read(acts: Vec<Act>) {
    let lab = Lab::new().await;
    let mut log =
        Log { objects: lab.objects(), texts: Default::default(), appended: BTreeMap::new(), newest: 0 };
    for act in acts {
        log.act(act).await;
    }
    // In both directions, so that the cache helps one of them alone.
    for is_reversed in [false, true] {
        let objects = lab.objects();
        let mut order: Vec<_> = log.appended.iter().collect();
        if is_reversed {
            order.reverse();
        }
        for (number, record) in order {
            assert_eq!(untimed(read(&objects, *number).await.unwrap()), untimed(record.clone()));
            if number % 7 == 0 {
                let objects = lab.objects();
                let mut logged = Logged::read(&objects, *number).await.unwrap().unwrap();
                assert_eq!(logged.numbers().await.unwrap(), record.numbers);
                let own = logged.files(&Part::Live("cluster-1".to_owned())).await.unwrap();
                assert_eq!(own.as_ref(), record.sources.get("cluster-1"));
                assert_eq!(logged.files(&Part::Apply).await.unwrap().unwrap_or_default(), record.files);
                let said = logged.desired().await.unwrap();
                assert_eq!((&said.desired, &said.since), (&record.desired, &record.since));
            }
        }
    }
    // Nobody's snapshots are left over.
    let there = keys(&log.objects).await;
    let generation = |number: &u64| there.contains(&Key::Generation(*number));
    for key in &there {
        if let Key::Snapshot(number, _) = key {
            assert!(generation(number), "{key}");
        }
    }
}

#[test]
fn histories() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&acts(), |acts| {
            runtime.block_on(whatever_was_appended_is_read(acts));
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_has_a_base_in_each_block() {
    let mut acts = vec![Act::Replace { source: 0, lines: 300, seed: 1 }];
    acts.extend((0..200).map(|at| Act::Edit { source: u8::from(at % 5 == 0), at, lines: 1, seed: 1 }));
    acts.push(Act::Sweep { keep: 2 });
    acts.extend((0..5).map(|at| Act::Edit { source: 0, at, lines: 1, seed: 2 }));
    whatever_was_appended_is_read(acts).await;
}

//! Compiling what has changed comes to what compiling everything comes to, entry by entry and number by number.

use outplane_compiler::compile::{Compiled, Compiler, Options, Way, compile, compile_after};
use outplane_compiler::state::Desired;
use outplane_intent::model::Intent;
use outplane_intent::testing::{self, Cluster, universe};
use outplane_intent::touched::Touched;
use proptest::prelude::*;

fn options() -> Options {
    Options { at: universe::now() }
}

/// What is kept, beside what everything has been compiled to each time.
struct Both {
    intent: Intent,
    compiler: Compiler,
    compiled: Compiled,
}

impl Both {
    fn new(intent: &Intent) -> Self {
        let compiled = compile(intent, &options()).expect("it fits");
        let kept = Compiler::of(intent, &options(), compiled.clone());
        let both = Self { intent: intent.clone(), compiler: kept, compiled };
        both.compare("at first");
        both
    }

    fn next(&mut self, intent: &Intent, what: &str) -> Way {
        let touched = Touched::between(&self.intent, intent);
        self.intent = intent.clone();
        self.compiled = compile_after(intent, &options(), &self.compiled.numbers).expect("it fits");
        let way = self.compiler.update(intent, &touched, &options()).expect("it fits");
        self.compare(&format!("{what}, {way:?}, {touched:?}"));
        way
    }

    fn compare(&self, what: &str) {
        let names: Vec<&String> = self.compiled.switches.keys().collect();
        let kept: Vec<&str> = self.compiler.switches().map(|(name, _)| name).collect();
        assert_eq!(names, kept, "{what}");
        for (name, desired) in self.compiler.switches() {
            let wanted = &self.compiled.switches[name].desired;
            assert!(desired == wanted, "{what}: {name}: {}", differences(wanted, desired));
        }
        assert!(self.compiler.numbers() == self.compiled.numbers, "{what}: the numbers differ");
        assert_eq!(self.compiler.segments(), &self.compiled.segments, "{what}");
    }
}

fn differences(wanted: &Desired, found: &Desired) -> String {
    let missing: Vec<_> =
        wanted.entries.iter().filter(|entry| found.entries.get(&entry.key) != Some(*entry)).collect();
    let strange: Vec<_> =
        found.entries.iter().filter(|entry| wanted.entries.get(&entry.key) != Some(*entry)).collect();
    format!(
        "{} missing, {} strange: {:?} {:?}",
        missing.len(),
        strange.len(),
        missing.first(),
        strange.first()
    )
}

/// Single edits, and several at once.
#[test]
fn edits_of_clusters() {
    let mut ways = [0, 0];
    for (namespaces, seed) in (5..).zip(0..6) {
        let mut cluster = Cluster::new(namespaces, 40, 20, seed);
        let mut both = Both::new(cluster.intent());
        for edit in 0..80 {
            let kind = cluster.edit();
            if edit % 3 == 0 {
                cluster.edit();
                cluster.edit();
            }
            let way = both.next(&cluster.intent().clone(), &format!("seed {seed}, edit {edit}: {kind:?}"));
            ways[usize::from(way == Way::Everything)] += 1;
        }
    }
    assert!(ways[0] > 4 * ways[1], "{} by changes, {} by everything", ways[0], ways[1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Policies of all kinds, of which only pods, namespaces and NetworkPolicies come and go.
    #[test]
    fn histories_of_intents(history in proptest::collection::vec(testing::cases(0), 2..6)) {
        let mut history = history.into_iter().map(|(intent, _)| intent);
        let first = history.next().expect("two at least");
        let mut both = Both::new(&first);
        let mut now = first;
        for (number, next) in history.enumerate() {
            // One kind of object after the other, so that most steps touch nothing else.
            let mut step = |now: &Intent, what: &str| _ = both.next(now, &format!("{what} of intent {number}"));
            now.namespaces.extend(next.namespaces.clone());
            now.pods = next.pods.clone();
            step(&now, "pods");
            now.network_policies = next.network_policies.clone();
            step(&now, "policies");
            now.namespaces = next.namespaces.clone();
            step(&now, "namespaces");
            now = next;
            step(&now, "everything");
        }
    }
}

//! Equal intents compile to equal bytes, in whatever order and in however many files their objects come.

use outplane_compiler::compile::{Compiled, Options, compile};
use outplane_intent::model::Intent;
use outplane_intent::reader;
use outplane_intent::testing::{self, universe};

fn digests(intent: &Intent) -> (Compiled, Vec<[u8; 32]>) {
    let compiled = compile(intent, &Options { at: universe::now() }).expect("small intents fit");
    let digests = compiled.switches.values().map(|state| state.desired.digest()).collect();
    (compiled, digests)
}

/// Reads documents from so many files, in an order that differs from step to step.
fn read(documents: &[String], files: usize, step: usize) -> Intent {
    let mut texts = vec![String::new(); files];
    for place in 0..documents.len() {
        // The number of documents and the step have no common divisor: each comes once.
        let document = &documents[place * step % documents.len()];
        let text = &mut texts[place % files];
        *text += "---\n";
        *text += document;
        *text += "\n";
    }
    let named = texts.into_iter().enumerate().map(|(number, text)| (format!("{number}.yaml"), text));
    reader::parse(named).unwrap_or_else(|errors| panic!("{}", errors.render(false))).intent
}

fn coprime(mut a: usize, mut b: usize) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[test]
fn the_order_of_files_and_objects_does_not_matter() {
    for seed in 0..40 {
        let intent = testing::random_intent(seed);
        let expected = digests(&intent);
        let documents: Vec<String> = testing::documents(&intent).iter().map(ToString::to_string).collect();
        let steps = (1..documents.len().max(2)).rev().filter(|step| coprime(*step, documents.len().max(1)));
        for (files, step) in [1, 3, 7].into_iter().zip(steps) {
            let found = digests(&read(&documents, files, step));
            assert!(found == expected, "seed {seed} in {files} files with step {step}");
        }
    }
}

#[test]
fn compiling_again_gives_the_same() {
    for seed in 100..140 {
        let intent = testing::random_intent(seed);
        assert!(digests(&intent) == digests(&intent.clone()), "seed {seed}");
    }
}

#[test]
fn what_differs_has_another_digest() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..60 {
        let intent = testing::random_intent(seed);
        for state in digests(&intent).0.switches.into_values() {
            if let Some(other) = seen.insert(state.desired.digest(), state.desired.clone()) {
                assert!(other == state.desired, "seed {seed}");
            }
        }
    }
    assert!(seen.len() > 50, "{} states", seen.len());
}

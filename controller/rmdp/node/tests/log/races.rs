//! Appenders at a time, and such as end at any moment.

use std::time::Duration;

use outplane_rmdp_core::object::Generation;
use outplane_rmdp_node::log::{Own, Tip};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::*;

/// How far each has come by a generation: what was applied, and what the sources say.
fn counts(record: &Generation) -> [usize; 3] {
    let of = |text: Option<&String>| text.map_or(0, |text| text.lines().count());
    let live = |name: &str| of(record.sources.get(name).map(|files| &files[0].text));
    [of(record.files.first().map(|file| &file.text)), live("one"), live("two")]
}

fn own(who: usize, lines_of_it: usize) -> Own {
    let files = vec![file("a", lines(who as u64, lines_of_it))];
    match who {
        0 => Own::Apply(files),
        1 => Own::Live("one".to_owned(), files),
        _ => Own::Live("two".to_owned(), files),
    }
}

/// Nobody writes another's part: with each generation one has come one step further, and nobody goes back.
#[tokio::test(flavor = "multi_thread")]
async fn appenders_that_race_write_their_own_parts() {
    const STEPS: usize = 30;
    let lab = Lab::new().await;
    let mut racing = JoinSet::new();
    for who in 0..3 {
        let objects = lab.objects();
        racing.spawn(async move {
            for step in 1..=STEPS {
                say(&objects, &own(who, step), "somebody").await.unwrap();
            }
        });
    }
    racing.join_all().await;
    let objects = lab.objects();
    let mut before = [0; 3];
    for number in 1..=3 * STEPS as u64 {
        let record = read(&objects, number).await.unwrap();
        let now = counts(&record);
        assert!(
            now.iter().zip(before).all(|(now, before)| *now == before || *now == before + 1),
            "{number}: {now:?}"
        );
        assert_eq!(now.iter().sum::<usize>(), before.iter().sum::<usize>() + 1, "{number}: {now:?}");
        // Compiled of what both say, with the numbers of the one before.
        let again = compiled(Generation { numbers: record.numbers.clone(), ..record.clone() }, "somebody");
        assert_eq!(record.desired, again.desired);
        before = now;
    }
    assert_eq!(before, [STEPS; 3]);
}

/// An appender that ends amid it has appended, or has not; the log goes on either way.
#[tokio::test(flavor = "multi_thread")]
async fn appenders_end_at_any_moment() {
    let lab = Lab::new().await;
    let mut before = 0;
    for round in 0..150 {
        let objects = lab.objects();
        let text = lines(1, 200 + round % 7);
        let append = Own::Apply(vec![file("a", text.clone())]);
        let moment = Duration::from_micros(200 * (round as u64 % 80));
        let _ = timeout(moment, say(&objects, &append, "somebody")).await;
        if round % 10 == 9 {
            let tip = Tip::read(&lab.objects(), NETWORK).await.unwrap();
            assert!(tip.number() >= before);
            if let Some(record) = tip.generation() {
                assert_eq!(record.generation, tip.number(), "the newest can be read");
            }
            before = say(&lab.objects(), &append, "another").await.unwrap();
            assert_eq!(read(&lab.objects(), before).await.unwrap().files[0].text, text);
        }
    }
    for number in 1..=before {
        read(&lab.objects(), number).await.unwrap();
    }
}

//! What is damaged, or gone, is told by its name, with the cure; and who appends goes on.

use bytes::Bytes;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_node::Error;
use outplane_rmdp_node::chain::{Chain, Follower};
use outplane_rmdp_node::epoch::Epoch;
use outplane_rmdp_node::log::Own;
use outplane_rmdp_node::objects::Objects;

use crate::support::*;

/// Generations 64 to 67 after 63 that are left out: 64 with a snapshot, then deltas.
async fn block(lab: &Lab) -> (Objects, Key) {
    let objects = lab.objects();
    let text = lines(1, 200);
    let mut texts: Vec<String> = vec![text.clone(); 64];
    texts.extend((1..=3).map(|number| text.replacen("name", &format!("name{number}"), number)));
    for text in texts {
        say(&objects, &Own::Apply(vec![file("a.yaml", text)]), "somebody").await.unwrap();
    }
    let is_of_64 = |key: &Key| matches!(key, Key::Snapshot(64, _));
    let snapshot = keys(&objects).await.into_iter().find(is_of_64).expect("a snapshot of 64");
    (objects, snapshot)
}

async fn bytes(objects: &Objects, key: &Key) -> Vec<u8> {
    objects.store().get(&key.path()).await.unwrap().unwrap().to_vec()
}

async fn put(objects: &Objects, key: &Key, bytes: Vec<u8>) {
    objects.store().put(&key.path(), Bytes::from(bytes)).await.unwrap();
}

async fn refused(lab: &Lab, generation: u64) -> String {
    match read(&lab.objects(), generation).await {
        Err(Error::Object(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_delta_and_of_a_snapshot_counts() {
    let lab = Lab::new().await;
    let (objects, snapshot) = block(&lab).await;
    let good = read(&lab.objects(), 67).await.unwrap();
    for key in [Key::Generation(65), Key::Generation(67), snapshot] {
        let whole = bytes(&objects, &key).await;
        // Between the first and the last few, which say what it is, one byte is like another.
        let places =
            (0..whole.len()).filter(|place| *place < 40 || place % 5 == 0 || whole.len() - place < 40);
        for place in places {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << (place % 8);
            put(&objects, &key, damaged).await;
            let told = refused(&lab, 67).await;
            assert!(told.contains(&key.path()), "byte {place} of {key}: {told}");
        }
        put(&objects, &key, whole[..whole.len() / 2].to_vec()).await;
        refused(&lab, 67).await;
        put(&objects, &key, whole).await;
    }
    assert_eq!(read(&lab.objects(), 67).await.unwrap(), good);
}

/// What rests on something that is gone says so, and the next append rests on nothing before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_named_and_the_log_goes_on() {
    let lab = Lab::new().await;
    let (objects, snapshot) = block(&lab).await;
    let before = read(&objects, 67).await.unwrap();
    let snapshot_of_64 = snapshot.clone();
    for gone in [Key::Generation(65), snapshot] {
        let whole = bytes(&objects, &gone).await;
        objects.delete(std::slice::from_ref(&gone)).await.unwrap();
        let told = refused(&lab, 67).await;
        for words in ["i/00000000000000000067", &gone.path(), "is not there", "outplane apply --anyway"] {
            assert!(told.contains(words), "{told}");
        }
        put(&objects, &gone, whole).await;
    }
    let whole = bytes(&objects, &Key::Generation(66)).await;
    put(&objects, &Key::Generation(66), b"{\"schema\":3}".to_vec()).await;
    // One who follows is told once, and goes on behind it.
    let mut follower = Follower::new(lab.objects(), Chain::Generations, 66);
    let error = follower.newer(0).await.expect_err("it cannot be read");
    let told = error.to_string();
    assert!(told.contains("i/00000000000000000067 cannot be put together"), "{told}");
    assert!(told.contains("i/00000000000000000066 has schema 3, this program reads 2"), "{told}");
    let text = lines(1, 201);
    let number =
        say(&lab.objects(), &Own::Apply(vec![file("a.yaml", text.clone())]), "another").await.unwrap();
    assert_eq!(number, 68);
    let after = read(&lab.objects(), 68).await.unwrap();
    assert_eq!((after.files[0].text.as_str(), after.author.as_str()), (text.as_str(), "another"));
    // From then on it does not matter what becomes of the one that was lost.
    objects.delete(&[Key::Generation(65), snapshot_of_64]).await.unwrap();
    assert_eq!(read(&lab.objects(), 68).await.unwrap(), after);
    let (number, _) = follower.newer(0).await.unwrap().expect("the next one");
    assert_eq!(number, 68);
    put(&objects, &Key::Generation(66), whole).await;
    assert_ne!(after.files, before.files);
}

/// Who was killed between a snapshot and its generation has left what the next one finds; garbage there is written over.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_without_its_generation_is_nothing() {
    let lab = Lab::new().await;
    let own = Own::Apply(vec![file("a.yaml", lines(1, 200))]);
    for is_garbage in [false, true] {
        let objects = lab.objects();
        let number = say(&objects, &own, "somebody").await.unwrap();
        let of = keys(&objects).await;
        let snapshots: Vec<Key> =
            of.into_iter().filter(|key| matches!(key, Key::Snapshot(of, _) if *of == number)).collect();
        let good = read(&objects, number).await.unwrap();
        objects.delete(&[Key::Generation(number)]).await.unwrap();
        if is_garbage {
            for key in &snapshots {
                put(&objects, key, b"somebody else's".to_vec()).await;
            }
        }
        assert_eq!(say(&lab.objects(), &own, "somebody").await.unwrap(), number);
        let again = read(&lab.objects(), number).await.unwrap();
        assert_eq!((again.files, again.desired, again.numbers), (good.files, good.desired, good.numbers));
    }
}

/// What was appended after the one that is gone shows that it was there: no number is given again, to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_whose_object_is_lost_is_not_given_again() {
    let lab = Lab::new().await;
    let (objects, _) = block(&lab).await;
    objects.delete(&[Key::Generation(66)]).await.unwrap();
    assert_eq!(Chain::Generations.newest(&lab.objects(), 0).await.unwrap(), Some(67));
    // One who starts now sees it, with or without a hint, and is told what it rests on.
    for hint in [0, 67] {
        let error = match Follower::new(lab.objects(), Chain::Generations, 65).newer(hint).await {
            Err(error) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(error.contains(&Key::Generation(66).path()), "{error}");
    }
    let own = Own::Apply(vec![file("a.yaml", lines(1, 202))]);
    assert_eq!(say(&lab.objects(), &own, "another").await.unwrap(), 68);
    assert_eq!(read(&lab.objects(), 68).await.unwrap().author, "another");
    // Two are gone, and nothing rests on them.
    assert_eq!(say(&lab.objects(), &Own::Apply(Vec::new()), "another").await.unwrap(), 69);
    objects.delete(&[Key::Generation(67), Key::Generation(68)]).await.unwrap();
    assert_eq!(say(&lab.objects(), &own, "a third").await.unwrap(), 70);
    // What does not say that it is of its number is somebody's garbage.
    put(&objects, &Key::Generation(72), bytes(&objects, &Key::Generation(70)).await).await;
    put(&objects, &Key::Generation(74), b"{}".to_vec()).await;
    assert_eq!(Chain::Generations.newest(&lab.objects(), 0).await.unwrap(), Some(70));
    // Nor are numbers of the other logs, nor of starts.
    let node = "c1".to_owned();
    for epoch in 1..=3 {
        assert_eq!(Epoch::new(&node).unwrap().take(&lab.objects()).await.unwrap(), epoch);
    }
    objects.delete(&[Key::Epoch(node.clone(), 2)]).await.unwrap();
    assert_eq!(Epoch::new(&node).unwrap().take(&lab.objects()).await.unwrap(), 4);
}

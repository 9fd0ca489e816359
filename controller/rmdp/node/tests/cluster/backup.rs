//! Backups that are taken while everything goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::Object;
use outplane_rmdp_node::backup::{self, BackupError, Reader};
use outplane_rmdp_node::chain::Chain;
use tokio::time::sleep;

use crate::support::{Lab, NETWORK};

/// All of a backup.
async fn contents(file: &[u8]) -> Vec<(Key, Object)> {
    let mut reader = Reader::new(file).await.unwrap();
    let mut all = Vec::new();
    while let Some((key, bytes)) = reader.next().await.unwrap() {
        if !matches!(key, Key::Blob(_) | Key::Snapshot(..)) {
            all.push((key.clone(), Object::decode(&key, &bytes).unwrap()));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_a_backup_finds_there_what_it_rests_on() {
    let lab = Lab::new(&["leaf1", "leaf2", "leaf3"], 2, 2).await;
    let nodes = lab.start_all().await;
    let changes = async {
        for rules in 1..=20 {
            lab.apply(rules).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    let backups = async {
        let mut files = Vec::new();
        for _ in 0..8 {
            let mut file = Vec::new();
            let summary = backup::take(&lab.objects, &mut file, "tests").await.unwrap();
            assert_eq!(summary.network, Some(NETWORK.to_string()));
            files.push(file);
        }
        files
    };
    let ((), files) = tokio::join!(changes, backups);
    let mut most = (0, 0);
    for file in files {
        let contents = contents(&file).await;
        let keys: BTreeSet<&Key> = contents.iter().map(|(key, _)| key).collect();
        for (key, object) in &contents {
            match (key, object) {
                (Key::Decision(id), Object::Decision(decision)) => {
                    assert!(keys.contains(&Key::Claim(*id, decision.attempt)), "{key} without its claim");
                    most.0 += 1;
                }
                (Key::Claim(..), Object::Claim(claim)) if claim.source == "intent" => {
                    assert!(
                        keys.contains(&Key::Generation(claim.occurrence)),
                        "{key} without its generation"
                    );
                    most.1 += 1;
                }
                (Key::Queue(_), Object::Task(task)) if task.event.source == "intent" => {
                    assert!(keys.contains(&Key::Generation(task.event.occurrence)), "{key}");
                }
                _ => {}
            }
        }
    }
    assert!(most.0 > 0 && most.1 > 0, "there was something to see: {most:?}");
    drop(nodes);
}

/// Into a store that is empty, whole, and with what nodes need to go on as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_by_a_backup() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let nodes = lab.start_all().await;
    for rules in 1..=3 {
        lab.converged(lab.apply(rules).await).await;
    }
    for (_, node) in nodes {
        node.drain().await;
    }
    let mut file = Vec::new();
    let taken = backup::take(&lab.objects, &mut file, "tests").await.unwrap();
    let full = backup::is_empty(&lab.objects).await.unwrap_err();
    assert!(matches!(full, BackupError::NotEmpty { .. }), "{full}");
    // Onto what is there nothing is restored, nor from what is damaged.
    let before = lab.objects.list_all(&Prefix::Generations, 100).await.unwrap();
    let clash = backup::restore(&lab.objects, &file[..], true).await;
    assert!(matches!(clash, Err(BackupError::NotEmpty { .. })), "{clash:?}");
    assert_eq!(lab.objects.list_all(&Prefix::Generations, 100).await.unwrap(), before);
    lab.empty_store().await;
    // Another restore is at work: two would mix.
    let mark = "probe/restore";
    lab.objects.store().create(mark, "another".into()).await.unwrap();
    let two = backup::restore(&lab.objects, &file[..], true).await;
    assert!(matches!(two, Err(BackupError::Restoring { .. })), "{two:?}");
    assert_eq!(lab.objects.get(&Key::Network).await.unwrap(), None);
    lab.objects.store().delete(&[mark.to_owned()]).await.unwrap();
    backup::is_empty(&lab.objects).await.unwrap();
    let restored = backup::restore(&lab.objects, &file[..], true).await.unwrap();
    assert_eq!((restored.summary.objects, restored.summary.bytes), (taken.objects, taken.bytes));
    assert!(!lab.objects.store().exists(mark).await.unwrap());
    assert_eq!(Chain::Generations.newest(&lab.objects, 0).await.unwrap(), Some(3));
    let nodes = lab.start_all().await;
    let next = lab.apply(4).await;
    assert_eq!(next, 4);
    lab.converged(next).await;
    drop(nodes);
}

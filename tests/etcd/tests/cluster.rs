//! Three real members and three workers: each task is executed once, also when the leader and a worker are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outplane_etcd::{
    Change, Client, Cluster, Decision, Executor, Outcome, Task, TaskId, Worker, WorkerSettings,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
const OBJECTS: usize = 8;
const WORKERS: [&str; 3] = ["w1", "w2", "w3"];

/// Who executed what, and who shall not come back from it.
#[derive(Default)]
struct Stage {
    executed: Mutex<Vec<(TaskId, &'static str)>>,
    victim: Mutex<Victim>,
    /// What it does not come back from.
    held: Mutex<Vec<TaskId>>,
    caught: Notify,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Victim {
    #[default]
    None,
    /// Whoever executes next.
    Next,
    Is(&'static str),
}

/// What a worker of this name does.
struct Actor {
    name: &'static str,
    stage: Arc<Stage>,
}

impl Executor for Actor {
    async fn prepare(&self, _: &TaskId) {}

    async fn execute(&self, task: &Task) -> anyhow::Result<Outcome> {
        if self.is_victim() {
            self.stage.held.lock().unwrap().push(task.id.clone());
            self.stage.caught.notify_one();
            std::future::pending::<()>().await;
        }
        self.stage.executed.lock().unwrap().push((task.id.clone(), self.name));
        Ok(Outcome::Done)
    }
}

impl Actor {
    fn is_victim(&self) -> bool {
        let mut victim = self.stage.victim.lock().unwrap();
        if *victim == Victim::Next {
            *victim = Victim::Is(self.name);
        }
        *victim == Victim::Is(self.name)
    }
}

fn start(cluster: &Cluster, name: &'static str, stage: &Arc<Stage>) -> JoinHandle<anyhow::Result<()>> {
    let settings =
        WorkerSettings { name: name.to_owned(), claim_delay: Duration::from_millis(30), lease_seconds: 5 };
    let actor = Actor { name, stage: Arc::clone(stage) };
    tokio::spawn(Worker::run(cluster.client().unwrap(), settings, actor))
}

async fn submit(client: &Client, numbers: std::ops::Range<u64>) -> Vec<TaskId> {
    let mut submitted = Vec::new();
    for number in numbers {
        let id = |object| TaskId { object: format!("o{object}"), number };
        let tasks: Vec<_> = (0..OBJECTS).map(|object| (id(object), b"what to do".to_vec())).collect();
        client.submit(&tasks).await.unwrap();
        submitted.extend(tasks.into_iter().map(|(id, _)| id));
    }
    submitted
}

/// Waits until all of these have their decisions.
async fn decided(client: &Client, tasks: &[TaskId]) -> Vec<Change> {
    let start = Instant::now();
    loop {
        let history = client.history().await.unwrap();
        let open = tasks.iter().filter(|id| decisions(&history, id).is_empty()).count();
        if open == 0 {
            return history;
        }
        assert!(start.elapsed() < PATIENCE, "{open} of {} tasks are not decided", tasks.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn decisions(history: &[Change], id: &TaskId) -> Vec<Decision> {
    let key = format!("d/{id}");
    let of = history.iter().filter(|change| change.key == key).filter_map(|change| change.value.as_ref());
    of.map(|value| String::from_utf8_lossy(value).parse().unwrap()).collect()
}

/// Everything was decided once, and nobody claimed what another one had.
fn judge(history: &[Change], tasks: &[TaskId]) {
    for id in tasks {
        assert_eq!(decisions(history, id).len(), 1, "{id}");
        let queued =
            history.iter().filter(|change| change.key == format!("q/{id}") && change.value.is_some());
        assert_eq!(queued.count(), 1, "{id}");
    }
    let mut claimed: BTreeMap<&str, bool> = BTreeMap::new();
    for change in history.iter().filter(|change| change.key.starts_with("c/")) {
        let before = claimed.insert(&change.key, change.value.is_some()).unwrap_or(false);
        assert_ne!(before, change.value.is_some(), "{} was claimed twice, or freed twice", change.key);
    }
    assert!(claimed.values().all(|claimed| !claimed), "claims are left: {claimed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_executed_once_whoever_is_killed() {
    if let Some(why) = outplane_etcd::why_not() {
        println!("SKIPPED: tasks on etcd: {why}");
        return;
    }
    let mut cluster = Cluster::start().await.unwrap();
    let stage = Arc::new(Stage::default());
    let mut workers: BTreeMap<_, _> =
        WORKERS.into_iter().map(|name| (name, start(&cluster, name, &stage))).collect();
    let client = cluster.client().unwrap();

    let mut tasks = submit(&client, 1..6).await;
    judge(&decided(&client, &tasks).await, &tasks);
    let owners: BTreeSet<_> = stage.executed.lock().unwrap().iter().map(|(_, worker)| *worker).collect();
    assert!(owners.len() > 1, "all was done by {owners:?} alone");

    // The same again changes nothing.
    submit(&client, 1..6).await;
    judge(&decided(&client, &tasks).await, &tasks);

    let leader = cluster.leader().await.unwrap();
    cluster.kill(leader);
    tasks.extend(submit(&client, 6..11).await);
    judge(&decided(&client, &tasks).await, &tasks);
    assert_ne!(cluster.wait_for_leader().await.unwrap(), leader);
    cluster.start_member(leader).unwrap();

    // Whoever has the first task of the next ones is killed while it executes it.
    *stage.victim.lock().unwrap() = Victim::Next;
    tasks.extend(submit(&client, 11..16).await);
    tokio::time::timeout(PATIENCE, stage.caught.notified()).await.unwrap();
    let Victim::Is(victim) = *stage.victim.lock().unwrap() else { panic!("somebody was caught") };
    workers.remove(victim).unwrap().abort();
    let history = decided(&client, &tasks).await;
    judge(&history, &tasks);
    let held = stage.held.lock().unwrap().clone();
    let others = |id| decisions(&history, id).iter().all(|decision| decision.by != victim);
    assert!(held.iter().all(others), "{victim} is dead, and has decided one of {held:?}");

    let mut executed: Vec<_> = stage.executed.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    executed.sort();
    let is_done = |id: &&TaskId| decisions(&history, id).iter().all(|end| end.outcome == Outcome::Done);
    let mut done: Vec<_> = tasks.iter().filter(is_done).cloned().collect();
    done.sort();
    assert_eq!(executed, done, "what is done was executed once, and nothing else was");
    for worker in workers.into_values() {
        assert!(!worker.is_finished(), "a worker ended by itself");
        worker.abort();
    }
}

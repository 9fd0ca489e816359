//! A policy is a state: whatever happens to a switch, it comes back to the newest generation without anybody asking.

use std::sync::Arc;
use std::time::Duration;

use outplane_driver::Fence;
use outplane_driver_p4runtime::{Connection, ConvergeOptions, Options, Pipeline, Target, election_id};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{KeptSwitch, Object, Outcome, Standing};
use outplane_rmdp_core::task::Work;
use outplane_rmdp_node::generation::compiled;
use tokio::time::{sleep, timeout};

use crate::support::{Lab, PATIENCE, policy, record, start_switch};

impl Lab {
    /// The switch is killed and started again, empty, at the same address.
    pub(crate) async fn restart(&mut self, name: &str) {
        let address = self.stop_switch(name).await;
        self.start_again(name, &address).await;
    }

    async fn stop_switch(&mut self, name: &str) -> String {
        let switch = self.switches.remove(name).unwrap();
        let address = switch.server().address().to_string();
        switch.shutdown().await.unwrap();
        address
    }

    async fn start_again(&mut self, name: &str, address: &str) {
        self.switches.insert(name.to_owned(), start_switch(address).await);
    }

    /// Until every switch holds what a generation says.
    pub(crate) async fn comes_to_hold(&self, generation: u64) {
        let holds = async {
            while !self.holds(generation).await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, holds).await.expect("the switches come back to the policy");
    }

    /// What the controllers tell of a switch, once it is as wanted.
    async fn told(&self, name: &str, wanted: impl Fn(&KeptSwitch) -> bool) -> KeptSwitch {
        let told = async {
            loop {
                for member in &self.members {
                    if let Ok(Some(Object::Kept(kept))) =
                        self.objects.get(&Key::Kept(member.name.to_owned())).await
                        && let Some(kept) = kept.switches.into_iter().find(|kept| kept.switch == name)
                        && wanted(&kept)
                    {
                        return kept;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("somebody tells of the switch")
    }

    pub(crate) fn target(&self, name: &str) -> Target {
        Target {
            name: name.to_owned(),
            address: self.switches[name].server().address().to_string(),
            device_id: 1,
            role: None,
            tls: None,
        }
    }

    /// Somebody who is no controller of ours, under this election id.
    async fn stranger(&self, name: &str, election_id: u128) -> Connection {
        let options = Options { election_id, ..Options::default() };
        let pipeline = Arc::new(Pipeline::outplane().clone());
        Connection::open(self.target(name), pipeline, options).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_restarts_empty_is_brought_back() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 2).await;
    let _nodes = lab.start_all().await;
    let generation = lab.apply(5).await;
    lab.converged(generation).await;
    // The keeper knows the generation by then.
    lab.told("leaf1", |kept| kept.standing == Standing::Kept && kept.generation == generation).await;
    for round in 1..=2 {
        lab.restart("leaf1").await;
        lab.comes_to_hold(generation).await;
        let kept = lab.told("leaf1", |kept| kept.repairs >= round && kept.standing == Standing::Kept).await;
        assert!(kept.verified_ms.is_some() && kept.what.is_empty(), "{kept:?}");
    }
    // And a change after it is a change like any other.
    lab.converged(lab.apply(3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_was_edited_by_hand_is_brought_back() {
    let lab = Lab::new(&["leaf1"], 1, 2).await;
    let _nodes = lab.start_all().await;
    let generation = lab.apply(5).await;
    lab.converged(generation).await;
    lab.told("leaf1", |kept| kept.standing == Standing::Kept && kept.generation == generation).await;
    // Four of the rules are gone, and he leaves. His election id lies within the generation: audits get above it.
    let other = compiled(&record(9, policy(lab.switches.keys(), 1))).unwrap();
    let Work::Converge { desired, .. } = other.tasks[0].work() else { panic!() };
    let desired = &other.states[desired];
    let mut stranger =
        lab.stranger("leaf1", election_id(Fence { generation: 1, audit: 5, attempt: 1 })).await;
    stranger.apply(desired, ConvergeOptions::default()).await.unwrap();
    drop(stranger);
    lab.comes_to_hold(generation).await;
}

/// Whoever has once had the highest election id of all keeps controllers out of a switch that remembers, until it is
/// started again; not longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_with_the_highest_election_id_is_told_of_and_forgotten_with_the_switch() {
    let mut lab = Lab::new(&["leaf1"], 1, 2).await;
    lab.tail = lab.tail.replace("[queue]", "[audit]\ninterval_s = 1\n[queue]");
    lab.set_config(&lab.config()).await;
    let _nodes = lab.start_all().await;
    lab.converged(lab.apply(5).await).await;
    let stranger = lab.stranger("leaf1", u128::MAX).await;
    sleep(Duration::from_millis(300)).await;
    drop(stranger);
    let generation = lab.apply(4).await;
    let decision = lab.decision(generation, "leaf1").await;
    let Outcome::Failed { reason, .. } = &decision.outcome else { panic!("{decision:?}") };
    assert!(reason.contains("another program holds the switch") && reason.contains("restart"), "{reason}");
    assert!(reason.contains(&u128::MAX.to_string()), "{reason}");
    lab.restart("leaf1").await;
    lab.comes_to_hold(generation).await;
    lab.converged(lab.apply(3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_was_away_while_a_change_failed_gets_it_when_it_is_back() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 2).await;
    let _nodes = lab.start_all().await;
    lab.converged(lab.apply(2).await).await;
    let config = lab.config();
    let address = lab.stop_switch("leaf1").await;
    // Its name stays in the configuration and the policy.
    let files = policy(["leaf1".to_owned(), "leaf2".to_owned()].iter(), 6);
    assert!(config.contains(&address));
    let generation = lab.append(files).await;
    let decision = lab.decision(generation, "leaf1").await;
    assert!(matches!(decision.outcome, Outcome::Failed { attempts: 4, .. }), "{decision:?}");
    // What is told first may be of the generation before, and of the connection that broke.
    let unreachable = |kept: &KeptSwitch| {
        kept.standing == Standing::Unreachable
            && kept.generation == generation
            && kept.what.contains("cannot connect")
    };
    lab.told("leaf1", unreachable).await;
    lab.start_again("leaf1", &address).await;
    lab.comes_to_hold(generation).await;
}

/// Controllers that start after everything was decided, as after a power failure of the whole site.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_that_start_later_look_at_every_switch() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 3).await;
    let mut nodes = lab.start_all().await;
    let generation = lab.apply(5).await;
    lab.converged(generation).await;
    for name in ["c1", "c2", "c3"] {
        nodes.remove(name).unwrap().kill();
    }
    lab.restart("leaf2").await;
    assert!(!lab.holds(generation).await);
    let _controllers = [lab.start("c1").await, lab.start("c2").await];
    lab.comes_to_hold(generation).await;
    lab.told("leaf1", |kept| kept.standing == Standing::Kept).await;
}

/// A generation that no distributor has emitted is no reason to leave a switch empty: who keeps it takes the task from the
/// log, also after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_distributor_switches_get_and_keep_the_newest_generation() {
    let mut lab = Lab::new(&["leaf1", "leaf2"], 1, 2).await;
    let mut nodes = lab.start_all().await;
    lab.converged(lab.apply(5).await).await;
    nodes.remove("d1").unwrap().kill();
    for name in ["c1", "c2"] {
        nodes.remove(name).unwrap().drain().await;
    }
    let generation = lab.apply(6).await;
    lab.restart("leaf1").await;
    let _controllers = [lab.start("c1").await, lab.start("c2").await];
    lab.converged(generation).await;
    assert_eq!(lab.claim(generation, "leaf1", 1).await.received, "log");
    lab.restart("leaf1").await;
    lab.comes_to_hold(generation).await;
}

/// Without the store nothing is written, but whoever looks learns what is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_a_switch_is_looked_at_all_the_same() {
    let mut lab = Lab::new(&["leaf1"], 1, 1).await;
    let _nodes = lab.start_all().await;
    let generation = lab.apply(5).await;
    lab.converged(generation).await;
    lab.told("leaf1", |kept| kept.generation == generation && kept.standing == Standing::Kept).await;
    lab.stop_store().await;
    lab.restart("leaf1").await;
    sleep(Duration::from_secs(1)).await;
    assert!(
        !lab.holds_as_compiled(&compiled(&record(generation, policy(lab.switches.keys(), 5))).unwrap()).await
    );
    lab.start_store().await;
    lab.comes_to_hold(generation).await;
}

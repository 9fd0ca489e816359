//! Policies, one after another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outplane_testbed::{Cluster, Event, History, Part, TransactionId};

/// Longest time until all is decided, after everything is well again.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Load<'a> {
    cluster: &'a Cluster,
    switches: Vec<String>,
    /// Policies that were written; each is another one.
    policies: usize,
    /// Generations that `outplane apply` said are in the intent log.
    acknowledged: Vec<u64>,
    /// Of these: waited for, and so not overtaken before they were queued.
    waited: usize,
}

impl<'a> Load<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        let switches = cluster.names(Part::Switch);
        Self { cluster, switches, policies: 0, acknowledged: Vec::new(), waited: 0 }
    }

    /// Tasks of the generations that were waited for: there are some more.
    pub(crate) fn tasks(&self) -> usize {
        self.waited * self.switches.len()
    }

    /// Applies policies until that many more tasks are there, says so, and goes on until whatever fails is over.
    pub(crate) fn run(&mut self, tasks: usize, enough: &AtomicBool, over: impl Fn() -> bool) {
        let goal = self.tasks() + tasks;
        while self.tasks() < goal || !over() {
            // Some are not waited for, so that the next one overtakes them.
            let over = over();
            let applied = self.apply(self.policies % 6 != 5);
            assert!(applied || !over, "nothing fails any more, and no policy can be applied");
            if self.tasks() >= goal {
                enough.store(true, Ordering::Relaxed);
            }
        }
    }

    fn policy(&self) -> String {
        // Always another port, and the rules in another order.
        let port = 1000 + self.policies;
        let mut rules = [
            format!("  - {{name: web, action: allow, from: [10.1.0.0/16], ports: [{{port: {port}}}]}}\n"),
            "  - {name: ssh, action: allow, from: [10.9.0.0/24], ports: [{port: 22}]}\n".to_owned(),
        ];
        if self.policies % 2 == 1 {
            rules.reverse();
        }
        format!(
            "{}---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {{name: edge}}\nspec:\n  rules:\n{}",
            self.cluster.switch_objects(),
            rules.concat()
        )
    }

    /// Applies one; whether it is known to be in the log.
    pub(crate) fn apply(&mut self, wait: bool) -> bool {
        self.policies += 1;
        let name = format!("policy-{}.yaml", self.policies % 8);
        self.cluster.write(&name, &self.policy()).expect("a policy");
        let mut words = vec!["apply", &name, "--config", "d1.toml", "-o", "json"];
        if !wait {
            words.push("--no-wait");
        }
        let output = self
            .cluster
            .command(&words)
            .and_then(|mut command| Ok(command.output()?))
            .expect("outplane runs");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if let Some(generation) = answer["generation"].as_u64() {
            self.acknowledged.push(generation);
            self.waited += usize::from(wait);
            true
        } else {
            eprintln!("apply: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
            false
        }
    }

    /// Waits until every task has its decision.
    pub(crate) fn settle(&self) {
        let open = History::wait(self.cluster, &self.switches, PATIENCE).expect("the store can be read");
        let open: Vec<_> =
            open.iter().map(|event| format!("{} of {}", event.occurrence, event.switch)).collect();
        assert!(open.is_empty(), "not decided after {PATIENCE:?}: generations {}", open.join(", "));
    }

    /// The events of all generations in the log, which are all that were acknowledged and perhaps more.
    pub(crate) fn expected(&self, history: &History) -> Vec<Event> {
        for generation in &self.acknowledged {
            assert!(
                history.generations.contains(generation),
                "generation {generation} was acknowledged, and is gone"
            );
        }
        history.events(&self.switches)
    }

    /// `outplane tasks` tells the life of a task as the store has it.
    pub(crate) fn told_alike(&self, task: TransactionId, history: &History) {
        let words = ["tasks", &task.to_string(), "--config", "d1.toml", "-o", "json"];
        let output = self.cluster.outplane(&words).expect("the task is known");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let attempts = told["attempts"].as_array().expect("a list");
        let owners: Vec<_> = attempts.iter().filter_map(|attempt| attempt["by"].as_str()).collect();
        assert_eq!(owners, history.owners_of(task), "{told}");
    }

    /// The switches hold what the last policy says.
    pub(crate) fn nothing_left(&self) {
        let name = format!("policy-{}.yaml", self.policies % 8);
        let output = self.cluster.outplane(&["plan", &name, "-o", "json"]).expect("switches can be read");
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(plan["writes"], 0, "{plan}");
    }
}

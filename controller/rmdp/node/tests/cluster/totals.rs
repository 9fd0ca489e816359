//! What rules have counted, over the lives of their entries: through changes, restarts of controllers and switches, and from
//! one keeper to the next.

use std::sync::Arc;
use std::time::Duration;

use outplane_compiler::state::{Desired, Origin};
use outplane_driver::Fence;
use outplane_driver_p4runtime::{
    Connection, ConvergeOptions, Counted, Options, Pipeline, Rules, election_id,
};
use outplane_p4runtime::entry::Match;
use outplane_p4runtime::schema::{FieldInfo, TableInfo};
use outplane_rmdp_core::key::{Key, switch_id};
use outplane_rmdp_core::object::{Object, Outcome, PolicyFile, SwitchTotals};
use outplane_rmdp_core::task::Work;
use outplane_rmdp_node::generation::compiled;
use tokio::time::{sleep, timeout};

use crate::support::{Lab, PATIENCE, QUICK, policy, record};

/// Looks often, so that tests are short.
const AUDITS: &str = "[audit]\ninterval_s = 1\n";

impl Lab {
    /// So many packets that hit an entry of a rule.
    async fn hit(&self, switch: &str, rule: &str, packets: u64) {
        let hit = self.try_hit(switch, rule, packets).await;
        hit.unwrap_or_else(|| panic!("{rule} has an entry that counts"));
    }

    /// None: there is no such entry that packets see.
    async fn try_hit(&self, switch: &str, rule: &str, packets: u64) -> Option<()> {
        let pipeline = Arc::new(Pipeline::outplane().clone());
        let connection =
            Connection::open_read_only(self.target(switch), pipeline, Options::default()).await.ok()?;
        let installed = connection.read_installed(&Desired::default(), false).await.ok()?.installed;
        let schema = Pipeline::outplane().schema();
        let of_rule = installed.entries.iter().filter(|entry| {
            Origin::decode(&entry.metadata).is_some_and(|origin| origin.rule == rule)
                && schema.table(entry.key.table).is_some_and(TableInfo::has_direct_counter)
        });
        let state = self.switches[switch].state().read();
        let found = of_rule.into_iter().find_map(|entry| {
            let table = schema.table(entry.key.table)?;
            let field = |info: &FieldInfo| {
                let matched = entry.key.matches.iter().find(|matched| matched.field == info.id);
                match matched.map(|matched| matched.matches) {
                    Some(Match::Ternary { value, .. } | Match::Exact(value)) => value,
                    _ if info.name == "version" => installed.version.into(),
                    _ => 0,
                }
            };
            let key: Vec<u128> = table.fields.iter().map(field).collect();
            state.lookup(entry.key.table, &key).filter(outplane_softswitch::state::Lookup::is_hit)
        });
        let found = found?;
        for _ in 0..packets {
            found.entry().count(100);
        }
        Some(())
    }

    /// The totals, once a rule has counted so many packets; never more than that.
    async fn counts(&self, switch: &str, rule: &str, packets: u64) -> SwitchTotals {
        let key = Key::Totals(switch_id(switch).unwrap());
        let mut last = None;
        let counted = async {
            loop {
                if let Ok(Some(Object::Totals(totals))) = self.objects.get(&key).await {
                    let of = |rule: &str| {
                        totals.rules.iter().find(|total| total.rule == rule).map_or(0, |total| total.packets)
                    };
                    let now = of(rule);
                    assert!(now <= packets, "{rule}: {now}, and only {packets} have come: {totals:?}");
                    if now == packets {
                        return totals;
                    }
                    last = Some(totals);
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let counted = timeout(PATIENCE, counted).await;
        counted.unwrap_or_else(|_| panic!("{rule} does not come to {packets}: {last:?}"))
    }
}

/// The policy with one rule more, before all others: their entries are written anew.
fn with_one_more(lab: &Lab) -> Vec<PolicyFile> {
    let mut files = policy(lab.switches.keys(), 3);
    let first = "  rules:\n  - {name: first, action: deny, to: [{cidr: 192.0.2.0/24}]}\n";
    files[0].text = files[0].text.replace("  rules:\n", first);
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_go_on_through_changes_and_restarts() {
    let mut lab = Lab::with(&["leaf1"], 1, 2, &format!("{QUICK}{AUDITS}")).await;
    let mut nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    lab.hit("leaf1", "r0", 67).await;
    lab.hit("leaf1", "r1", 5).await;
    let totals = lab.counts("leaf1", "r0", 67).await;
    assert!(totals.since_ms > 0 && totals.read_ms >= totals.since_ms, "{totals:?}");

    // Nobody has read these yet when the change deletes the entries that have counted them.
    lab.hit("leaf1", "r0", 3).await;
    lab.converged(lab.append(with_one_more(&lab)).await).await;
    lab.counts("leaf1", "r0", 70).await;
    lab.counts("leaf1", "r1", 5).await;
    lab.hit("leaf1", "r0", 10).await;
    lab.counts("leaf1", "r0", 80).await;

    // All controllers are new: what they know is what the store has.
    for name in ["c1", "c2"] {
        nodes.remove(name).unwrap().kill();
    }
    for name in ["c1", "c2"] {
        nodes.insert(name, lab.start(name).await);
    }
    lab.hit("leaf1", "r0", 1).await;
    let totals = lab.counts("leaf1", "r0", 81).await;

    // One hands the switch over to the other.
    let other = if totals.by == "c1" { "c2" } else { "c1" };
    nodes.remove(totals.by.as_str()).unwrap().drain().await;
    lab.hit("leaf1", "r0", 4).await;
    let totals = lab.counts("leaf1", "r0", 85).await;
    assert_eq!(totals.by, other);

    // The switch restarts empty and counts from nothing.
    lab.restart("leaf1").await;
    let newest = lab.append(with_one_more(&lab)).await;
    lab.converged(newest).await;
    lab.hit("leaf1", "r0", 2).await;
    let totals = lab.counts("leaf1", "r0", 87).await;
    lab.counts("leaf1", "r1", 5).await;
    assert_eq!(totals.others, (0, 0));
}

/// One change after the other by one controller, which knows what the switch holds: it is not read before them, and what the
/// entries have counted that go is counted all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_switch_that_is_not_read_are_counted_whole() {
    let lab = Lab::with(&["leaf1"], 1, 1, &format!("{QUICK}[audit]\ninterval_s = 5\n")).await;
    let _nodes = lab.start_all().await;
    let (mut sent, mut from_memory) = ([0, 0], 0);
    for change in 0..20u64 {
        // Other entries for the same rules, and those of before again.
        let generation = match change % 3 {
            0 => lab.apply(3).await,
            1 => lab.append(with_one_more(&lab)).await,
            _ => lab.apply(4).await,
        };
        let decision = &lab.converged(generation).await["leaf1"];
        let Outcome::Done { report, .. } = &decision.outcome else { panic!("{decision:?}") };
        from_memory += u64::from(report.contains("from memory"));
        for (rule, sent) in ["r0", "r1"].into_iter().zip(&mut sent) {
            lab.hit("leaf1", rule, change + 3).await;
            *sent += change + 3;
        }
    }
    assert!(from_memory >= 15, "{from_memory} of 20");
    lab.counts("leaf1", "r0", sent[0]).await;
    lab.counts("leaf1", "r1", sent[1]).await;
}

/// Its keeper writes the same entries as before, in the same version of the policy: that it was empty tells that they began
/// anew, and not what they say, which is less than before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entries_of_a_switch_that_restarted_count_anew() {
    let mut lab = Lab::with(&["leaf1"], 1, 1, &format!("{QUICK}{AUDITS}")).await;
    let _nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    lab.hit("leaf1", "r0", 50).await;
    lab.counts("leaf1", "r0", 50).await;
    lab.restart("leaf1").await;
    // Until it is brought back.
    let back = async {
        while lab.try_hit("leaf1", "r0", 2).await.is_none() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("its keeper brings it back");
    lab.counts("leaf1", "r0", 52).await;
}

/// Somebody applies another policy to the switch while its keepers are away, and lets rules go on counting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_direct_apply_hands_on_is_counted_once() {
    let lab = Lab::with(&["leaf1"], 1, 1, &format!("{QUICK}{AUDITS}")).await;
    let mut nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    lab.hit("leaf1", "r0", 50).await;
    lab.counts("leaf1", "r0", 50).await;
    nodes.remove("c1").unwrap().drain().await;

    let other = compiled(&record(9, with_one_more(&lab))).unwrap();
    let Work::Converge { desired, .. } = other.tasks[0].work() else { panic!() };
    let desired = &other.states[desired];
    let fence = Fence { generation: 1, audit: 5, attempt: 1 };
    let options = Options { election_id: election_id(fence), ..Options::default() };
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let direct = Connection::open(lab.target("leaf1"), pipeline, options).await.unwrap();
    let mut direct = direct.with_counted(Counted::default());
    let report = direct
        .apply(desired, ConvergeOptions { rules: Rules::Carry, ..ConvergeOptions::default() })
        .await
        .unwrap();
    assert!(report.plan.total > 0);
    drop(direct);
    lab.hit("leaf1", "r0", 4).await;

    nodes.insert("c1", lab.start("c1").await);
    lab.counts("leaf1", "r0", 54).await;
    // Its keeper brings it back meanwhile, with other entries.
    lab.hit("leaf1", "r0", 3).await;
    lab.counts("leaf1", "r0", 57).await;
}

/// What is there under the key and cannot be read is left alone, and changes are made all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_place_of_totals_is_in_nobodys_way() {
    let lab = Lab::with(&["leaf1"], 1, 1, &format!("{QUICK}{AUDITS}")).await;
    let key = Key::Totals(switch_id("leaf1").unwrap());
    lab.objects.store().put(&key.path(), "{\"schema\":9}".into()).await.unwrap();
    let _nodes = lab.start_all().await;
    lab.converged(lab.apply(3).await).await;
    lab.hit("leaf1", "r0", 7).await;
    lab.converged(lab.apply(4).await).await;
    let found = lab.objects.store().get(&key.path()).await.unwrap().unwrap();
    assert_eq!(&found[..], b"{\"schema\":9}");
    // Its keeper says so in its status, by the object's name.
    let told = async {
        loop {
            let status = lab.objects.get(&Key::Status("c1".to_owned())).await;
            if let Ok(Some(Object::Status(status))) = status
                && status.alerts.iter().any(|alert| alert.starts_with("leaf1: what its rules count is not"))
            {
                return status.alerts;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let alerts = timeout(PATIENCE, told).await.expect("it is told");
    assert!(alerts.iter().any(|alert| alert.contains(&key.path())), "{alerts:?}");
}

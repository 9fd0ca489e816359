//! How large generations are in the store, and how long they take to append and to read: 10,000 pods and 3,000 policies.
//!
//! `cargo run --release -p outplane-rmdp-node --example log_size`. A live source tells of the pods, `apply` of the
//! policies, both as YAML; 64 switches; numbers of 200 KB, of which an edit changes three records. Each edit changes what
//! eight switches should hold. The embedded store is in this process, behind real sockets.

#[expect(dead_code, reason = "the tests' store, of which this needs a part")]
#[path = "../tests/log/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outplane_intent::testing::{large_pods, to_yaml};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{DesiredState, Generation, PolicyFile};
use outplane_rmdp_core::task::Digest;
use outplane_rmdp_node::log::{Logged, Own, Tip};
use outplane_rmdp_node::objects::Objects;
use support::{Lab, NETWORK, file};

const PODS: usize = 10_000;
const POLICIES: usize = 3_000;
const SWITCHES: usize = 64;
const TOUCHED: usize = 8;
const NUMBERS: usize = 5_000;

/// What is appended next: what it says, and what it would compile to.
struct Site {
    desired: BTreeMap<String, DesiredState>,
    numbers: Vec<String>,
    edits: usize,
}

fn state(of: usize) -> DesiredState {
    DesiredState { sha256: Digest::of(&of.to_le_bytes()), entries: 1000, place: of as u64 }
}

impl Site {
    fn new() -> Self {
        let name = |number| format!("leaf{number:02}");
        let desired = (0..SWITCHES).map(|number| (name(number), state(number))).collect();
        let record = |number: usize| {
            format!("{} class {number}\n", &Digest::of(&number.to_le_bytes()).to_string()[..24])
        };
        Self { desired, numbers: (0..NUMBERS).map(record).collect(), edits: SWITCHES }
    }

    /// Something was edited.
    fn edit(&mut self, next: Generation) -> Generation {
        for state_of in self.desired.values_mut().skip(self.edits % SWITCHES).take(TOUCHED) {
            self.edits += 1;
            *state_of = state(self.edits);
        }
        for place in [17, 2_500, 4_801] {
            self.edits += 1;
            self.numbers[place] = format!(
                "{} class {}\n",
                &Digest::of(&self.edits.to_le_bytes()).to_string()[..24],
                self.edits
            );
        }
        let numbers = Some(Arc::from(self.numbers.concat().into_bytes()));
        Generation { desired: self.desired.clone(), numbers, author: "root@ops1".to_owned(), ..next }
    }

    async fn append(&mut self, objects: &Objects, tip: &Tip, own: &Own) -> (Tip, Duration) {
        let next = self.edit(tip.next(NETWORK, own));
        let start = Instant::now();
        let tip = tip.append(objects, next).await.unwrap().expect("nobody else appends");
        (tip, start.elapsed())
    }
}

async fn size(objects: &Objects, key: &Key) -> usize {
    objects.store().get(&key.path()).await.unwrap().map_or(0, |bytes| bytes.len())
}

/// With a value of one object changed: of a label, or of an address.
fn edited(text: &str, value: &str, to: &str) -> String {
    let at = text.match_indices(value).map(|(at, _)| at);
    let is_value =
        |at: &usize| text[at + value.len()..].starts_with(|next: char| !next.is_ascii_alphanumeric());
    let at = at.into_iter().find(is_value).expect("the value is there");
    [&text[..at], to, &text[at + value.len()..]].concat()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[tokio::main]
async fn main() {
    let pods = to_yaml(&large_pods(PODS, 0));
    let policies = to_yaml(&outplane_intent::model::Intent {
        pods: BTreeMap::new(),
        namespaces: BTreeMap::new(),
        ..large_pods(PODS, POLICIES)
    });
    println!("{PODS} pods: {} bytes of YAML; {POLICIES} policies: {}", pods.len(), policies.len());
    let lab = Lab::new().await;
    let objects = lab.objects();
    let mut site = Site::new();
    let live = |text: String| Own::Live("cluster".to_owned(), vec![file("cluster", text)]);
    let apply = |text: String| Own::Apply(vec![PolicyFile { name: "policies.yaml".to_owned(), text }]);
    let tip = Tip::read(&objects, NETWORK).await.unwrap();
    let (tip, _) = site.append(&objects, &tip, &apply(policies.clone())).await;
    let (mut tip, first) = site.append(&objects, &tip, &live(pods.clone())).await;
    println!("the first two: {} to append the second", ms(first));
    let (mut policies, mut pods) = (policies, pods);
    let (mut sizes, mut times) = (Vec::new(), Vec::new());
    for edit in 0..189 {
        let own = if edit % 2 == 0 {
            policies = edited(&policies, &format!("app-{}", 3 * edit + 2), &format!("other-app-{edit}"));
            apply(policies.clone())
        } else {
            pods = edited(&pods, &format!("10.0.{}.{edit}", edit % 39), &format!("10.200.7.{edit}"));
            live(pods.clone())
        };
        let (next, time) = site.append(&objects, &tip, &own).await;
        tip = next;
        let number = tip.number();
        if !number.is_multiple_of(64) && !number.is_power_of_two() {
            sizes.push(size(&objects, &Key::Generation(number)).await);
            times.push(time);
        } else if number >= 64 {
            println!("generation {number}, which begins a block: {} to append", ms(time));
        }
    }
    sizes.sort_unstable();
    times.sort_unstable();
    let of = |values: &[usize]| {
        format!("median {}, largest {}", values[values.len() / 2], values[values.len() - 1])
    };
    println!("one edit's generation, bytes: {} (bar: 4096)", of(&sizes));
    println!("appending one: median {}, longest {}", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
    let listed = support::keys(&objects).await;
    for key in listed.iter().filter(|key| matches!(key, Key::Snapshot(128, _))) {
        println!("snapshot {}..: {} bytes (bar: {})", &key.path()[..34], size(&objects, key).await, 1 << 20);
    }
    let newest = tip.number();
    for (what, objects) in [("by who follows", objects.clone()), ("by who comes", lab.objects())] {
        let start = Instant::now();
        let logged = Logged::read(&objects, newest).await.unwrap().unwrap();
        logged.desired().await.unwrap();
        let desired = start.elapsed();
        let objects = if what == "by who follows" { objects } else { lab.objects() };
        let start = Instant::now();
        let record = Logged::read(&objects, newest).await.unwrap().unwrap().record().await.unwrap();
        assert_eq!(record.files[0].text, policies);
        assert_eq!(record.sources["cluster"][0].text, pods);
        println!(
            "reading {newest}, {} after a base, {what}: {}; its desired states alone: {}",
            newest % 64,
            ms(start.elapsed()),
            ms(desired)
        );
    }
}

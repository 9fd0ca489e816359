//! Controllers without a master: a change is carried out once on each switch, whatever fails.
//!
//! Everything that is printed comes from the nodes' counters, the store's objects and the switches' own journals.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use outplane_testbed::{
    Cluster, ClusterOptions, History, JournalLine, Part, SharedConfig, StoreKind, What, Xdp,
};

use super::{Interrupt, stranger, title};
use crate::network::{started, writer};

/// Rules of the policy of each change: large enough to be in the middle of for a while.
const RULES: usize = 1000;
/// Datagrams of 100 that are lost in the second act.
const LOSS: u8 = 30;
/// Entries that are deleted by hand.
const DELETED: usize = 100;
/// Changes in the second act until a controller was met in the middle of its work.
const TRIES: usize = 8;
/// After so long another controller has finished the task of one that was killed.
const FINISHED: Duration = Duration::from_millis(500);

struct Demo {
    cluster: Cluster,
    interrupt: Interrupt,
    changes: usize,
}

/// Datagrams of tasks at all controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Datagrams {
    first: f64,
    dropped: f64,
}

/// Runs it.
pub(super) fn run(interrupt: &Interrupt) -> Result<()> {
    let mut demo = Demo::new(interrupt.clone())?;
    demo.run()
}

impl Demo {
    fn new(interrupt: Interrupt) -> Result<Self> {
        title("Four distributors, four controllers, an S3 store, two switches; nobody is the master");
        let mut shared = SharedConfig::default();
        shared.claims.lease_base_ms = 1500;
        shared.claims.budget_ms = 500;
        // One way to every controller, so that the copies can be counted by hand.
        shared.datagrams.groups.retain(std::net::IpAddr::is_ipv4);
        let options = ClusterOptions {
            distributors: 4,
            controllers: 4,
            switches: 2,
            ports: 0,
            store: StoreKind::Embedded,
            xdp: Xdp::Auto,
            relays: Vec::new(),
            shared,
        };
        let cluster = started(options)?;
        Ok(Self { cluster, interrupt, changes: 0 })
    }

    fn run(&mut self) -> Result<()> {
        self.outplane(&["status"])?;

        title("A policy change: one task a switch, each sent by every distributor to every controller");
        let before = self.datagrams()?;
        let file = self.policy()?;
        self.outplane(&["apply", &file])?;
        self.account(before)?;
        self.lives()?;

        title(&format!(
            "The same while {LOSS} of 100 datagrams are lost, d1 is down, and the controller at work is killed"
        ));
        self.cluster.spoil(LOSS, 0)?;
        self.cluster.kill("d1")?;
        println!("  d1 killed; {LOSS} % of the datagrams to each node are dropped on the way");
        self.killed_in_the_middle()?;
        self.lives()?;

        title("Judged by the store's objects and the switches' own journals");
        let history = History::read(&self.cluster)?;
        let verdict = history.check(&history.events(&self.cluster.names(Part::Switch)));
        for line in verdict.to_string().lines() {
            println!("  {line}");
        }
        ensure!(verdict.faults().next().is_none(), "the history has faults, see above");
        self.outplane(&["status"])?;
        self.kept()
    }

    /// The policy is a state: what happens to a switch is put right, and nobody asks for it.
    fn kept(&mut self) -> Result<()> {
        let names = self.cluster.names(Part::Switch);
        let [first, second, ..] = &names[..] else { bail!("two switches are there") };
        let (first, second) = (first.clone(), second.clone());
        title(&format!("{first} is killed and starts again, empty; nobody asks for anything"));
        self.verified(&first, None)?;
        self.cluster.kill(&first)?;
        let start = Instant::now();
        self.cluster.start_one(&first)?;
        self.cluster.wait_ready(&first)?;
        println!(
            "  {first} answers again after {:.2} s; it has started without a program",
            start.elapsed().as_secs_f64()
        );
        let took = self.verified(&first, Some(start))?;
        println!("  it was seen to hold the policy again {took:.2} s after it was killed");

        title(&format!("Somebody edits {second} by hand, over our heads"));
        self.verified(&second, None)?;
        let start = self.edit(&second)?;
        let took = self.verified(&second, Some(start))?;
        println!("  it was seen to hold the policy again {took:.2} s after that program was started");
        self.outplane(&["status"])?;
        self.outplane(&["tasks"])
    }

    /// Deletes entries of a switch, past the controllers and the log, and says when that was begun.
    fn edit(&self, switch: &str) -> Result<Instant> {
        let objects = self.cluster.switch_objects();
        let (_, object) = objects.split_once(&format!("name: {switch}")).context("the switch's object")?;
        let (_, id) = object.split_once("deviceId: ").context("its device id")?;
        let id = id.split_whitespace().next().context("its device id")?.parse()?;
        let address = self.cluster.address(switch)?.to_string();
        let start = Instant::now();
        self.cluster.admin()?.inside(|| stranger::delete(address, id, DELETED))??;
        let taken = self.by_hand(switch, start)?;
        println!("  another program has taken {switch} over and deleted {taken} entries of the policy");
        ensure!(taken == DELETED, "it was to delete {DELETED}");
        Ok(start)
    }

    /// Updates that a switch has taken since then from somebody who is no controller.
    fn by_hand(&self, switch: &str, since: Instant) -> Result<usize> {
        let (writes, _) = self.writes_since(switch, since)?;
        let strange = writes.iter().filter(|line| writer(&self.cluster, line).is_err());
        Ok(strange
            .map(|line| match &line.what {
                What::Write { changes, .. } => changes.len(),
                _ => 0,
            })
            .sum())
    }

    /// Waits until a switch was seen to hold the newest generation, and that after a controller has written to it since
    /// `start`; seconds since then.
    fn verified(&self, switch: &str, start: Option<Instant>) -> Result<f64> {
        let patience = Instant::now() + Duration::from_mins(1);
        let mut told = false;
        loop {
            if let Some(start) = start
                && !told
                && let Some((controller, at)) = self.repaired(switch, start)?
            {
                println!("  {controller} has written to it {at:.2} s after that");
                told = true;
            }
            self.interrupt.check()?;
            let output = self.cluster.outplane(&["status", "--output", "json"])?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let newest = status["nodes"]
                .as_array()
                .and_then(|nodes| nodes.iter().filter_map(|node| node["generation"].as_u64()).max());
            let kept = status["switches"]
                .as_array()
                .and_then(|all| all.iter().find(|kept| kept["switch"] == switch));
            if let Some(kept) =
                kept.filter(|kept| kept["standing"] == "kept" && kept["desired"].as_u64() == newest)
            {
                let age = kept["verified_age"].as_f64().unwrap_or(f64::MAX);
                match start {
                    None => return Ok(age),
                    Some(start) => {
                        let seen = start.elapsed().as_secs_f64() - age;
                        // Both times are of this machine; the status has tenths.
                        if self.repaired(switch, start)?.is_some_and(|(_, last)| seen + 0.1 >= last) {
                            return Ok(seen);
                        }
                    }
                }
            }
            ensure!(Instant::now() < patience, "{switch} was not brought back for a minute: {kept:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The last controller that has written to a switch since then, and when, by the switch's own journal.
    fn repaired(&self, switch: &str, since: Instant) -> Result<Option<(String, f64)>> {
        let (writes, from) = self.writes_since(switch, since)?;
        let last =
            writes.iter().rev().find_map(|line| Some((writer(&self.cluster, line).ok()?, line.unix_ns)));
        #[expect(clippy::cast_precision_loss, reason = "a minute at most")]
        let seconds = |unix_ns: u64| u128::from(unix_ns).saturating_sub(from) as f64 / 1e9;
        Ok(last.map(|(controller, unix_ns)| (controller, seconds(unix_ns))))
    }

    /// The writes that a switch has taken since then, and when that was, Unix time in nanoseconds.
    fn writes_since(&self, switch: &str, since: Instant) -> Result<(Vec<JournalLine>, u128)> {
        let names = self.cluster.names(Part::Switch);
        let at = names.iter().position(|name| name == switch).context("a switch of the lab")?;
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let from = unix.saturating_sub(since.elapsed()).as_nanos();
        let mut writes = self.writes()?.swap_remove(at);
        writes.retain(|line| u128::from(line.unix_ns) >= from);
        Ok((writes, from))
    }

    /// Another policy than the last, for both switches.
    fn policy(&mut self) -> Result<String> {
        self.changes += 1;
        let mut text = self.cluster.switch_objects();
        text.push_str(
            "---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: hosts}\nspec:\n  rules:\n",
        );
        for rule in 0..RULES {
            let (high, low) = (rule / 250, rule % 250 + 1);
            let port = 1000 + (rule * 7 + self.changes * 131) % 30_000;
            let _ = writeln!(
                text,
                "  - {{name: r{rule}, action: allow, to: [{{cidr: 10.{}.{high}.{low}/32}}], ports: [{{protocol: TCP, port: {port}}}]}}",
                self.changes
            );
        }
        let name = format!("policy-{}.yaml", self.changes);
        self.cluster.write(&name, &text)?;
        Ok(name)
    }

    fn datagrams(&self) -> Result<Datagrams> {
        let mut sum = Datagrams::default();
        for controller in self.cluster.names(Part::Controller) {
            let metrics = self.cluster.metrics(&controller)?;
            let of = |verdict: &str| {
                metrics.sum("outplane_datagrams_total", &["type=\"task\"", &format!("verdict=\"{verdict}\"")])
            };
            sum.first += of("first");
            sum.dropped += of("duplicate");
        }
        Ok(sum)
    }

    /// What became of the datagrams since `before`.
    fn account(&self, before: Datagrams) -> Result<()> {
        let expected = Datagrams { first: 8.0, dropped: 24.0 };
        // The last copies may still be under way, and counters are read every second.
        let patience = Instant::now() + Duration::from_secs(5);
        let since = loop {
            let now = self.datagrams()?;
            let since = Datagrams { first: now.first - before.first, dropped: now.dropped - before.dropped };
            if since == expected || Instant::now() > patience {
                break since;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let mode = if self.in_kernel()? { "in the kernel" } else { "by the daemons, which have no XDP here" };
        println!(
            "\n  2 tasks x 4 distributors x 4 controllers: {} datagrams delivered, {} taken in, {} dropped {mode}",
            since.first + since.dropped,
            since.first,
            since.dropped
        );
        ensure!(since == expected, "expected {} taken in and {} dropped", expected.first, expected.dropped);
        Ok(())
    }

    fn in_kernel(&self) -> Result<bool> {
        for controller in self.cluster.names(Part::Controller) {
            if self.cluster.metrics(&controller)?.sum("outplane_receiver_mode", &["xdp"]) < 1.0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies changes until one is caught in the middle: its executor is killed while it writes.
    fn killed_in_the_middle(&mut self) -> Result<()> {
        let mut late = None;
        for _ in 0..TRIES {
            self.interrupt.check()?;
            let marks: Vec<_> = self.writes()?.iter().map(Vec::len).collect();
            let file = self.policy()?;
            println!("\n  $ outplane apply {file}");
            let apply =
                self.command(&["apply", &file])?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let mut killed = (String::new(), 0);
            let status = self.interrupt.follow(apply, || {
                killed = self.kill_a_writer(&marks)?;
                println!("  {} has begun to write, and is killed", killed.0);
                Ok(())
            })?;
            ensure!(status.success(), "`outplane apply` failed: {status}");
            let (killed, at) = killed;
            let finished = self.taken_over(&killed, at, &marks)?;
            match finished {
                Some(after) => println!(
                    "  {killed} was killed in the middle of its writes; another went on, and was through {:.0} ms after the kill",
                    after.as_secs_f64() * 1e3
                ),
                None => println!("  {killed} was killed too late: it was done"),
            }
            self.cluster.start_one(&killed)?;
            self.cluster.wait_ready(&killed)?;
            let Some(after) = finished else { continue };
            // What is not optimised writes for longer than that.
            if after <= FINISHED || cfg!(debug_assertions) {
                return Ok(());
            }
            late = Some(after);
        }
        match late {
            None => bail!("in {TRIES} changes no controller was met in the middle of its writes"),
            Some(late) => bail!(
                "in {TRIES} changes no task of a controller that was killed was finished within {FINISHED:?}; the last one took \
                 {late:?}"
            ),
        }
    }

    /// How long after the kill the last write to a switch was taken on which another controller went on with the task of the
    /// one that was killed; none: it had not begun on any, or was through.
    fn taken_over(&self, killed: &str, at: u64, marks: &[usize]) -> Result<Option<Duration>> {
        let mut longest = None;
        for (writes, mark) in self.writes()?.iter().zip(marks) {
            for pair in writes[*mark..].windows(2) {
                if pair[0].election_id != pair[1].election_id
                    && writer(&self.cluster, &pair[0])? == killed
                    && writer(&self.cluster, &pair[1])? != killed
                {
                    let end = writes.last().map_or(at, |line| line.unix_ns);
                    longest = longest.max(Some(Duration::from_nanos(end.saturating_sub(at))));
                }
            }
        }
        Ok(longest)
    }

    /// Kills the controller of the first write after `marks`; which, and when, in nanoseconds since 1970.
    fn kill_a_writer(&self, marks: &[usize]) -> Result<(String, u64)> {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            for (writes, mark) in self.writes()?.iter().zip(marks) {
                if let Some(line) = writes.get(*mark) {
                    let owner = writer(&self.cluster, line)?;
                    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
                    self.cluster.kill(&owner)?;
                    return Ok((owner, u64::try_from(since.as_nanos())?));
                }
            }
            self.interrupt.check()?;
            ensure!(Instant::now() < patience, "no switch was written to for 30 s");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What each switch's journal says of writes that it took.
    fn writes(&self) -> Result<Vec<Vec<JournalLine>>> {
        let taken = |line: &JournalLine| matches!(&line.what, What::Write { result, changes } if result == "OK" && !changes.is_empty());
        let read = |switch: String| {
            let text = std::fs::read_to_string(self.cluster.journal(&switch))?;
            // A line that is just being written is left for the next time.
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            Ok(JournalLine::parse_all(whole)?.into_iter().filter(taken).collect())
        };
        self.cluster.names(Part::Switch).into_iter().map(read).collect()
    }

    /// The life of each task of the newest generation.
    fn lives(&self) -> Result<()> {
        let output = self.cluster.outplane(&["tasks", "--output", "json"])?;
        let tasks: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let recent = tasks["recent"].as_array().context("`outplane tasks` lists nothing recent")?;
        let changes = || recent.iter().filter(|task| task["kind"] == "generation");
        let newest = changes().filter_map(|task| task["occurrence"].as_u64()).max();
        for task in changes().filter(|task| task["occurrence"].as_u64() == newest) {
            self.outplane(&["tasks", task["id"].as_str().context("a task without id")?])?;
        }
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        self.cluster.command(words)
    }

    fn outplane(&self, words: &[&str]) -> Result<()> {
        self.interrupt.show_outplane(words, &mut self.command(words)?)
    }
}

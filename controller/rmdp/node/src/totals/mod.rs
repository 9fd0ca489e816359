//! What the rules of switches have counted over the lives of their entries: `t/<switch>`.
//!
//! ```text
//!  begin: what does the store have? ──► the switch is read, to be compared or changed ──► account: the difference on top
//!   (asked, unless we have written it ourselves)        Counted                            PUT, if nobody has been there
//! ```
//! An entry counts from its insertion to its deletion, and a switch that restarts counts anew. So each reading is compared
//! with the one before, entry by entry, and the differences add up. What was read before is in the same object as the sums,
//! and both are written in place of what was there *before* the switch was read: of two controllers that read at a time, or
//! of an attempt that was repeated, one finds the object changed, and its reading is not used. So nothing is counted twice.
//! What is lost is what came between the last reading and a deletion or a restart of the switch. Whoever changes a switch
//! that it needs not read reads those entries that it takes away, and tells which have gone and come.
//!
//! Nobody waits for it: a change is not slower for its counters, and without the store it is made all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outplane_driver_p4runtime::{CountedEntry, Reading};
use outplane_p4runtime::entry::{Key as EntryKey, Match};
use outplane_rmdp_core::io::Listed;
use outplane_rmdp_core::key::{Key, Prefix, switch_id};
use outplane_rmdp_core::object::{EntryReading, MAX_TOTALS, Object, ObjectError, SwitchTotals};
use outplane_rmdp_core::task::TransactionId;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock;
use crate::error::Error;
use crate::objects::Objects;

/// Readings that wait to be accounted, of all switches.
const QUEUE: usize = 256;
/// Accounts under way.
const AT_ONCE: usize = 8;
/// What beginning may take: a change does not wait longer for its counters.
const BEGIN: Duration = Duration::from_millis(200);
/// What we have written ourselves is taken for what is there for so long.
const OURS: Duration = Duration::from_mins(1);
/// Totals that do not change are written all the same: they are swept when nobody has for a day.
const REWRITE_MS: u64 = 3_600_000;
/// Clocks of controllers differ by so much.
const CLOCKS_MS: u64 = 10_000;
/// How often totals are swept.
const SWEEP: Duration = Duration::from_hours(1);
/// Most switches whose totals are in memory.
const MOST_SWITCHES: usize = 4096;

/// What the store has of a switch, as far as we know.
#[derive(Clone, Debug)]
struct Base {
    totals: Arc<SwitchTotals>,
    /// What stands for it; none: there is no object yet.
    tag: Option<String>,
    /// From this number on nobody but us has written it.
    since: u64,
    at: Instant,
    /// When the switch was read last and had counted nothing more, Unix milliseconds; 0: not since it was written.
    unchanged_ms: u64,
}

/// A reading may be accounted on top of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    number: u64,
    /// The store was asked: what was read before this does not count.
    pub(crate) anew: bool,
}

#[derive(Debug)]
struct Account {
    switch: String,
    number: u64,
    readings: Vec<Reading>,
    read_ms: u64,
}

/// The totals of a controller's switches. Clones share them.
#[derive(Clone, Debug)]
pub struct Totals {
    objects: Objects,
    node: String,
    bases: Arc<Mutex<HashMap<String, Base>>>,
    send: mpsc::Sender<Account>,
    /// One object is read at a time: it may be large, and what it decodes to is larger.
    reads: Arc<tokio::sync::Mutex<()>>,
    /// Switches whose object cannot be read, and why.
    told: Arc<Mutex<BTreeMap<String, String>>>,
    /// Readings that were not accounted, since another was faster, the store did not answer, or there were too many.
    unused: Arc<AtomicU64>,
}

/// Carries out what [`Totals`] asks for.
pub(crate) struct Accounts {
    totals: Totals,
    receive: mpsc::Receiver<Account>,
    wanted: watch::Receiver<Wanted>,
}

/// Whose totals stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The switches of the newest generation; none: not known.
    switches: BTreeSet<TransactionId>,
    /// How long totals of others stay that nobody writes.
    keep: Duration,
}

impl Wanted {
    pub(crate) fn new<'s>(switches: impl Iterator<Item = &'s str>, keep: Duration) -> Self {
        Self { switches: switches.filter_map(switch_id).collect(), keep }
    }
}

impl Totals {
    /// Totals, and what accounts them; ends when nobody has totals any more.
    pub(crate) fn new(objects: Objects, node: String, wanted: watch::Receiver<Wanted>) -> (Self, Accounts) {
        let (send, receive) = mpsc::channel(QUEUE);
        let (bases, reads, unused) = (Arc::default(), Arc::default(), Arc::default());
        let totals = Self { objects, node, bases, send, reads, told: Arc::default(), unused };
        (totals.clone(), Accounts { totals, receive, wanted })
    }

    /// What is known of the totals of these switches.
    pub(crate) fn known<'s>(
        &self,
        switches: impl Iterator<Item = &'s str>,
    ) -> BTreeMap<String, Arc<SwitchTotals>> {
        let bases = self.bases();
        let known = switches.filter_map(|name| {
            let base = bases.get(name).filter(|base| base.totals.number > 0)?;
            Some((name.to_owned(), Arc::clone(&base.totals)))
        });
        known.collect()
    }

    /// As of when the totals of a switch are, Unix milliseconds: when it was read last, also where it had counted nothing.
    pub(crate) fn read_at(&self, switch: &str) -> Option<u64> {
        let bases = self.bases();
        let base = bases.get(switch).filter(|base| base.totals.number > 0)?;
        Some(base.totals.read_ms.max(base.unchanged_ms))
    }

    /// Readings that were not accounted.
    pub(crate) fn unused(&self) -> u64 {
        self.unused.load(Ordering::Relaxed)
    }

    /// Before a switch is read: sees to it that it is known what the store has. None: the store does not say.
    pub(crate) async fn begin(&self, switch: &str) -> Option<Begun> {
        if let Some(base) = self.bases().get(switch).filter(|base| base.at.elapsed() < OURS) {
            return Some(Begun { number: base.totals.number, anew: false });
        }
        let key = Key::Totals(switch_id(switch)?);
        let get = async {
            let _one = self.reads.lock().await;
            self.objects.get_tagged(&key).await
        };
        let (totals, tag) = match timeout(BEGIN, get).await {
            Ok(Ok(Some((Object::Totals(totals), tag)))) => (totals, Some(tag)),
            Ok(Ok(_)) => (SwitchTotals::new(switch), None),
            Ok(Err(Error::Object(error))) => {
                self.tell(switch, &error);
                return None;
            }
            Ok(Err(error)) => {
                tracing::debug!(switch, %error, "the totals of its rules cannot be read");
                return None;
            }
            Err(_) => return None,
        };
        self.told().remove(switch);
        let number = totals.number;
        self.keep(
            switch,
            Base { totals: Arc::new(totals), tag, since: number, at: Instant::now(), unchanged_ms: 0 },
        );
        Some(Begun { number, anew: true })
    }

    /// What was read of a switch after `begun`, in order.
    pub(crate) fn account(&self, switch: &str, begun: Option<Begun>, readings: Vec<Reading>) {
        if readings.is_empty() {
            return;
        }
        let number = read_of(&readings);
        let sent = begun.is_some_and(|begun| {
            let (switch, read_ms) = (switch.to_owned(), clock::unix_millis());
            let account = Account { switch, number: begun.number, readings, read_ms };
            self.send.try_send(account).is_ok()
        });
        if !sent {
            self.unused.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// Once a switch: garbage stays.
    fn tell(&self, switch: &str, fault: &ObjectError) {
        let mut told = self.told();
        let why = unreadable(fault);
        if told.get(switch) != Some(&why) && (told.len() < MOST_SWITCHES || told.contains_key(switch)) {
            tracing::warn!(switch, "what its rules count is not added up: {why}");
            told.insert(switch.to_owned(), why);
        }
    }

    /// Why what the rules of a switch count is not added up, if its object cannot be read.
    pub(crate) fn unreadable(&self, switch: &str) -> Option<String> {
        self.told().get(switch).cloned()
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, switch: &str, base: Base) {
        let mut bases = self.bases();
        if bases.len() >= MOST_SWITCHES && !bases.contains_key(switch) {
            let oldest = bases.iter().min_by_key(|(_, base)| base.at).map(|(name, _)| name.clone());
            oldest.map(|oldest| bases.remove(&oldest));
        }
        bases.insert(switch.to_owned(), base);
    }

    fn bases(&self) -> MutexGuard<'_, HashMap<String, Base>> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn add(&self, account: Account) {
        let Account { switch, number, readings, read_ms } = account;
        // What we have written since then is of readings before this one.
        let holds = |base: &&Base| (base.since..=base.totals.number).contains(&number);
        let base = self.bases().get(&switch).filter(holds).cloned();
        let count = read_of(&readings);
        let Some(base) = base else {
            self.unused.fetch_add(count, Ordering::Relaxed);
            return;
        };
        let is_whole = readings.iter().any(Reading::is_whole);
        let (node, before) = (self.node.clone(), Arc::clone(&base.totals));
        let work = move || added(&before, &node, readings, read_ms);
        let Ok(after) = tokio::task::spawn_blocking(work).await else { return };
        let totals = match after {
            Outcome::Same => {
                // Nobody else has written, as far as we know, and the next reading is compared with the same.
                if let Some(base) = self
                    .bases()
                    .get_mut(&switch)
                    .filter(|now| is_whole && now.totals.number == base.totals.number)
                {
                    base.unchanged_ms = read_ms;
                }
                return;
            }
            Outcome::TooMany => return,
            Outcome::Totals(totals) => totals,
        };
        match self.write(&base, totals).await {
            Ok(Some(written)) => self.keep(&switch, written),
            Ok(None) => {
                tracing::debug!(switch, "another has counted meanwhile");
                self.forget(&switch, count);
            }
            // It may be there or not: that is asked before the next reading.
            Err(error) => {
                tracing::debug!(switch, %error, "the totals of its rules cannot be written");
                self.forget(&switch, count);
            }
        }
    }

    fn forget(&self, switch: &str, readings: u64) {
        self.bases().remove(switch);
        self.unused.fetch_add(readings, Ordering::Relaxed);
    }

    /// None: somebody else has written meanwhile.
    async fn write(&self, base: &Base, totals: SwitchTotals) -> Result<Option<Base>, Error> {
        let Some(id) = switch_id(&totals.switch) else { return Ok(None) };
        let key = Key::Totals(id);
        let mut object = Object::Totals(totals.clone());
        let tag = match &base.tag {
            Some(tag) => self.objects.replace(&key, &mut object, tag).await?,
            None if self.objects.create(&key, &mut object).await? => {
                // Whatever is there now came after it, or is it.
                match self.objects.get_tagged(&key).await? {
                    Some((Object::Totals(found), tag)) if found.number == totals.number => Some(tag),
                    _ => None,
                }
            }
            None => None,
        };
        let (totals, since, at) = (Arc::new(totals), base.since, Instant::now());
        Ok(tag.map(|tag| Base { totals, tag: Some(tag), since, at, unchanged_ms: 0 }))
    }

    /// Removes what belongs to switches that are gone.
    async fn sweep(&self, wanted: &Wanted) -> Result<(), Error> {
        if wanted.switches.is_empty() || wanted.keep.is_zero() {
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.objects.list(&Prefix::Totals, after.as_deref()).await?;
            let old = |listed: &&Listed| {
                let known = matches!(&listed.key, Key::Totals(id) if wanted.switches.contains(id));
                !known && listed.age >= wanted.keep
            };
            let keys: Vec<Key> = page.keys.iter().filter(old).map(|listed| listed.key.clone()).collect();
            if !keys.is_empty() {
                tracing::info!(switches = keys.len(), "totals of switches that are gone are swept");
                self.objects.delete(&keys).await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

impl Accounts {
    /// Until the daemon ends. Accounts of one switch come one after the other: each is made on what the one before has
    /// written, or is not used.
    pub(crate) async fn run(mut self) {
        let mut under_way: JoinSet<String> = JoinSet::new();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        let mut later: Vec<Account> = Vec::new();
        let mut hours = interval(SWEEP);
        hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
        hours.tick().await;
        loop {
            if let Some(at) = later.iter().position(|account| !busy.contains(&account.switch))
                && under_way.len() < AT_ONCE
            {
                let account = later.remove(at);
                busy.insert(account.switch.clone());
                let (totals, switch) = (self.totals.clone(), account.switch.clone());
                under_way.spawn(async move {
                    totals.add(account).await;
                    switch
                });
                continue;
            }
            tokio::select! {
                account = self.receive.recv(), if later.len() < QUEUE => match account {
                    Some(account) => later.push(account),
                    None => return,
                },
                Some(ended) = under_way.join_next() => match ended {
                    Ok(switch) => drop(busy.remove(&switch)),
                    // A panic, which its own message has told.
                    Err(_) => busy.clear(),
                },
                _ = hours.tick() => {
                    let wanted = self.wanted.borrow().clone();
                    if let Err(error) = self.totals.sweep(&wanted).await {
                        tracing::debug!(%error, "old totals cannot be swept");
                    }
                }
            }
        }
    }
}

/// Why an object with totals is not read, and the cure.
pub fn unreadable(fault: &ObjectError) -> String {
    format!(
        "{fault}; delete the object, and the rules are counted anew within {} s and a look at the switch: from what their entries \
         have counted since they were installed",
        OURS.as_secs()
    )
}

/// What came of a reading.
enum Outcome {
    /// It is to be written.
    Totals(SwitchTotals),
    /// Nothing came, and what is there is young.
    Same,
    /// They do not fit.
    TooMany,
}

fn added(before: &SwitchTotals, node: &str, readings: Vec<Reading>, read_ms: u64) -> Outcome {
    let mut totals = before.clone();
    let mut differs = totals.number == 0;
    let mut behind = 0;
    let is_whole = readings.iter().any(Reading::is_whole);
    for reading in readings {
        let all = |entries: Vec<CountedEntry>| entries.into_iter().map(read).collect();
        let added = match reading {
            Reading::Whole(entries) => totals.add(all(entries)),
            Reading::Part(entries) => totals.add_part(all(entries)),
            Reading::Inserted(entries) => totals.inserted(all(entries)),
            Reading::Deleted(keys) => totals.deleted(&keys.iter().map(hash).collect()),
        };
        differs |= added.differs;
        behind = added.behind;
    }
    if behind > 0 {
        // Each look says so as long as it is so, which is no news to most.
        tracing::debug!(
            switch = totals.switch,
            behind,
            "entries count less than before; they add nothing until they have passed it"
        );
    }
    // What some entries have counted makes the others no younger.
    let read_ms = if is_whole || before.number == 0 { read_ms } else { before.read_ms };
    // What was read in the future was read by a clock that was ahead: it is put right at once.
    let is_future = before.read_ms > read_ms.saturating_add(CLOCKS_MS);
    if !differs && !is_future && read_ms.saturating_sub(before.read_ms) < REWRITE_MS {
        return Outcome::Same;
    }
    totals.number = before.number.saturating_add(1);
    node.clone_into(&mut totals.by);
    totals.read_ms = read_ms;
    if before.number == 0 {
        totals.since_ms = read_ms;
    }
    totals.since_ms = totals.since_ms.min(read_ms);
    let bytes = Object::Totals(totals.clone()).encode().len();
    if bytes > MAX_TOTALS {
        tracing::warn!(switch = totals.switch, bytes, "the totals of its rules are too many to be kept");
        return Outcome::TooMany;
    }
    Outcome::Totals(totals)
}

/// How many of these were read of a switch.
fn read_of(readings: &[Reading]) -> u64 {
    readings.iter().filter(|reading| reading.is_read()).count() as u64
}

fn read(entry: CountedEntry) -> EntryReading {
    let CountedEntry { key, origin, counter } = entry;
    EntryReading {
        entry: hash(&key),
        policy: origin.policy,
        rule: origin.rule,
        packets: counter.packets,
        bytes: counter.bytes,
    }
}

/// The first eight bytes of a SHA-256 of what identifies an entry: the same in every version of the program.
fn hash(key: &EntryKey) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(key.table.to_be_bytes());
    hasher.update(key.priority.to_be_bytes());
    for field in &key.matches {
        let (kind, first, second) = match field.matches {
            Match::Exact(value) => (0u8, value, 0),
            Match::Lpm { value, prefix_len } => (1, value, prefix_len.into()),
            Match::Ternary { value, mask } => (2, value, mask),
            Match::Range { low, high } => (3, low, high),
            Match::Optional(value) => (4, value, 0),
        };
        hasher.update(field.field.to_be_bytes());
        hasher.update([kind]);
        hasher.update(first.to_be_bytes());
        hasher.update(second.to_be_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests;

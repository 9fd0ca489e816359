//! `outplane show`: what is in the switches, by what their entries say themselves; counters also as controllers have added
//! them up.

mod totals;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use outplane_compiler::capacity::{self, ResourceUsage};
use outplane_compiler::program::{Program, Table};
use outplane_compiler::state::{Desired, Installed, Origin};
use outplane_driver_p4runtime::{Drops, Target};
use outplane_intent::deciders;
use outplane_intent::model::Intent;
use outplane_p4runtime::entry::{Counter, Entry};
use outplane_p4runtime::schema::TableInfo;
use serde::Serialize;

use super::compile::{entry_line, entry_text, highest_first};
use super::plan::others;
use crate::compiled::{by_table, schema, usage_table};
use crate::drops::DropsForm;
use crate::entries::{EntryForm, GroupForm, MeterForm, group_text, meter_text, table_name};
use crate::exit::{Exit, Usage};
use crate::names::Names;
use crate::node::{self, NodeArguments};
use crate::options::Format;
use crate::output::{
    self, BAD, FAINT, HEAD, Report, columns, columns_and_text, count, grouped, styled, wrapped,
};
use crate::switches::{self, About};
use crate::targets::Targets;
use crate::{input, runtime};

/// Arguments of `show`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What is shown.
#[derive(clap::Subcommand, Debug)]
enum What {
    /// The entries of every table, and which policy and rule asked for each
    Tables(TablesArguments),
    /// What every rule has counted, packets and bytes: by its entries as they are now, or (--config) in all
    Counters(CountersArguments),
    /// How full the tables are, and by whom
    Capacity(Where),
}

#[derive(clap::Args, Debug)]
struct TablesArguments {
    /// Only this table; may be repeated
    #[arg(long, value_name = "NAME", value_parser = known_table)]
    table: Vec<String>,
    #[command(flatten)]
    place: Where,
}

#[derive(clap::Args, Debug)]
struct CountersArguments {
    /// Show every entry's counter, too
    #[arg(long)]
    entries: bool,
    /// Totals over the lives of entries, as the controllers add them up; FILE is a node's own file [default without files
    /// and --address: `$OUTPLANE_CONFIG`]
    #[command(flatten)]
    node: NodeArguments,
    #[command(flatten)]
    place: Where,
}

/// Which switches: those of the files, or the one at an address.
#[derive(clap::Args, Debug)]
struct Where {
    /// Files and folders with Switch objects; `-` is standard input. Not needed with --address
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    targets: Targets,
}

fn known_table(name: &str) -> Result<String, String> {
    if schema().table_by_name(name).is_some() {
        return Ok(name.to_owned());
    }
    let tables: Vec<&str> = schema().tables().iter().map(|table| table.alias.as_str()).collect();
    Err(format!("there is no such table; there is {}", tables.join(", ")))
}

impl Where {
    /// What the files say, if there are any, and the switches.
    fn resolve(&self) -> anyhow::Result<(Intent, Vec<Target>)> {
        if self.files.is_empty() && !self.targets.has_address() {
            return Err(Usage(
                "which switch? Give files with Switch objects, or --address HOST:PORT; `show counters --config FILE` shows \
                 what controllers have counted"
                    .to_owned(),
            )
            .into());
        }
        let intent = if self.files.is_empty() { Intent::default() } else { input::read(&self.files)?.intent };
        let targets = self.targets.resolve(&intent)?;
        Ok((intent, targets))
    }
}

/// Reads the switches and shows what was asked for.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    match &arguments.what {
        What::Tables(arguments) => {
            let tables = arguments.table.clone();
            show(&arguments.place, false, format, move |held| {
                Tables::new(held.installed, held.names, &tables)
            })
        }
        What::Counters(arguments) => {
            let entries = arguments.entries;
            let direct = !arguments.place.files.is_empty() || arguments.place.targets.has_address();
            if arguments.node.is_named() || !direct && node::from_environment().is_some() {
                if direct || entries {
                    return Err(Usage(
                        "--config shows the totals that controllers have added up: they have no entries, and files and \
                         --address say which switch to read itself"
                            .to_owned(),
                    )
                    .into());
                }
                return totals::run(&arguments.node, &arguments.place.targets, format);
            }
            show(&arguments.place, true, format, move |held| Counters::new(&held, entries))
        }
        What::Capacity(place) => show(place, false, format, |held| Capacity::new(&held.installed)),
    }
}

/// What a switch holds, what that is called, and what it has dropped, where that was asked for and can be read.
struct Held {
    installed: Installed,
    names: Names,
    drops: Option<Drops>,
}

fn show<T>(
    place: &Where,
    counters: bool,
    format: Format,
    view: impl Fn(Held) -> T + Clone + Send + 'static,
) -> anyhow::Result<Exit>
where
    T: View + Serialize + Send + 'static,
{
    let (intent, targets) = place.resolve()?;
    let (intent, options) = (Arc::new(intent), place.targets.options());
    let one = |target: Target| {
        let (options, view, intent) = (options.clone(), view.clone(), Arc::clone(&intent));
        async move {
            let name = target.name.clone();
            let (installed, drops) = switches::read(target, options, &Desired::default(), counters).await?;
            let names = Names::new(&intent, intent.switches.get(&name), &installed.entries);
            Ok(view(Held { installed, names, drops }))
        }
    };
    // A switch does not know what people call it.
    let nameless = intent.switches.is_empty();
    let shown = Shown { nameless, switches: runtime::block_on(switches::each(targets, one))? };
    output::print(format, &shown)?;
    Ok(if shown.switches.iter().any(|about| about.error.is_some()) { Exit::Switch } else { Exit::Done })
}

/// What is shown of a switch, for people.
trait View {
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// All switches.
#[derive(Serialize)]
struct Shown<T> {
    /// Nobody has said what the switch is called.
    #[serde(skip)]
    nameless: bool,
    switches: Vec<About<T>>,
}

impl<T: View + Serialize> Report for Shown<T> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (place, about) in self.switches.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            let name = if self.nameless { "Switch".to_owned() } else { format!("Switch {}", about.switch) };
            let name = format!("{} at {}", styled(HEAD, name), about.address);
            if let Some(view) = &about.result {
                write!(out, "{name}")?;
                view.text(out)?;
            } else {
                let error = about.error.as_deref().unwrap_or_default();
                wrapped(out, 0, 2, &format!("{name}: {}: {error}", styled(BAD, "failed")))?;
            }
        }
        Ok(())
    }
}

/// `show tables`.
#[derive(Serialize)]
struct Tables {
    /// The version of the policy that packets see; 0: none, nothing passes.
    version: u8,
    entries: Vec<EntryForm>,
    groups: Vec<GroupForm>,
    meters: Vec<MeterForm>,
    /// Entries of other owners by table.
    others: BTreeMap<String, usize>,
    /// As they were read, for people.
    #[serde(skip)]
    installed: Installed,
    #[serde(skip)]
    names: Names,
}

impl Tables {
    fn new(mut installed: Installed, names: Names, only: &[String]) -> Self {
        let wanted = |table: u32| only.is_empty() || only.contains(&table_name(schema(), table));
        let mut others = others(&installed);
        others.retain(|table, _| only.is_empty() || only.contains(table));
        installed.entries =
            installed.entries.iter().filter(|entry| wanted(entry.key.table)).cloned().collect();
        if !only.is_empty() {
            installed.groups.clear();
            installed.meters.clear();
        }
        Self {
            version: installed.version,
            entries: installed.entries.iter().map(|entry| EntryForm::new(schema(), entry)).collect(),
            groups: installed.groups.iter().map(GroupForm::from).collect(),
            meters: installed.meters.iter().map(|cell| MeterForm::new(schema(), cell)).collect(),
            others,
            installed,
            names,
        }
    }
}

impl View for Tables {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Installed { entries: held, groups, meters, .. } = &self.installed;
        let entries = count(held.len(), "entry", "entries");
        writeln!(out, ": packets see version {}; {entries} of ours", self.version)?;
        for (table, entries) in by_table(held, |entry| entry.key.table) {
            let size = schema().table(table).map_or(0, |table| table.size);
            let used = grouped(entries.len() as u64);
            writeln!(out, "\n{} {used} of {}", styled(HEAD, table_name(schema(), table)), grouped(size))?;
            for entry in highest_first(entries) {
                entry_line(entry, &self.names, out)?;
            }
        }
        if !groups.is_empty() || !meters.is_empty() {
            writeln!(out)?;
        }
        for group in groups {
            wrapped(out, 0, 2, &group_text(group, &self.names))?;
        }
        for meter in meters {
            wrapped(out, 0, 2, &meter_text(schema(), meter, &self.names))?;
        }
        for (table, entries) in &self.others {
            let entries = count(*entries, "entry", "entries");
            writeln!(out, "{}", styled(FAINT, format_args!("{table}: {entries} of others")))?;
        }
        Ok(())
    }
}

/// `show counters`.
#[derive(Serialize)]
struct Counters {
    version: u8,
    /// Every rule that has entries in tables that count, in the order in which the switch asks them.
    rules: Vec<RuleCounter>,
    /// What the switch has dropped; null where it does not let that be read.
    drops: Option<DropsForm>,
    /// With --entries: every entry that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryCounter>>,
}

/// What stands below counters of pods' policies.
const ISOLATION: &str = "rule isolation counts what it takes, also the answers that pass it in the end; what was denied is among the \
                         drops";

/// Whether a rule counts answers that pass it in the end, too.
fn counts_answers(policy: &str, rule: &str) -> bool {
    rule == deciders::ISOLATION && deciders::is_network_policy(policy)
}

/// A rule's counter.
#[derive(Serialize)]
struct RuleCounter {
    policy: String,
    rule: String,
    /// Entries that count for it.
    entries: usize,
    packets: u64,
    bytes: u64,
}

/// An entry's counter.
#[derive(Serialize)]
struct EntryCounter {
    packets: u64,
    bytes: u64,
    #[serde(flatten)]
    entry: EntryForm,
    #[serde(skip)]
    text: String,
}

impl Counters {
    fn new(Held { installed, names, drops }: &Held, entries: bool) -> Self {
        let counted =
            |entry: &&Entry| schema().table(entry.key.table).is_some_and(TableInfo::has_direct_counter);
        let count_of = |entry: &Entry| installed.counters.get(&entry.key).copied().unwrap_or_default();
        let mut rules: BTreeMap<(String, String), (usize, Counter)> = BTreeMap::new();
        let mut order = Order::default();
        let guards =
            [Table::SourceGuardV4, Table::SourceGuardV6].map(|table| Program::outplane().table(table));
        for entry in installed.entries.iter().filter(counted) {
            let Some(origin) = Origin::decode(&entry.metadata) else { continue };
            // What source guards count stands among the drops.
            if guards.contains(&entry.key.table) {
                continue;
            }
            order.note(entry, &origin);
            let Counter { packets, bytes } = count_of(entry);
            let (entries, sum) = rules.entry((origin.policy, origin.rule)).or_default();
            *entries += 1;
            sum.packets = sum.packets.saturating_add(packets);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
        let one = |entry: &Entry| {
            let Counter { packets, bytes } = count_of(entry);
            let priority = entry.key.priority;
            let text =
                format!("{} {priority} {}", table_name(schema(), entry.key.table), entry_text(entry, names));
            EntryCounter { packets, bytes, entry: EntryForm::new(schema(), entry), text }
        };
        let rule = |((policy, rule), (entries, Counter { packets, bytes }))| RuleCounter {
            policy,
            rule,
            entries,
            packets,
            bytes,
        };
        let mut rules: Vec<RuleCounter> = rules.into_iter().map(rule).collect();
        rules.sort_by_cached_key(|counter| order.of(&counter.policy, &counter.rule));
        Self {
            version: installed.version,
            rules,
            drops: drops.as_ref().map(|drops| DropsForm::new(drops, names)),
            entries: entries.then(|| installed.entries.iter().filter(counted).map(one).collect()),
        }
    }
}

/// Where a rule stands: its first table, its highest priority there, and its place among its policy's.
type Place = (usize, Reverse<i32>, u32);

/// In which order the switch asks policies and their rules, by what their entries say.
#[derive(Default)]
struct Order {
    policies: BTreeMap<String, Place>,
    rules: BTreeMap<(String, String), Place>,
}

impl Order {
    fn note(&mut self, entry: &Entry, origin: &Origin) {
        let table = schema().tables().iter().position(|table| table.id == entry.key.table);
        let place = (table.unwrap_or(usize::MAX), Reverse(entry.key.priority), origin.order);
        let least = |known: &mut Place| *known = place.min(*known);
        self.policies.entry(origin.policy.clone()).and_modify(least).or_insert(place);
        let rule = (origin.policy.clone(), origin.rule.clone());
        self.rules.entry(rule).and_modify(least).or_insert(place);
    }

    /// What to sort rules by: those of a policy stay together.
    fn of(&self, policy: &str, rule: &str) -> (Option<Place>, String, Option<Place>, String) {
        let place = self.rules.get(&(policy.to_owned(), rule.to_owned())).copied();
        (self.policies.get(policy).copied(), policy.to_owned(), place, rule.to_owned())
    }
}

impl View for Counters {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let note = "what entries count since they were written";
        writeln!(out, ": packets see version {}; {}", self.version, styled(FAINT, note))?;
        let row = |rule: &RuleCounter| {
            vec![
                rule.policy.clone(),
                rule.rule.clone(),
                grouped(rule.packets),
                grouped(rule.bytes),
                grouped(rule.entries as u64),
            ]
        };
        columns(
            out,
            &["policy", "rule", "packets", "bytes", "entries"],
            &[2, 3, 4],
            self.rules.iter().map(row),
        )?;
        if self.rules.iter().any(|rule| counts_answers(&rule.policy, &rule.rule)) {
            wrapped(out, 2, 4, &styled(FAINT, ISOLATION))?;
        }
        match &self.drops {
            Some(drops) => drops.text(out)?,
            None => writeln!(out, "\n{}: the switch does not let them be read", styled(HEAD, "Drops"))?,
        }
        let Some(entries) = &self.entries else { return Ok(()) };
        writeln!(out)?;
        let row =
            |entry: &EntryCounter| vec![grouped(entry.packets), grouped(entry.bytes), entry.text.clone()];
        columns_and_text(out, &["packets", "bytes", "entry"], &[0, 1], entries.iter().map(row))
    }
}

/// `show capacity`.
#[derive(Serialize)]
struct Capacity {
    version: u8,
    resources: Vec<ResourceUsage>,
    /// Entries of other owners by table; they take room, too.
    others: BTreeMap<String, usize>,
}

impl Capacity {
    fn new(installed: &Installed) -> Self {
        let held = Desired {
            entries: installed.entries.clone(),
            groups: installed.groups.clone(),
            meters: installed.meters.clone(),
        };
        Self {
            version: installed.version,
            resources: capacity::measure(Program::outplane(), &held),
            others: others(installed),
        }
    }
}

impl View for Capacity {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, ": packets see version {}", self.version)?;
        usage_table(out, &self.resources)?;
        for (table, entries) in &self.others {
            let entries = count(*entries, "entry", "entries");
            writeln!(out, "  {}", styled(FAINT, format_args!("{table}: {entries} more of others")))?;
        }
        Ok(())
    }
}

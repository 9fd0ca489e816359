//! `outplane show`: what is in the switches, by what their entries say themselves.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use outplane_compiler::capacity::{self, ResourceUsage};
use outplane_compiler::program::Program;
use outplane_compiler::state::{Desired, Installed, Origin};
use outplane_driver_p4runtime::Target;
use outplane_intent::model::Intent;
use outplane_p4runtime::entry::{Counter, Entry};
use outplane_p4runtime::schema::TableInfo;
use serde::Serialize;

use super::compile::{entry_line, highest_first};
use super::plan::others;
use crate::cli::Format;
use crate::compiled::{by_table, schema, usage_table};
use crate::entries::{EntryForm, GroupForm, MeterForm, table_name};
use crate::exit::{Exit, Usage};
use crate::output::{self, BAD, FAINT, HEAD, Report, columns, count, grouped, styled};
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
    /// What every rule has counted: packets and bytes
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
    fn resolve(&self) -> anyhow::Result<Vec<Target>> {
        if !self.files.is_empty() {
            return self.targets.resolve(&input::read(&self.files)?.intent);
        }
        if !self.targets.has_address() {
            return Err(Usage(
                "which switch? Give files with Switch objects, or --address HOST:PORT".to_owned(),
            )
            .into());
        }
        self.targets.resolve(&Intent::default())
    }
}

/// Reads the switches and shows what was asked for.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    match &arguments.what {
        What::Tables(arguments) => {
            let tables = arguments.table.clone();
            show(&arguments.place, false, format, move |installed| Tables::new(installed, &tables))
        }
        What::Counters(arguments) => {
            let entries = arguments.entries;
            show(&arguments.place, true, format, move |installed| Counters::new(&installed, entries))
        }
        What::Capacity(place) => show(place, false, format, |installed| Capacity::new(&installed)),
    }
}

fn show<T>(
    place: &Where,
    counters: bool,
    format: Format,
    view: impl Fn(Installed) -> T + Clone + Send + 'static,
) -> anyhow::Result<Exit>
where
    T: View + Serialize + Send + 'static,
{
    let targets = place.resolve()?;
    let options = place.targets.options();
    let one = |target: Target| {
        let (options, view) = (options.clone(), view.clone());
        async move {
            let installed = switches::read(target, options, &Desired::default(), counters).await?;
            Ok(view(installed))
        }
    };
    let shown = Shown { switches: runtime::block_on(switches::each(targets, one))? };
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
    switches: Vec<About<T>>,
}

impl<T: View + Serialize> Report for Shown<T> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (place, about) in self.switches.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            write!(out, "{} at {}", styled(HEAD, format_args!("Switch {}", about.switch)), about.address)?;
            match (&about.result, &about.error) {
                (Some(view), _) => view.text(out)?,
                (None, error) => {
                    writeln!(out, ": {}: {}", styled(BAD, "failed"), error.as_deref().unwrap_or_default())?;
                }
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
    #[serde(skip)]
    installed: Vec<Entry>,
}

impl Tables {
    fn new(installed: Installed, only: &[String]) -> Self {
        let wanted = |table: u32| only.is_empty() || only.contains(&table_name(schema(), table));
        let mut others = others(&installed);
        others.retain(|table, _| only.is_empty() || only.contains(table));
        let mut entries = installed.entries;
        entries.retain(|entry| wanted(entry.key.table));
        let everything = only.is_empty();
        Self {
            version: installed.version,
            entries: entries.iter().map(|entry| EntryForm::new(schema(), entry)).collect(),
            groups: installed.groups.iter().filter(|_| everything).map(GroupForm::from).collect(),
            meters: installed
                .meters
                .iter()
                .filter(|_| everything)
                .map(|m| MeterForm::new(schema(), m))
                .collect(),
            others,
            installed: entries,
        }
    }
}

impl View for Tables {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let entries = count(self.installed.len(), "entry", "entries");
        writeln!(out, ": packets see version {}; {entries} of ours", self.version)?;
        for (table, entries) in by_table(&self.installed, |entry| entry.key.table) {
            let size = schema().table(table).map_or(0, |table| table.size);
            let used = grouped(entries.len() as u64);
            writeln!(out, "\n{} {used} of {}", styled(HEAD, table_name(schema(), table)), grouped(size))?;
            for entry in highest_first(entries) {
                writeln!(out, "{}", entry_line(entry))?;
            }
        }
        if !self.groups.is_empty() || !self.meters.is_empty() {
            writeln!(out)?;
        }
        for group in &self.groups {
            writeln!(out, "{group}")?;
        }
        for meter in &self.meters {
            writeln!(out, "{meter}")?;
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
    /// Every rule that has entries in tables that count, by policy and name.
    rules: Vec<RuleCounter>,
    /// With --entries: every entry that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryCounter>>,
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
    fn new(installed: &Installed, entries: bool) -> Self {
        let counted =
            |entry: &&Entry| schema().table(entry.key.table).is_some_and(TableInfo::has_direct_counter);
        let count_of = |entry: &Entry| installed.counters.get(&entry.key).copied().unwrap_or_default();
        let mut rules: BTreeMap<(String, String), (usize, Counter)> = BTreeMap::new();
        for entry in installed.entries.iter().filter(counted) {
            let Some(origin) = Origin::decode(&entry.metadata) else { continue };
            let Counter { packets, bytes } = count_of(entry);
            let (entries, sum) = rules.entry((origin.policy, origin.rule)).or_default();
            *entries += 1;
            sum.packets = sum.packets.saturating_add(packets);
            sum.bytes = sum.bytes.saturating_add(bytes);
        }
        let one = |entry: &Entry| {
            let Counter { packets, bytes } = count_of(entry);
            let text = format!("{}{}", table_name(schema(), entry.key.table), entry_line(entry));
            EntryCounter { packets, bytes, entry: EntryForm::new(schema(), entry), text }
        };
        Self {
            version: installed.version,
            rules: rules
                .into_iter()
                .map(|((policy, rule), (entries, Counter { packets, bytes }))| RuleCounter {
                    policy,
                    rule,
                    entries,
                    packets,
                    bytes,
                })
                .collect(),
            entries: entries.then(|| installed.entries.iter().filter(counted).map(one).collect()),
        }
    }
}

impl View for Counters {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, ": packets see version {}", self.version)?;
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
        let Some(entries) = &self.entries else { return Ok(()) };
        writeln!(out)?;
        let row =
            |entry: &EntryCounter| vec![grouped(entry.packets), grouped(entry.bytes), entry.text.clone()];
        columns(out, &["packets", "bytes", "entry"], &[0, 1], entries.iter().map(row))
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

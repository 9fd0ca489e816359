//! `outplane compile`: what each switch should hold.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use outplane_compiler::compile::SwitchState;
use outplane_compiler::state::Origin;
use outplane_intent::model::{Intent, P4Runtime, Protocol};
use outplane_p4runtime::entry::Entry;
use outplane_p4runtime::schema::TableInfo;
use serde::Serialize;

use crate::compiled::{self, by_table, schema};
use crate::entries::{EntryForm, GroupForm, MeterForm, group_text, matches_text, meter_text};
use crate::exit::Exit;
use crate::input;
use crate::names::Names;
use crate::options::{Format, PolicyFiles};
use crate::output::{self, FAINT, HEAD, Report, count, grouped, styled, wrapped};
use crate::requests::{self, Form};
use crate::targets;
use crate::values::origin_text;

/// Arguments of `compile`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: PolicyFiles,
    /// Only this switch of the files; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    switch: Vec<String>,
    /// Write a file for each switch to this folder, which is created if need be: NAME.txt or NAME.json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// With --out: write a P4Runtime `WriteRequest` that fills an empty switch instead, for other tools: NAME.txtpb or
    /// NAME.binpb
    #[arg(long, value_enum, value_name = "FORM", requires = "out")]
    requests: Option<Form>,
}

/// Desired states.
#[derive(Serialize)]
struct Desired {
    switches: Vec<DesiredSwitch>,
}

/// Desired state of a switch.
#[derive(Serialize)]
struct DesiredSwitch {
    switch: String,
    /// SHA-256 of everything below: equal digests are equal states.
    digest: String,
    entries: Vec<EntryForm>,
    groups: Vec<GroupForm>,
    meters: Vec<MeterForm>,
    #[serde(skip)]
    state: SwitchState,
    #[serde(skip)]
    names: Names,
}

impl DesiredSwitch {
    fn new(intent: &Intent, switch: String, state: SwitchState) -> Self {
        Self {
            names: Names::new(intent, intent.switches.get(&switch), &state.desired.entries),
            digest: compiled::digest(&state),
            entries: state.desired.entries.iter().map(|entry| EntryForm::new(schema(), entry)).collect(),
            groups: state.desired.groups.iter().map(GroupForm::from).collect(),
            meters: state.desired.meters.iter().map(|cell| MeterForm::new(schema(), cell)).collect(),
            switch,
            state,
        }
    }
}

/// Compiles and prints.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let input = input::load(&arguments.sources)?;
    let names = targets::chosen(&input.intent, &arguments.switch)?;
    let mut compiled = compiled::compile(&input)?;
    let desired = Desired {
        switches: names
            .into_iter()
            .filter_map(|name| {
                let state = compiled.switches.remove(&name)?;
                Some(DesiredSwitch::new(&input.intent, name, state))
            })
            .collect(),
    };
    let Some(folder) = &arguments.out else {
        output::print(format, &desired)?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    for switch in &desired.switches {
        match arguments.requests {
            Some(form) => {
                let object = input.intent.switches.get(&switch.switch);
                let Protocol::P4Runtime(P4Runtime { device_id, .. }) =
                    object.map_or_else(Protocol::default, |switch| switch.protocol.clone());
                let request = requests::request(&switch.state.desired, device_id);
                let path = folder.join(format!("{}.{}", switch.switch, form.extension()));
                let written = requests::encode(&request, form).and_then(|bytes| Ok(fs::write(&path, bytes)?));
                written.with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => write(folder, switch, format)?,
        }
    }
    Ok(Exit::Done)
}

fn write(folder: &Path, switch: &DesiredSwitch, format: Format) -> anyhow::Result<()> {
    let extension = match format {
        Format::Json => "json",
        Format::Text => "txt",
    };
    let path = folder.join(format!("{}.{extension}", switch.switch));
    let written = || -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(&path)?);
        match format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut file, switch)?;
                writeln!(file)?;
            }
            Format::Text => {
                let mut plain = anstream::StripStream::new(Vec::new());
                switch.text(&mut plain)?;
                file.write_all(&plain.into_inner())?;
            }
        }
        Ok(file.flush()?)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

impl Report for Desired {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (place, switch) in self.switches.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            switch.text(out)?;
        }
        Ok(())
    }
}

impl DesiredSwitch {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let desired = &self.state.desired;
        writeln!(
            out,
            "{} {}, {}",
            styled(HEAD, format_args!("Switch {}", self.switch)),
            count(desired.entries.len(), "entry", "entries"),
            styled(FAINT, format_args!("digest {}", self.digest)),
        )?;
        for (table, entries) in by_table(&desired.entries, |entry| entry.key.table) {
            let size = schema().table(table).map_or(0, |table| table.size);
            let name = schema().table(table).map_or("", |table| table.alias.as_str());
            writeln!(out, "\n{} {} of {}", styled(HEAD, name), grouped(entries.len() as u64), grouped(size))?;
            for entry in highest_first(entries) {
                entry_line(entry, &self.names, out)?;
            }
        }
        if !desired.groups.is_empty() {
            writeln!(out, "\n{}", styled(HEAD, "multicast groups"))?;
            for group in &desired.groups {
                wrapped(out, 2, 4, &group_text(group, &self.names))?;
            }
        }
        if !desired.meters.is_empty() {
            writeln!(out, "\n{}", styled(HEAD, "meters"))?;
            for cell in &desired.meters {
                wrapped(out, 2, 4, &meter_text(schema(), cell, &self.names))?;
            }
        }
        Ok(())
    }
}

/// `  100 src_class=5 (host web) -> admin_permit()  FilterPolicy/servers, rule web`, broken where it is long.
pub(crate) fn entry_line(entry: &Entry, names: &Names, out: &mut dyn Write) -> io::Result<()> {
    let priority = format!("{:>6}", entry.key.priority);
    wrapped(out, 2, 5 + priority.len(), &format!("{priority} {}", entry_text(entry, names)))
}

/// `src_class=5 (host web) -> admin_permit()  FilterPolicy/servers, rule web`.
pub(crate) fn entry_text(entry: &Entry, names: &Names) -> String {
    let matches = matches_text(schema(), &entry.key, names);
    let action = names.action(entry.key.table, &entry.action);
    let what = format!("{matches} -> {action}");
    // Of entries that serve all policies the table says what they are for.
    let common = |origin: &Origin| {
        let counted = schema().table(entry.key.table).is_some_and(TableInfo::has_direct_counter);
        origin.policy == Origin::COMMON && !counted
    };
    match Origin::decode(&entry.metadata) {
        Some(origin) if common(&origin) => what,
        _ => format!("{what}  {}", styled(FAINT, origin_text(&entry.metadata))),
    }
}

/// In the order in which a switch asks them.
pub(crate) fn highest_first(mut entries: Vec<&Entry>) -> Vec<&Entry> {
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.key.priority));
    entries
}

//! `outplane check`: are the policies right, what do they take, what do they open?

use std::collections::BTreeMap;
use std::io::{self, Write};

use outplane_compiler::capacity::Resource;
use outplane_compiler::compile::{Note, Opening, SwitchState, Unread};
use outplane_compiler::program::Table;
use outplane_intent::expectation::Expectations;
use outplane_intent::model::{ClusterTier, FilterTier, Intent, KubernetesDefaults};
use outplane_intent::reader::{self, Diagnostic};
use serde::Serialize;

use crate::compiled::{self, SwitchUsage};
use crate::exit::Exit;
use crate::expectations::{self, Failed};
use crate::input::{self, Refused};
use crate::options::{Format, PolicyFiles};
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, columns, grouped, styled, wrapped};

/// Arguments of `check`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: PolicyFiles,
    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,
}

/// What `check` found.
#[derive(Serialize)]
struct Checked {
    /// Whether the policies can be applied; with --strict, without any warning.
    ok: bool,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Errors and warnings that were too many to keep.
    omitted: usize,
    /// Objects by kind; kinds without objects are left out. This and what follows is empty with errors in the files.
    objects: BTreeMap<&'static str, usize>,
    /// What each switch would hold.
    switches: Vec<SwitchUsage>,
    /// What looks like a reply and passes therefore.
    openings: Vec<Opening>,
    /// What becomes of frames that a switch cannot read, by switch.
    unread: BTreeMap<String, Vec<Unread>>,
    /// What else is worth knowing.
    notes: Vec<String>,
}

impl Checked {
    fn refused(refused: Refused) -> Self {
        Self {
            ok: false,
            errors: refused.errors,
            warnings: refused.warnings,
            omitted: refused.omitted_errors,
            objects: BTreeMap::new(),
            switches: Vec::new(),
            openings: Vec::new(),
            unread: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}

/// Reads, compiles and reports.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let checked = check(arguments);
    if format == Format::Text {
        input::explain(&checked.errors, 0);
        input::explain(&checked.warnings, checked.omitted);
    }
    output::print(format, &checked)?;
    Ok(if checked.ok { Exit::Done } else { Exit::Failed })
}

fn check(arguments: &Arguments) -> Checked {
    let mut input = match input::load(&arguments.sources) {
        Ok(input) => input,
        Err(refused) => return Checked::refused(refused),
    };
    let (advice, incomplete) = reader::advice(&input.intent, &input.sources, input.at);
    input.warnings.extend(advice);
    let objects = objects(&input.intent, &input.expectations, &input.sources);
    let compiled = match compiled::compile(&input) {
        Ok(compiled) => compiled,
        Err(refused) => return Checked { objects, ..Checked::refused(refused) },
    };
    let mut warnings = compiled::warnings(&input, &compiled);
    let Failed { errors, omitted } = expectations::failed(&input, &compiled);
    warnings.splice(0..0, input.warnings);
    let strict = !arguments.strict || (warnings.is_empty() && input.omitted_warnings == 0);
    Checked {
        ok: strict && errors.is_empty(),
        omitted: if errors.is_empty() { input.omitted_warnings } else { omitted },
        errors,
        warnings,
        objects,
        switches: SwitchUsage::of(&compiled),
        unread: compiled
            .switches
            .iter()
            .map(|(switch, state)| (switch.clone(), state.unread.clone()))
            .collect(),
        openings: in_order(compiled.openings, &input.intent),
        notes: compiled
            .notes
            .iter()
            .filter(|note| matches!(note, Note::NodeUnknown { .. }))
            .map(Note::to_string)
            .chain(incomplete)
            .chain(compiled.switches.iter().filter(|(_, state)| !forwards(state)).map(|(switch, _)| {
                format!(
                    "switch {switch} forwards no frame, whatever the policies allow: no segment has ports or a VLAN \
                     there, and no ports are cross-connected"
                )
            }))
            .collect(),
    }
}

/// Whether a switch would send any frame on.
fn forwards(state: &SwitchState) -> bool {
    let where_to = [Table::CrossConnect, Table::L2Forward, Table::Flood];
    let used = |table: &Table| {
        state.usage.iter().any(|usage| usage.resource == Resource::Table(*table) && usage.used > 0)
    };
    where_to.iter().any(used)
}

/// Policies in the order in which they are asked, rules in that of their policy.
fn in_order(mut openings: Vec<Opening>, intent: &Intent) -> Vec<Opening> {
    let cluster = |tier: &ClusterTier| if *tier == ClusterTier::Admin { 1 } else { 3 };
    let place = |opening: &Opening| {
        let (kind, name) = opening.policy.split_once('/').unwrap_or_default();
        let (tier, priority) = match (kind, intent.filters.get(name), intent.cluster_policies.get(name)) {
            ("FilterPolicy", Some(policy), _) if policy.tier == FilterTier::Admin => (0, policy.priority),
            ("FilterPolicy", Some(policy), _) => (4, policy.priority),
            ("ClusterNetworkPolicy", _, Some(policy)) => (cluster(&policy.tier), policy.priority),
            _ => (2, 0),
        };
        let rules = intent.filters.get(name).filter(|_| kind == "FilterPolicy");
        let rule = rules.and_then(|policy| {
            policy.rules.iter().position(|rule| Some(&rule.name) == opening.rule.as_ref())
        });
        (tier, priority, opening.policy.clone(), rule)
    };
    openings.sort_by_cached_key(place);
    openings
}

/// Objects by kind, of the kinds that there are some of.
pub(crate) fn objects(
    intent: &Intent,
    expectations: &Expectations,
    sources: &reader::Sources,
) -> BTreeMap<&'static str, usize> {
    // Namespaces that pods or policies name are there, too, and are no objects of the input.
    let namespaces = sources.objects().filter(|object| object.starts_with("Namespace/")).count();
    let all = [
        ("Switch", intent.switches.len()),
        ("Segment", intent.segments.len()),
        ("Host", intent.hosts.len()),
        ("AddressGroup", intent.groups.len()),
        ("FilterPolicy", intent.filters.len()),
        ("KubernetesDefaults", usize::from(intent.defaults != KubernetesDefaults::default())),
        ("Expectation", expectations.len()),
        ("Namespace", namespaces),
        ("Pod", intent.pods.len()),
        ("Node", intent.nodes.len()),
        ("NetworkPolicy", intent.network_policies.len()),
        ("ClusterNetworkPolicy", intent.cluster_policies.len()),
    ];
    all.into_iter().filter(|(_, number)| *number > 0).collect()
}

impl Report for Checked {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.objects.is_empty() {
            writeln!(out, "{}", styled(HEAD, "Objects"))?;
            let rows =
                self.objects.iter().map(|(kind, number)| vec![(*kind).to_owned(), grouped(*number as u64)]);
            columns(out, &["kind", "number"], &[1], rows)?;
            writeln!(out)?;
        }
        for switch in &self.switches {
            switch.text(out)?;
            writeln!(out)?;
        }
        self.openings_text(out)?;
        self.unread_text(out)?;
        if !self.notes.is_empty() {
            writeln!(out, "{}", styled(HEAD, "Notes"))?;
            for note in &self.notes {
                wrapped(out, 2, 4, note)?;
            }
            writeln!(out)?;
        }
        let (more_errors, more_warnings) =
            if self.errors.is_empty() { (0, self.omitted) } else { (self.omitted, 0) };
        let found = input::found(self.errors.len() + more_errors, self.warnings.len() + more_warnings);
        match (self.ok, self.errors.is_empty(), self.warnings.is_empty()) {
            (true, _, true) => writeln!(out, "{}", styled(GOOD, "ok")),
            (true, _, false) if self.objects.is_empty() => {
                writeln!(out, "{}: {found}", styled(WARN, "nothing to apply"))
            }
            (true, _, false) => writeln!(out, "{}: {found}", styled(WARN, "ok")),
            (false, true, _) => {
                writeln!(out, "{}: {found}, and --strict lets none pass", styled(BAD, "failed"))
            }
            (false, false, _) => writeln!(out, "{}: {found}", styled(BAD, "failed")),
        }
    }
}

impl Checked {
    fn openings_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.openings.is_empty() {
            return Ok(());
        }
        let note = "(a switch keeps no state: what looks like one of these passes, asked for or not)";
        wrapped(out, 0, 2, &format!("{} {}", styled(HEAD, "Replies and errors"), styled(FAINT, note)))?;
        for of_policy in self.openings.chunk_by(|one, next| one.policy == next.policy) {
            let mut modes: Vec<String> = Vec::new();
            for opening in of_policy {
                let mode = opening.by.to_string();
                if !modes.contains(&mode) {
                    modes.push(mode);
                }
            }
            wrapped(out, 2, 4, &format!("{} ({})", of_policy[0].policy, modes.join(", ")))?;
            for Opening { rule, traffic, from, to, .. } in of_policy {
                let rule = rule.as_ref().map(|rule| format!("rule {rule}: ")).unwrap_or_default();
                wrapped(out, 4, 6, &format!("{rule}{traffic} from {from} to {to}"))?;
            }
        }
        writeln!(out)
    }

    fn unread_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let note = "(MPLS, PPPoE, MACsec, LLC/SNAP, unknown EtherTypes: IP may be in them)";
        wrapped(
            out,
            0,
            2,
            &format!("{} {}", styled(HEAD, "Frames that cannot be read"), styled(FAINT, note)),
        )?;
        let mut switches = self.unread.values();
        let first = switches.next();
        if switches.all(|other| Some(other) == first) {
            for unread in first.into_iter().flatten() {
                wrapped(out, 2, 4, &unread.to_string())?;
            }
        } else {
            for (switch, unread) in &self.unread {
                for unread in unread {
                    wrapped(out, 2, 4, &format!("{switch}: {unread}"))?;
                }
            }
        }
        writeln!(out)
    }
}

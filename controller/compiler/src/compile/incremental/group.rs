//! The policies of switches that have the same ones.

use std::collections::BTreeMap;

use outplane_intent::model::FilterPolicy;
use outplane_p4runtime::entry::{Entry, Key};

use super::store::{Kind, Sets, Store};
use super::tables::Prefixes;
use crate::addresses::AddressSet;
use crate::classes::live::{Changes, Live, SetEdit, TooMuch};
use crate::classes::{AddressClasses, Catalog, ClassRange, Cube, PortClasses, SetId};
use crate::numbers::{PolicyNumbers, PortNumbers, is_about};
use crate::p4::classes::{address_entry, port_entry};
use crate::program::{ActionKind, Program, Table};
use crate::ranges::Ranges;
use crate::rows::content::Content;
use crate::rows::meters::Limiters;
use crate::rows::notes::Decision;
use crate::rows::pods::{LivePods, UnitRows};
use crate::rows::priority::Places;
use crate::rows::row::Rows;
use crate::rows::unit::Unit;
use crate::rows::{Findings, Scene, filter, unread};

/// See the module.
pub(super) struct Group {
    /// As of the last time that everything was compiled: what does not change until then.
    numbers: PolicyNumbers,
    filters: Vec<String>,
    limiters: Limiters,
    denial: Option<Decision>,
    store: Store,
    filter: AddressClasses,
    pod: Live,
    /// What has become of pods' classes since the group was settled.
    changes: Changes,
    sport: Ports,
    dport: Ports,
    v4: Prefixes<u32>,
    v6: Prefixes<u128>,
}

/// Classes of ports.
#[derive(Default)]
struct Ports {
    classes: PortClasses,
    /// By number of the set, which one it is in `classes`.
    ids: BTreeMap<u32, SetId>,
    /// Before they changed last, since the group was settled.
    before: Option<PortNumbers>,
}

impl Group {
    /// `numbers`: those that everything has been compiled to. None: that cannot be gone on from.
    pub(super) fn new(
        scene: &Scene<'_>,
        filters: &[(&str, &FilterPolicy)],
        numbers: PolicyNumbers,
        pods: &mut LivePods,
        mut units: UnitRows,
    ) -> Option<Self> {
        let program = Program::outplane();
        let limited = filter::limited(filters, scene.at);
        let limiters = Limiters::assign(limited, program.rate_limiter_cells(), &numbers.cells)?;
        let mut rows = Rows::default();
        let mut places = Places::new(&numbers.places);
        let mut findings = Findings::default();
        filter::compile(filters, scene, &limiters, &mut places, pods.for_filters(), &mut rows, &mut findings)
            .ok()?;
        pods.filters_have_asked();
        units.push((Unit::Filters, rows.into_contents()));
        let denial = pods.denial().cloned();
        units.push(unread(scene, filters, &limiters, denial.as_ref()));
        let mut store = Store::default();
        store.replace(units);

        let [of_filter, of_pod] = numbers.addresses();
        let filter = catalog(&store.filter).classify(&of_filter, store.filter.uses()).ok()?;
        let pod = catalog(&store.pod).classify(&of_pod, store.pod.uses()).ok()?;
        let (mut sport, mut dport) = (Ports::default(), Ports::default());
        sport.update(&store.sport, &numbers.sport).ok()?;
        dport.update(&store.dport, &numbers.dport).ok()?;
        let sets: Vec<&AddressSet> =
            (0u32..).take(store.pod.len()).filter_map(|set| store.pod.get(set)).map(AsRef::as_ref).collect();
        let live = Live::new(&sets, &pod);
        let (v4, v6) = (Prefixes::new(&numbers.v4), Prefixes::new(&numbers.v6));
        let filters = filters.iter().map(|(name, _)| (*name).to_owned()).collect();
        let changes = Changes::default();
        let mut group = Self {
            numbers,
            filters,
            limiters,
            denial,
            store,
            filter,
            pod: live,
            changes,
            sport,
            dport,
            v4,
            v6,
        };
        group.expand(program);
        group.settle();
        Some(group)
    }

    /// As they were when the group was settled.
    pub(super) fn numbers(&self) -> PolicyNumbers {
        PolicyNumbers {
            v4: self.v4.numbers(),
            v6: self.v6.numbers(),
            pod_covers: self.pod.covers(&self.changes.covers),
            sport: self.sport.numbers(),
            dport: self.dport.numbers(),
            ..self.numbers.clone()
        }
    }

    /// What becomes of entries where units have other rows.
    pub(super) fn update(
        &mut self,
        scene: &Scene<'_>,
        mut units: UnitRows,
        denial: Option<&Decision>,
    ) -> Result<BTreeMap<Key, Option<Entry>>, TooMuch> {
        let program = Program::outplane();
        if denial != self.denial.as_ref() {
            let policies = scene.intent.filters.iter().filter(|(name, _)| self.filters.contains(name));
            let policies: Vec<(&str, &FilterPolicy)> =
                policies.map(|(name, policy)| (name.as_str(), policy)).collect();
            units.push(unread(scene, &policies, &self.limiters, denial));
            self.denial = denial.cloned();
        }
        self.store.replace(units);
        if !self.store.filter.changed().is_empty() {
            return Err(TooMuch);
        }
        let ports = [
            (Kind::Sport, &mut self.sport, &self.store.sport),
            (Kind::Dport, &mut self.dport, &self.store.dport),
        ];
        let mut reopened: Vec<(Kind, u32)> = Vec::new();
        for (kind, ports, sets) in ports {
            if sets.changed().is_empty() {
                continue;
            }
            let before = ports.numbers();
            reopened.extend(ports.update(sets, &before)?.into_iter().map(|set| (kind, set)));
            ports.before.get_or_insert(before);
        }
        self.classify()?;
        reopened.extend(self.changes.covers.keys().map(|set| (Kind::Pod, *set)));
        for (kind, set) in reopened {
            self.store.reopen(kind, set);
        }
        let mut edits = self.expand(program);
        let (v4, v6) = (std::mem::take(&mut self.changes.v4), std::mem::take(&mut self.changes.v6));
        // The first ones are as few as can be.
        if !v4.is_empty() && self.v4.is_empty() || !v6.is_empty() && self.v6.is_empty() {
            return Err(TooMuch);
        }
        self.v4.update(v4, &self.filter.v4, |low, high| self.pod.v4(low, high));
        self.v6.update(v6, &self.filter.v6, |low, high| self.pod.v6(low, high));
        self.class_entries(program, &mut edits);
        let fewest = self.numbers.fewest.unwrap_or_default();
        let known = self.numbers.entries_anew.unwrap_or_default();
        let fits = is_about(self.len(), known)
            && self.v4.is_about(fewest.0)
            && self.v6.is_about(fewest.1)
            && !self.store.is_full(program)
            && self.class_tables().iter().all(|(table, count)| *count <= program.size(*table));
        if fits { Ok(edits) } else { Err(TooMuch) }
    }

    /// Ends an update.
    pub(super) fn settle(&mut self) {
        self.changes = Changes::default();
        self.store.settle();
        self.v4.settle();
        self.v6.settle();
        self.sport.before = None;
        self.dport.before = None;
    }

    /// Gives addresses that are in other sets than before their classes.
    fn classify(&mut self) -> Result<(), TooMuch> {
        let none = AddressSet::default();
        let sets = &self.store.pod;
        let edits: Vec<SetEdit<'_>> = sets
            .changed()
            .iter()
            .map(|(set, before)| SetEdit {
                set: *set,
                before: before.as_deref().unwrap_or(&none),
                now: sets.get(*set).map_or(&none, AsRef::as_ref),
            })
            .collect();
        self.pod.update(&edits, sets.uses(), &|one, other| sets.order(one, other), &mut self.changes)
    }

    fn expand(&mut self, program: &Program) -> BTreeMap<Key, Option<Entry>> {
        let Self { store, filter, pod, sport, dport, .. } = self;
        store.expand(program, &|(kind, set)| match kind {
            // Numbers of filter policies' sets are those of their classes.
            Kind::Filter => filter.classes.cubes_of(set),
            Kind::Pod => pod.cubes(set),
            Kind::Sport => sport.cubes(set),
            Kind::Dport => dport.cubes(set),
        })
    }

    /// The entries that give addresses and ports other classes.
    fn class_entries(&self, program: &Program, edits: &mut BTreeMap<Key, Option<Entry>>) {
        let mut put = |entry: Entry, is: bool| {
            let key = entry.key.clone();
            edits.insert(key, is.then_some(entry));
        };
        for (prefix, classes) in self.v4.changed() {
            let of =
                |table, action| address_entry(program, table, action, &prefix, classes.unwrap_or_default());
            put(of(Table::SrcV4Class, ActionKind::SetSrcClass), classes.is_some());
            put(of(Table::DstV4Class, ActionKind::SetDstClass), classes.is_some());
        }
        for (prefix, classes) in self.v6.changed() {
            let of =
                |table, action| address_entry(program, table, action, &prefix, classes.unwrap_or_default());
            put(of(Table::SrcV6Class, ActionKind::SetSrcClass), classes.is_some());
            put(of(Table::DstV6Class, ActionKind::SetDstClass), classes.is_some());
        }
        for (table, action, ports) in [
            (Table::SportClass, ActionKind::SetSportClass, &self.sport),
            (Table::DportClass, ActionKind::SetDportClass, &self.dport),
        ] {
            let Some(before) = &ports.before else { continue };
            let of = |range: &ClassRange<u16>| port_entry(program, table, action, *range);
            for range in &before.ports {
                put(of(range), false);
            }
            for range in &ports.classes.ports {
                put(of(range), true);
            }
        }
    }

    /// How many entries the tables of classes have.
    fn class_tables(&self) -> Vec<(Table, u64)> {
        let (v4, v6) = (self.v4.len() as u64, self.v6.len() as u64);
        let (sport, dport) = (self.sport.classes.ports.len() as u64, self.dport.classes.ports.len() as u64);
        vec![
            (Table::SrcV4Class, v4),
            (Table::DstV4Class, v4),
            (Table::SrcV6Class, v6),
            (Table::DstV6Class, v6),
            (Table::SportClass, sport),
            (Table::DportClass, dport),
        ]
    }

    fn len(&self) -> u64 {
        self.store.len() + self.class_tables().iter().map(|(_, count)| count).sum::<u64>()
    }
}

impl Ports {
    /// Classes of all sets anew; those of which cubes have changed.
    fn update(&mut self, sets: &Sets<Ranges<u16>>, before: &PortNumbers) -> Result<Vec<u32>, TooMuch> {
        let mut catalog = Catalog::default();
        let mut ids = BTreeMap::new();
        let mut uses = Vec::new();
        for set in (0u32..).take(sets.len()) {
            if let Some(content) = sets.get(set) {
                ids.insert(set, catalog.add(content.as_ref()));
                uses.push(sets.uses()[set as usize]);
            }
        }
        let classes = catalog.classify(&before.before(), &uses).map_err(|_| TooMuch)?;
        let changed = ids.iter().filter(|(set, id)| self.cubes(**set) != classes.classes.cubes(**id));
        let changed = changed.map(|(set, _)| *set).collect();
        (self.classes, self.ids) = (classes, ids);
        Ok(changed)
    }

    fn cubes(&self, set: u32) -> &[Cube] {
        self.ids.get(&set).map_or(&[], |id| self.classes.classes.cubes(*id))
    }

    /// As they were when the group was settled.
    fn numbers(&self) -> PortNumbers {
        self.before.clone().unwrap_or_else(|| PortNumbers::new(&self.classes))
    }
}

/// All sets, by their numbers: nobody has left yet.
fn catalog(sets: &Sets<AddressSet>) -> Catalog<AddressSet> {
    let mut catalog = Catalog::default();
    for set in (0u32..).take(sets.len()) {
        if let Some(content) = sets.get(set) {
            catalog.add(content.as_ref());
        }
    }
    catalog
}

/// Frames that cannot be read.
fn unread(
    scene: &Scene<'_>,
    filters: &[(&str, &FilterPolicy)],
    limiters: &Limiters,
    denial: Option<&Decision>,
) -> (Unit, Vec<Content>) {
    let mut rows = Rows::default();
    unread::compile(filters, scene, limiters, denial, &mut rows);
    (Unit::Unread, rows.into_contents())
}

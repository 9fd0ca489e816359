//! The binding: tables, fields, actions and parameters of `outplane.p4` and the ids that a P4Info gives them.
//!
//! The compiler and the lookup speak of [`Table::FilterAdmin`] and [`Field::SrcClass`]; here they become numbers, once,
//! and a P4Info that lacks one of them or has it in another shape is refused.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use outplane_p4runtime::entry::{Action, DefaultEntry, FieldMatch, Key, Match};
use outplane_p4runtime::schema::{Cells, MatchKind, Schema};

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in `outplane.p4`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names! {
    /// A table of `outplane.p4`, in the order in which packets meet them.
    Table {
        PolicyVersion = "policy_version",
        SegmentOf = "segment_of",
        SourceGuardV4 = "source_guard_v4",
        SourceGuardV6 = "source_guard_v6",
        SrcV4Class = "src_v4_class",
        DstV4Class = "dst_v4_class",
        SrcV6Class = "src_v6_class",
        DstV6Class = "dst_v6_class",
        SportClass = "sport_class",
        DportClass = "dport_class",
        FilterAdmin = "filter_admin",
        PodEgressAdmin = "pod_egress_admin",
        PodEgress = "pod_egress",
        PodEgressAdminReply = "pod_egress_admin_reply",
        PodEgressReply = "pod_egress_reply",
        PodIngressAdmin = "pod_ingress_admin",
        PodIngress = "pod_ingress",
        PodIngressAdminReply = "pod_ingress_admin_reply",
        PodIngressReply = "pod_ingress_reply",
        FilterBaseline = "filter_baseline",
        CrossConnect = "cross_connect",
        L2Forward = "l2_forward",
        Flood = "flood",
    }
}

names! {
    /// A match field of `outplane.p4`.
    Field {
        Version = "version",
        IngressPort = "ingress_port",
        VlanPresent = "vlan_present",
        VlanId = "vlan_id",
        Address = "address",
        Protocol = "protocol",
        Port = "port",
        Segment = "segment",
        Traffic = "traffic",
        SrcClass = "src_class",
        DstClass = "dst_class",
        Fragment = "fragment",
        SportClass = "sport_class",
        DportClass = "dport_class",
        TcpFlags = "tcp_flags",
        Established = "established",
        Reply = "reply",
        IcmpType = "icmp_type",
        IcmpCode = "icmp_code",
        EtherType = "ether_type",
        Related = "related",
        DstMac = "dst_mac",
    }
}

names! {
    /// An action of `outplane.p4`.
    ActionKind {
        SetVersion = "set_version",
        SetSegment = "set_segment",
        SourceV4Allow = "source_v4_allow",
        SourceV4Deny = "source_v4_deny",
        SourceV6Allow = "source_v6_allow",
        SourceV6Deny = "source_v6_deny",
        SetSrcClass = "set_src_class",
        SetDstClass = "set_dst_class",
        SetSportClass = "set_sport_class",
        SetDportClass = "set_dport_class",
        AdminPermit = "admin_permit",
        AdminPermitLimited = "admin_permit_limited",
        AdminDeny = "admin_deny",
        AdminDenyLog = "admin_deny_log",
        AdminPass = "admin_pass",
        BaselinePermit = "baseline_permit",
        BaselinePermitLimited = "baseline_permit_limited",
        BaselineDeny = "baseline_deny",
        BaselineDenyLog = "baseline_deny_log",
        BaselinePass = "baseline_pass",
        EgressAdminPermit = "egress_admin_permit",
        EgressAdminDeny = "egress_admin_deny",
        EgressAdminPass = "egress_admin_pass",
        EgressPermit = "egress_permit",
        EgressDeny = "egress_deny",
        EgressDenyLog = "egress_deny_log",
        EgressPass = "egress_pass",
        IngressAdminPermit = "ingress_admin_permit",
        IngressAdminDeny = "ingress_admin_deny",
        IngressAdminPass = "ingress_admin_pass",
        IngressPermit = "ingress_permit",
        IngressDeny = "ingress_deny",
        IngressDenyLog = "ingress_deny_log",
        IngressPass = "ingress_pass",
        EgressAdminReply = "egress_admin_reply",
        EgressAdminNoReply = "egress_admin_no_reply",
        EgressAdminReplyPass = "egress_admin_reply_pass",
        EgressReply = "egress_reply",
        EgressNoReply = "egress_no_reply",
        IngressAdminReply = "ingress_admin_reply",
        IngressAdminNoReply = "ingress_admin_no_reply",
        IngressAdminReplyPass = "ingress_admin_reply_pass",
        IngressReply = "ingress_reply",
        IngressNoReply = "ingress_no_reply",
        Forward = "forward",
        FloodTo = "flood_to",
        Drop = "drop",
    }
}

names! {
    /// An indexed counter of `outplane.p4`: what is dropped.
    DropCounter {
        Drops = "drops",
        SegmentDrops = "segment_drops",
        LimiterDrops = "limiter_drops",
    }
}

/// Match fields and their widths in bits.
type KeyFields = &'static [(Field, u32)];

const SEGMENT_KEY: KeyFields =
    &[(Field::Version, 8), (Field::IngressPort, 9), (Field::VlanPresent, 1), (Field::VlanId, 12)];
const GUARD_KEY_V4: KeyFields =
    &[(Field::Version, 8), (Field::IngressPort, 9), (Field::Segment, 16), (Field::Address, 32)];
const GUARD_KEY_V6: KeyFields =
    &[(Field::Version, 8), (Field::IngressPort, 9), (Field::Segment, 16), (Field::Address, 128)];
const CLASS_KEY_V4: KeyFields = &[(Field::Version, 8), (Field::Address, 32)];
const CLASS_KEY_V6: KeyFields = &[(Field::Version, 8), (Field::Address, 128)];
const PORT_KEY: KeyFields = &[(Field::Version, 8), (Field::Protocol, 8), (Field::Port, 16)];
const FILTER_KEY: KeyFields = &[
    (Field::Version, 8),
    (Field::Segment, 16),
    (Field::Traffic, 3),
    (Field::SrcClass, 16),
    (Field::DstClass, 16),
    (Field::Protocol, 8),
    (Field::Fragment, 1),
    (Field::SportClass, 16),
    (Field::DportClass, 16),
    (Field::TcpFlags, 8),
    (Field::Established, 1),
    (Field::Reply, 1),
    (Field::IcmpType, 8),
    (Field::IcmpCode, 8),
    (Field::EtherType, 16),
    (Field::Related, 1),
];
const POD_KEY: KeyFields = &[
    (Field::Version, 8),
    (Field::SrcClass, 16),
    (Field::DstClass, 16),
    (Field::Protocol, 8),
    (Field::Fragment, 1),
    (Field::DportClass, 16),
];
const REPLY_KEY: KeyFields = &[
    (Field::Version, 8),
    (Field::SrcClass, 16),
    (Field::DstClass, 16),
    (Field::Protocol, 8),
    (Field::SportClass, 16),
    (Field::Established, 1),
    (Field::Related, 1),
];

impl Table {
    /// Match fields and their widths in bits. [`Program`] checks that the P4Info has exactly these.
    pub const fn fields(self) -> &'static [(Field, u32)] {
        match self {
            Self::PolicyVersion => &[],
            Self::SegmentOf => SEGMENT_KEY,
            Self::SourceGuardV4 => GUARD_KEY_V4,
            Self::SourceGuardV6 => GUARD_KEY_V6,
            Self::SrcV4Class | Self::DstV4Class => CLASS_KEY_V4,
            Self::SrcV6Class | Self::DstV6Class => CLASS_KEY_V6,
            Self::SportClass | Self::DportClass => PORT_KEY,
            Self::FilterAdmin | Self::FilterBaseline => FILTER_KEY,
            Self::PodEgressAdmin | Self::PodEgress | Self::PodIngressAdmin | Self::PodIngress => POD_KEY,
            Self::PodEgressAdminReply
            | Self::PodEgressReply
            | Self::PodIngressAdminReply
            | Self::PodIngressReply => REPLY_KEY,
            Self::CrossConnect => &[(Field::IngressPort, 9)],
            Self::L2Forward => &[(Field::Segment, 16), (Field::DstMac, 48)],
            Self::Flood => &[(Field::Segment, 16)],
        }
    }

    /// The actions of its entries.
    pub const fn actions(self) -> &'static [ActionKind] {
        use ActionKind as A;
        match self {
            Self::PolicyVersion => &[A::SetVersion],
            Self::SegmentOf => &[A::SetSegment],
            Self::SourceGuardV4 => &[A::SourceV4Allow, A::SourceV4Deny],
            Self::SourceGuardV6 => &[A::SourceV6Allow, A::SourceV6Deny],
            Self::SrcV4Class | Self::SrcV6Class => &[A::SetSrcClass],
            Self::DstV4Class | Self::DstV6Class => &[A::SetDstClass],
            Self::SportClass => &[A::SetSportClass],
            Self::DportClass => &[A::SetDportClass],
            Self::FilterAdmin => {
                &[A::AdminPermit, A::AdminPermitLimited, A::AdminDeny, A::AdminDenyLog, A::AdminPass]
            }
            Self::FilterBaseline => &[
                A::BaselinePermit,
                A::BaselinePermitLimited,
                A::BaselineDeny,
                A::BaselineDenyLog,
                A::BaselinePass,
            ],
            Self::PodEgressAdmin => &[A::EgressAdminPermit, A::EgressAdminDeny, A::EgressAdminPass],
            Self::PodEgress => &[A::EgressPermit, A::EgressDeny, A::EgressDenyLog, A::EgressPass],
            Self::PodIngressAdmin => &[A::IngressAdminPermit, A::IngressAdminDeny, A::IngressAdminPass],
            Self::PodIngress => &[A::IngressPermit, A::IngressDeny, A::IngressDenyLog, A::IngressPass],
            Self::PodEgressAdminReply => {
                &[A::EgressAdminReply, A::EgressAdminNoReply, A::EgressAdminReplyPass]
            }
            Self::PodEgressReply => &[A::EgressReply, A::EgressNoReply],
            Self::PodIngressAdminReply => {
                &[A::IngressAdminReply, A::IngressAdminNoReply, A::IngressAdminReplyPass]
            }
            Self::PodIngressReply => &[A::IngressReply, A::IngressNoReply],
            Self::CrossConnect => &[A::Forward],
            Self::L2Forward => &[A::Forward, A::Drop],
            Self::Flood => &[A::FloodTo],
        }
    }

    /// How a field of this table matches.
    pub const fn match_kind(self, field: Field) -> MatchKind {
        match (self, field) {
            (Self::CrossConnect | Self::L2Forward | Self::Flood, _) => MatchKind::Exact,
            (_, Field::Port) => MatchKind::Range,
            _ => MatchKind::Ternary,
        }
    }

    /// Whether entries belong to a version of the policy, so that an update is seen at one instant.
    pub fn is_versioned(self) -> bool {
        self.fields().iter().any(|(field, _)| *field == Field::Version)
    }
}

impl ActionKind {
    /// Whether its argument is the cell of a rate limiter.
    pub const fn is_limited(self) -> bool {
        matches!(self, Self::AdminPermitLimited | Self::BaselinePermitLimited)
    }

    /// Names and widths in bits of the parameters.
    pub const fn params(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::SetVersion => &[("version", 8)],
            Self::SetSegment => &[("segment", 16)],
            Self::SetSrcClass | Self::SetDstClass => &[("filter_class", 16), ("pod_class", 16)],
            Self::SetSportClass | Self::SetDportClass => &[("port_class", 16)],
            Self::AdminPermitLimited | Self::BaselinePermitLimited => &[("limiter", 16)],
            Self::AdminDenyLog | Self::BaselineDenyLog | Self::EgressDenyLog | Self::IngressDenyLog => {
                &[("rule", 32)]
            }
            Self::Forward => &[("port", 9)],
            Self::FloodTo => &[("group", 16)],
            _ => &[],
        }
    }
}

/// A P4Info is not that of `outplane.p4`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Something is not there.
    #[error("the P4Info has no {what} {name}: it is not that of this version's outplane.p4")]
    Missing {
        /// Table, action, ..
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something is there in another shape.
    #[error("the P4Info's {what} {name} is not as in this version's outplane.p4: {difference}")]
    Different {
        /// Table, action, ..
        what: &'static str,
        /// Its name.
        name: String,
        /// What differs.
        difference: String,
    },
}

#[derive(Clone, Debug)]
struct BoundTable {
    id: u32,
    size: u64,
    /// Ids in the order of [`Table::fields`].
    fields: Vec<u32>,
}

#[derive(Clone, Debug)]
struct BoundAction {
    id: u32,
    /// Ids in the order of [`ActionKind::params`].
    params: Vec<u32>,
}

/// The ids that a P4Info of `outplane.p4` gives to everything that entries speak of.
#[derive(Clone, Debug)]
pub struct Program {
    schema: Schema,
    /// In the order of [`Table::ALL`].
    tables: Vec<BoundTable>,
    /// In the order of [`ActionKind::ALL`].
    actions: Vec<BoundAction>,
    table_ids: BTreeMap<u32, Table>,
    action_ids: BTreeMap<u32, ActionKind>,
    rate_limiter: u32,
    rate_limiter_cells: u64,
    /// In the order of [`DropCounter::ALL`].
    drop_counters: Vec<u32>,
}

impl Program {
    /// The program as committed with this version: what is pushed to switches.
    ///
    /// # Panics
    /// If the committed P4Info is not that of the program; a test of this crate would have failed.
    pub fn outplane() -> &'static Self {
        static PROGRAM: OnceLock<Program> = OnceLock::new();
        PROGRAM.get_or_init(|| {
            let schema = Schema::from_text(outplane_p4::P4INFO).expect("the committed P4Info is valid");
            Self::new(schema).expect("the committed P4Info is that of outplane.p4")
        })
    }

    /// Looks up everything by name.
    pub fn new(schema: Schema) -> Result<Self, ProgramError> {
        let tables =
            Table::ALL.iter().map(|table| bind_table(&schema, *table)).collect::<Result<Vec<_>, _>>()?;
        let actions =
            ActionKind::ALL.iter().map(|kind| bind_action(&schema, *kind)).collect::<Result<Vec<_>, _>>()?;
        for (table, bound) in Table::ALL.iter().zip(&tables) {
            for kind in table.actions() {
                let action = schema.table(bound.id).and_then(|info| info.action(actions[*kind as usize].id));
                if action.is_none() {
                    return Err(different("table", table.name(), format!("it has no action {kind}")));
                }
            }
        }
        let limiter = schema.meter_by_name("rate_limiter").ok_or_else(|| missing("meter", "rate_limiter"))?;
        let Cells::Indexed(rate_limiter_cells) = limiter.cells else {
            return Err(different("meter", "rate_limiter", "it has no index".to_owned()));
        };
        let rate_limiter = limiter.id;
        let drop_counters = DropCounter::ALL.iter().map(|counter| {
            let info = schema.counter_by_name(counter.name());
            info.map(|info| info.id).ok_or_else(|| missing("counter", counter.name()))
        });
        let drop_counters = drop_counters.collect::<Result<Vec<_>, _>>()?;
        let table_ids = tables.iter().zip(Table::ALL).map(|(bound, table)| (bound.id, *table)).collect();
        let action_ids = actions.iter().zip(ActionKind::ALL).map(|(bound, kind)| (bound.id, *kind)).collect();
        Ok(Self {
            schema,
            tables,
            actions,
            table_ids,
            action_ids,
            rate_limiter,
            rate_limiter_cells,
            drop_counters,
        })
    }

    /// The id of a counter of drops.
    pub fn drop_counter(&self, counter: DropCounter) -> u32 {
        self.drop_counters[counter as usize]
    }

    /// The index of the P4Info behind it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A table's id.
    pub fn table(&self, table: Table) -> u32 {
        self.tables[table as usize].id
    }

    /// The table with this id.
    pub fn table_of(&self, id: u32) -> Option<Table> {
        self.table_ids.get(&id).copied()
    }

    /// Entries that a table holds.
    pub fn size(&self, table: Table) -> u64 {
        self.tables[table as usize].size
    }

    /// The id of a table's match field; none if the table has no such field.
    pub fn field(&self, table: Table, field: Field) -> Option<u32> {
        let place = table.fields().iter().position(|(own, _)| *own == field)?;
        Some(self.tables[table as usize].fields[place])
    }

    /// Which match field of a table has this id.
    pub fn field_of(&self, table: Table, id: u32) -> Option<Field> {
        let place = self.tables[table as usize].fields.iter().position(|own| *own == id)?;
        Some(table.fields()[place].0)
    }

    /// An action with its arguments in the order of [`ActionKind::params`].
    pub fn action(&self, kind: ActionKind, arguments: &[u128]) -> Action {
        let bound = &self.actions[kind as usize];
        debug_assert_eq!(bound.params.len(), arguments.len(), "arguments of {kind}");
        let mut params: Vec<(u32, u128)> =
            bound.params.iter().copied().zip(arguments.iter().copied()).collect();
        params.sort_unstable();
        Action { id: bound.id, params }
    }

    /// Which action this is.
    pub fn action_of(&self, id: u32) -> Option<ActionKind> {
        self.action_ids.get(&id).copied()
    }

    /// An argument of an action by its place in [`ActionKind::params`].
    pub fn argument(&self, action: &Action, place: usize) -> Option<u128> {
        let kind = self.action_of(action.id)?;
        let id = self.actions[kind as usize].params.get(place)?;
        action.params.iter().find(|(param, _)| param == id).map(|(_, value)| *value)
    }

    /// A key; matches in any order, each on a field that the table has.
    pub fn key(&self, table: Table, priority: i32, matches: impl IntoIterator<Item = (Field, Match)>) -> Key {
        let mut matches: Vec<FieldMatch> = matches
            .into_iter()
            .filter_map(|(field, matches)| {
                let id = self.field(table, field);
                debug_assert!(id.is_some(), "{table} has no field {field}");
                Some(FieldMatch { field: id?, matches })
            })
            .collect();
        matches.sort_unstable();
        Key { table: self.table(table), matches, priority }
    }

    /// The version that a default entry of `policy_version` says; none if it is another table's.
    pub fn version_of(&self, entry: &DefaultEntry) -> Option<u8> {
        let action = entry.action.as_ref().filter(|_| entry.table == self.table(Table::PolicyVersion))?;
        let is_set = self.action_of(action.id) == Some(ActionKind::SetVersion);
        self.argument(action, 0).filter(|_| is_set).and_then(|version| u8::try_from(version).ok())
    }

    /// The id of the meter whose cells limit rates.
    pub fn rate_limiter(&self) -> u32 {
        self.rate_limiter
    }

    /// How many cells that meter has.
    pub fn rate_limiter_cells(&self) -> u64 {
        self.rate_limiter_cells
    }
}

fn missing(what: &'static str, name: &str) -> ProgramError {
    ProgramError::Missing { what, name: name.to_owned() }
}

fn different(what: &'static str, name: &str, difference: String) -> ProgramError {
    ProgramError::Different { what, name: name.to_owned(), difference }
}

fn bind_table(schema: &Schema, table: Table) -> Result<BoundTable, ProgramError> {
    let info = schema.table_by_name(table.name()).ok_or_else(|| missing("table", table.name()))?;
    let mut fields = Vec::with_capacity(table.fields().len());
    for (field, bits) in table.fields() {
        let found = info
            .field_by_name(field.name())
            .ok_or_else(|| missing("match field", &format!("{table}.{field}")))?;
        let kind = table.match_kind(*field);
        if found.bits != *bits || found.kind != kind {
            let difference =
                format!("{field} is {:?} of {} bits, expected {kind:?} of {bits}", found.kind, found.bits);
            return Err(different("table", table.name(), difference));
        }
        fields.push(found.id);
    }
    // A field that entries do not mention would match everything, whatever it is there for.
    if let Some(unknown) = info.fields.iter().find(|field| !fields.contains(&field.id)) {
        return Err(different("table", table.name(), format!("it has a field {}", unknown.name)));
    }
    Ok(BoundTable { id: info.id, size: info.size, fields })
}

fn bind_action(schema: &Schema, kind: ActionKind) -> Result<BoundAction, ProgramError> {
    let info = schema.action_by_name(kind.name()).ok_or_else(|| missing("action", kind.name()))?;
    let mut params = Vec::with_capacity(kind.params().len());
    for (name, bits) in kind.params() {
        let param = info
            .param_by_name(name)
            .filter(|param| param.bits == *bits)
            .ok_or_else(|| different("action", kind.name(), format!("it has no {name} of {bits} bits")))?;
        params.push(param.id);
    }
    if info.params.len() != params.len() {
        let difference = format!("it has {} parameters, expected {}", info.params.len(), params.len());
        return Err(different("action", kind.name(), difference));
    }
    Ok(BoundAction { id: info.id, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Result<Program, ProgramError> {
        Program::new(Schema::from_text(text).unwrap())
    }

    #[test]
    fn the_committed_p4info_fits() {
        let program = Program::outplane();
        for table in Table::ALL {
            assert_eq!(program.table_of(program.table(*table)), Some(*table));
            for (field, _) in table.fields() {
                let id = program.field(*table, *field).unwrap();
                assert_eq!(program.field_of(*table, id), Some(*field));
            }
        }
        for kind in ActionKind::ALL {
            let arguments: Vec<u128> = (1..=kind.params().len() as u128).collect();
            let action = program.action(*kind, &arguments);
            assert_eq!(program.action_of(action.id), Some(*kind));
            for (place, argument) in arguments.iter().enumerate() {
                assert_eq!(program.argument(&action, place), Some(*argument));
            }
        }
        let shown = program.action(ActionKind::SetVersion, &[7]);
        let of = |table| DefaultEntry { table: program.table(table), action: Some(shown.clone()) };
        assert_eq!(program.version_of(&of(Table::PolicyVersion)), Some(7));
        assert_eq!(program.version_of(&of(Table::Flood)), None);
        assert_eq!(program.rate_limiter_cells(), 1024);
        assert!(!Table::L2Forward.is_versioned() && Table::SegmentOf.is_versioned());
    }

    #[test]
    fn every_table_and_action_is_bound() {
        let schema = Program::outplane().schema();
        assert_eq!(schema.tables().len(), Table::ALL.len());
        // No entry uses NoAction, send_to_controller, discard and discard_in_segment.
        assert_eq!(schema.actions().len(), ActionKind::ALL.len() + 4);
    }

    #[test]
    fn another_p4info_is_refused() {
        let text = outplane_p4::P4INFO;
        let renamed = |name: &str| {
            let preamble = format!("\"OutplaneIngress.{name}\"\n    alias: \"{name}\"");
            (preamble, "\"OutplaneIngress.x\"\n    alias: \"x\"".to_owned())
        };
        let replaced = |there: &str, instead: &str| (there.to_owned(), instead.to_owned());
        let cases = [
            (renamed("flood"), "no table flood"),
            (renamed("admin_pass"), "no action admin_pass"),
            (renamed("rate_limiter"), "no meter rate_limiter"),
            (replaced("\"tcp_flags\"", "\"flags\""), "no match field filter_admin.tcp_flags"),
            (replaced("bitwidth: 48", "bitwidth: 47"), "dst_mac is Exact of 47 bits, expected Exact of 48"),
            (replaced("\"filter_class\"", "\"class\""), "it has no filter_class of 16 bits"),
        ];
        for ((there, instead), message) in cases {
            assert!(text.contains(&there), "{there}");
            let error = bind(&text.replacen(&there, &instead, 1)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(matches!(bind("pkg_info { arch: \"v1model\" }"), Err(ProgramError::Missing { .. })));
    }
}

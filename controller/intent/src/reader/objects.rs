//! Documents to objects: lists, kinds and versions, metadata.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::annotations::{Annotations, LOG, RELATED_ERRORS, REPLIES};
use super::declared::{Declared, Entry};
use super::decode::{Decoder, Fields, Problem};
use super::diagnostic::Code;
use super::render::quoted;
use super::sink::Sink;
use super::source::Place;
use super::sources::{ObjectPlaces, Sources};
use super::tree::{Cursor, Said};
use super::{cluster_policy, defaults, expectation, filter, labels, network, network_policy, pods};
use crate::deciders;
use crate::model::{Labels, ObjectName};

/// API group and version of our own kinds.
pub(crate) const OUTPLANE: &str = "outplane.dev/v1alpha1";
const CORE: &str = "v1";
const NETWORKING: &str = "networking.k8s.io/v1";
const CLUSTER_POLICY: &str = "policy.networking.k8s.io/v1alpha2";

/// What documents are.
const OBJECTS: &str = "every document is an object with `apiVersion`, `kind`, `metadata` and `spec`";

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Switch,
    Segment,
    Host,
    AddressGroup,
    FilterPolicy,
    KubernetesDefaults,
    Expectation,
    Namespace,
    Pod,
    Node,
    NetworkPolicy,
    ClusterNetworkPolicy,
}

const KINDS: [(&str, &str, Kind); 12] = [
    (OUTPLANE, "Switch", Kind::Switch),
    (OUTPLANE, "Segment", Kind::Segment),
    (OUTPLANE, "Host", Kind::Host),
    (OUTPLANE, "AddressGroup", Kind::AddressGroup),
    (OUTPLANE, "FilterPolicy", Kind::FilterPolicy),
    (OUTPLANE, "KubernetesDefaults", Kind::KubernetesDefaults),
    (OUTPLANE, "Expectation", Kind::Expectation),
    (CORE, "Namespace", Kind::Namespace),
    (CORE, "Pod", Kind::Pod),
    (CORE, "Node", Kind::Node),
    (NETWORKING, "NetworkPolicy", Kind::NetworkPolicy),
    (CLUSTER_POLICY, "ClusterNetworkPolicy", Kind::ClusterNetworkPolicy),
];

/// What has been read so far.
pub(crate) struct Objects {
    pub(crate) sink: Sink,
    pub(crate) sources: Sources,
    pub(crate) declared: Declared,
    /// Kinds that were skipped: how many, and where the first one is.
    pub(crate) skipped: Skipped,
    /// Where objects and their rules were said, in the order in which they were.
    pub(crate) placed: Vec<(String, ObjectPlaces)>,
}

/// Kinds that were skipped: how many, and where the first one is.
pub(crate) type Skipped = BTreeMap<(String, String), (usize, Place)>;

/// `metadata`, as far as it is read.
pub(crate) struct Metadata<'d> {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) at: Place,
    /// The namespace was not said.
    pub(crate) unplaced: bool,
    pub(crate) labels: Labels,
    /// It is being deleted.
    pub(crate) deleted: bool,
    pub(crate) created: Option<Timestamp>,
    annotations: Vec<(Cursor<'d>, Cursor<'d>)>,
}

impl Metadata<'_> {
    /// What annotations of ours say; those that the kind does not know are errors.
    fn said(&self, decoder: &mut Decoder<'_>, known: &[&str]) -> Annotations {
        Annotations::read(decoder, &self.annotations, known)
    }
}

impl Objects {
    pub(crate) fn new(sink: Sink, sources: Sources) -> Self {
        Self { sink, sources, declared: Declared::default(), skipped: Skipped::new(), placed: Vec::new() }
    }

    fn decoder(&mut self) -> Decoder<'_> {
        Decoder { sink: &mut self.sink, sources: &self.sources, object: String::new() }
    }

    /// Reads an object, or a list of them. A typed list (`PodList`) may leave the kind of its items out.
    ///
    /// Lists may stand in lists; the depth of documents bounds that.
    pub(crate) fn read(&mut self, at: Cursor<'_>, inherited: Option<(&str, &str)>) {
        if self.sink.is_full() {
            return;
        }
        let mut decoder = self.decoder();
        if matches!(at.said(), Said::Null) {
            return;
        }
        if !matches!(at.said(), Said::Mapping(_)) {
            decoder.error(Code::Kind, at.place(), "this is no object, but a list or text", OBJECTS);
            return;
        }
        let Some(mut fields) = decoder.fields(at, "an object") else { return };
        // kubectl prints a list's `kind` behind its items: what lacks it has been cut off.
        if (fields.get("apiVersion"), fields.get("kind")).1.is_none()
            && let Some(items) = fields.get("items").filter(|items| matches!(items.said(), Said::Sequence(_)))
        {
            let at = fields.key("items").unwrap_or_else(|| items.place());
            let message = "this list has no `kind`: its end is missing";
            let help = "kubectl prints `kind: List` last, so something has cut the text off; write the file again, \
                        whole";
            decoder.error(Code::Kind, at, message, help);
            return;
        }
        let (version, kind) = match (fields.get("apiVersion"), fields.get("kind"), inherited) {
            (None, None, Some(inherited)) => (inherited.0.to_owned(), inherited.1.to_owned()),
            (None, None, None) => {
                decoder.error(Code::Kind, fields.place(), "this is no object: it has no `kind`", OBJECTS);
                return;
            }
            (version, kind, _) => {
                let version = match version {
                    Some(version) => decoder.text(version, "`apiVersion`"),
                    None => fields.require(&mut decoder, "apiVersion", OUTPLANE).and(None),
                };
                let kind = match kind {
                    Some(kind) => decoder.text(kind, "`kind`"),
                    None => fields.require(&mut decoder, "kind", "FilterPolicy").and(None),
                };
                let (Some(version), Some(kind)) = (version, kind) else { return };
                (version.to_owned(), kind.to_owned())
            }
        };
        let kind_at = fields.get("kind").map_or_else(|| fields.place(), Cursor::place);
        let is_ours = KINDS.iter().any(|known| known.1 == kind);
        if let Some(item) = kind.strip_suffix("List").filter(|_| !is_ours) {
            if let Some(items) = fields.get("items") {
                let Some(items) = decoder.list(items, "`items`") else { return };
                let inherited = (!item.is_empty()).then_some((version.as_str(), item));
                for item in items.iter() {
                    self.read(item, inherited);
                }
                return;
            }
            if item.is_empty() {
                return;
            }
        }
        match KINDS.iter().find(|known| known.0 == version && known.1 == kind) {
            Some((_, name, kind)) => self.object(*kind, name, fields),
            None => self.other_kind(&version, &kind, fields, kind_at),
        }
    }

    /// Objects of other kinds are no concern of ours, unless they look like policy.
    fn other_kind(&mut self, version: &str, kind: &str, mut fields: Fields<'_>, kind_at: Place) {
        let version_at = fields.get("apiVersion").map_or(kind_at, Cursor::place);
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let mut decoder = self.decoder();
        let ours = KINDS.iter().find(|known| known.1 == kind);
        let siblings = KINDS.iter().filter(|known| known.0 == version).map(|known| known.1);
        let meant = if group == "outplane.dev" { None } else { decoder.suggest(kind, siblings) };
        let problem = match (ours, group) {
            // Others may call their kinds as we do; without a group it is our kind with a mistake.
            (Some((right, _, _)), _) if group.is_empty() || is_policy_group(group) => {
                Problem::error(Code::Kind, version_at, format!("{kind} of {} is not read", quoted(version)))
                    .help(format!("write `apiVersion: {right}`"))
            }
            (_, "outplane.dev") => {
                let kinds = KINDS.iter().filter(|known| known.0 == OUTPLANE).map(|known| known.1);
                let help = match decoder.suggest(kind, kinds.clone()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("its kinds are {}", kinds.collect::<Vec<_>>().join(", ")),
                };
                Problem::error(Code::Kind, kind_at, format!("{OUTPLANE} has no kind {}", quoted(kind)))
                    .help(help)
            }
            (_, "policy.networking.k8s.io") => Problem::error(
                Code::Unsupported,
                kind_at,
                format!("{} of {} is not read", quoted(kind), quoted(version)),
            )
            .help(format!("write it as a ClusterNetworkPolicy of {CLUSTER_POLICY}, which took its place")),
            // A policy with a letter missing would be gone, and nobody be told.
            _ if let Some(meant) = meant => {
                Problem::error(Code::Kind, kind_at, format!("{version} has no kind {}", quoted(kind)))
                    .help(format!("did you mean {meant}?"))
            }
            _ if is_foreign_policy(group, kind) => {
                let message = format!(
                    "{} of {} is not read, and what it denies would pass",
                    quoted(kind),
                    quoted(version)
                );
                Problem::error(Code::Unsupported, kind_at, message).help(
                    "write it as a NetworkPolicy, ClusterNetworkPolicy or FilterPolicy; or leave it out, if somebody else \
                     enforces it",
                )
            }
            _ => {
                let skipped = self.skipped.entry((version.to_owned(), kind.to_owned()));
                skipped.or_insert((0, kind_at)).0 += 1;
                return;
            }
        };
        decoder.report(problem);
    }

    fn twice(&mut self, kind: Kind, (at, first): (Place, Place), object: &str) {
        let (message, help) = match kind {
            Kind::KubernetesDefaults => (
                "there are KubernetesDefaults already",
                "put both into one, or remove one: they hold for all policies of Kubernetes",
            ),
            _ => (
                "this name is there twice",
                "rename one of them or remove it; two objects of one kind cannot share a name",
            ),
        };
        let problem = Problem::error(Code::DuplicateName, at, message).also(first, "first here").help(help);
        self.sink.push(problem.of(object));
    }

    fn object(&mut self, kind: Kind, kind_name: &str, mut fields: Fields<'_>) {
        let errors = self.sink.error_count();
        let mut decoder = self.decoder();
        let Some(metadata) = metadata(&mut decoder, &mut fields, kind) else { return };
        decoder.object = match &metadata.namespace {
            Some(namespace) => format!("{kind_name}/{namespace}/{}", metadata.name),
            None => format!("{kind_name}/{}", metadata.name),
        };
        let spec = fields.get("spec");
        let status = fields.get("status");
        // Fields beside these change nothing in objects of the cluster; in policies they could be a misplaced spec.
        if !matches!(kind, Kind::Namespace | Kind::Pod | Kind::Node) {
            fields.finish(&mut decoder);
        }
        let (at, object) = (metadata.at, decoder.object.clone());

        no_annotations(&mut decoder, kind, &metadata);
        let broken = |sink: &Sink| sink.error_count() > errors;
        let mut rules = Vec::new();
        let duplicate = match kind {
            Kind::Switch => {
                let value = network::switch(&mut decoder, spec, at);
                let broken = broken(&self.sink);
                insert(&mut self.declared.switches, metadata.name, Entry { at, value, broken })
            }
            Kind::Segment => {
                let value = network::segment(&mut decoder, spec);
                let broken = broken(&self.sink);
                insert(&mut self.declared.segments, metadata.name, Entry { at, value, broken })
            }
            Kind::Host => {
                let value = network::host(&mut decoder, spec, at);
                let broken = broken(&self.sink);
                insert(&mut self.declared.hosts, metadata.name, Entry { at, value, broken })
            }
            Kind::AddressGroup => {
                let value = network::group(&mut decoder, spec);
                let broken = broken(&self.sink);
                insert(&mut self.declared.groups, metadata.name, Entry { at, value, broken })
            }
            Kind::FilterPolicy => {
                let value = filter::policy(&mut decoder, spec, at);
                let names = value.policy.rules.iter().map(|rule| rule.name.clone());
                rules.extend(names.zip(value.rules.iter().map(|places| places.at)));
                rules.extend(value.default.map(|at| (deciders::DEFAULT.to_owned(), at)));
                let broken = broken(&self.sink);
                insert(&mut self.declared.filters, metadata.name, Entry { at, value, broken })
            }
            Kind::KubernetesDefaults => {
                let value = defaults::defaults(&mut decoder, spec);
                let broken = broken(&self.sink);
                let first = self.declared.defaults.as_ref().map(|first| first.at);
                self.declared.defaults.get_or_insert(Entry { at, value, broken });
                first
            }
            Kind::Expectation => {
                let value = expectation::expectation(&mut decoder, spec, at, &mut rules);
                let broken = broken(&self.sink);
                insert(&mut self.declared.expectations, metadata.name, Entry { at, value, broken })
            }
            Kind::Namespace => {
                let broken = broken(&self.sink);
                insert(
                    &mut self.declared.namespaces,
                    metadata.name,
                    Entry { at, value: metadata.labels, broken },
                )
            }
            Kind::Pod => {
                let (labels, name) = (metadata.labels, metadata.name);
                let mut value = pods::pod(&mut decoder, spec, status, labels, at);
                (value.deleted, value.created) = (metadata.deleted, metadata.created);
                let broken = broken(&self.sink);
                let name = ObjectName { namespace: metadata.namespace.unwrap_or_default(), name };
                insert(&mut self.declared.pods, name, Entry { at, value, broken })
            }
            Kind::Node => {
                let value = pods::node(&mut decoder, status, metadata.labels);
                let broken = broken(&self.sink);
                insert(&mut self.declared.nodes, metadata.name, Entry { at, value, broken })
            }
            Kind::NetworkPolicy => {
                let annotations = metadata.said(&mut decoder, &[REPLIES, RELATED_ERRORS, LOG]);
                let value = network_policy::policy(&mut decoder, spec, at, annotations, &mut rules);
                let broken = broken(&self.sink);
                let name =
                    ObjectName { namespace: metadata.namespace.unwrap_or_default(), name: metadata.name };
                if metadata.unplaced {
                    self.declared.unplaced.insert(name.clone());
                }
                insert(&mut self.declared.network_policies, name, Entry { at, value, broken })
            }
            Kind::ClusterNetworkPolicy => {
                let annotations = metadata.said(&mut decoder, &[REPLIES, RELATED_ERRORS]);
                let value = cluster_policy::policy(&mut decoder, spec, at, annotations, &mut rules);
                let broken = broken(&self.sink);
                insert(&mut self.declared.cluster_policies, metadata.name, Entry { at, value, broken })
            }
        };
        match duplicate {
            Some(first) => self.twice(kind, (at, first), &object),
            None => self.placed.push((object, ObjectPlaces::new(at, rules))),
        }
    }
}

/// Annotations of ours say something on the policies of Kubernetes; on our own kinds nothing would come of them.
fn no_annotations(decoder: &mut Decoder<'_>, kind: Kind, metadata: &Metadata<'_>) {
    if KINDS.iter().any(|known| known.2 == kind && known.0 == OUTPLANE) {
        metadata.said(decoder, &[]);
    }
}

/// API groups whose objects are policies: another version of them is never skipped in silence.
fn is_policy_group(group: &str) -> bool {
    matches!(group, "outplane.dev" | "networking.k8s.io" | "policy.networking.k8s.io" | "extensions")
}

/// Kinds of others that say which packets may pass, and that nobody enforces where Outplane takes the place of who did:
/// Cilium's, Calico's, Antrea's, those of OVN, Kube-OVN, `OpenShift`, Multus, NSX and Amazon's plugin. Staged ones are not
/// enforced by anybody.
fn is_foreign_policy(group: &str, kind: &str) -> bool {
    let of_group = [
        ("kubeovn.io", "SecurityGroup"),
        ("vpcresources.k8s.aws", "SecurityGroupPolicy"),
        ("crd.nsx.vmware.com", "SecurityPolicy"),
    ];
    of_group.contains(&(group, kind))
        || (kind.ends_with("NetworkPolicy") || kind == "EgressFirewall") && !kind.starts_with("Staged")
}

/// Kinds by which a service mesh says who may talk to whom. Its proxies enforce them, beside the pods and whatever the
/// switches do: nothing is lost where they are not read, but nothing of them is on the wire either.
pub(crate) fn is_of_a_mesh(version: &str, kind: &str) -> bool {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match group {
        "security.istio.io" | "policy.linkerd.io" | "auth.consul.hashicorp.com" => true,
        "consul.hashicorp.com" => matches!(kind, "ServiceIntentions" | "TrafficPermissions"),
        "kuma.io" => matches!(kind, "MeshTrafficPermission" | "TrafficPermission"),
        _ => false,
    }
}

/// Keeps the first of a name; returns the place of the first if there was one.
fn insert<K: Ord, T>(map: &mut BTreeMap<K, Entry<T>>, name: K, entry: Entry<T>) -> Option<Place> {
    match map.entry(name) {
        std::collections::btree_map::Entry::Vacant(vacant) => {
            vacant.insert(entry);
            None
        }
        std::collections::btree_map::Entry::Occupied(first) => Some(first.get().at),
    }
}

fn metadata<'d>(decoder: &mut Decoder<'_>, fields: &mut Fields<'d>, kind: Kind) -> Option<Metadata<'d>> {
    let metadata = fields.require(decoder, "metadata", "{name: ...}")?;
    let mut metadata = decoder.fields(metadata, "`metadata`")?;
    let name_at = metadata.require(decoder, "name", "a-name")?;
    let name = decoder.text(name_at, "`name`")?;
    check_name(decoder, name_at, name)?;
    let namespaced = matches!(kind, Kind::Pod | Kind::NetworkPolicy);
    let namespace = match metadata.get("namespace") {
        Some(at) if namespaced => {
            let namespace = decoder.text(at, "`namespace`")?;
            check_name(decoder, at, namespace)?;
            Some(namespace.to_owned())
        }
        Some(at) if !matches!(kind, Kind::Node | Kind::Namespace) => {
            let help = "leave it out; the kind belongs to no namespace";
            decoder.error(Code::UnknownField, at.place(), "this kind has no `namespace`", help);
            None
        }
        None if namespaced => Some("default".to_owned()),
        _ => None,
    };
    let selectable = matches!(kind, Kind::Namespace | Kind::Pod | Kind::Node);
    let labels = match metadata.get("labels") {
        Some(labels) if selectable => labels::map(decoder, labels, "`labels`").unwrap_or_default(),
        _ => Labels::new(),
    };
    let annotations = match metadata.get("annotations").map(Cursor::said) {
        Some(Said::Mapping(items)) => items.pairs().collect(),
        _ => Vec::new(),
    };
    let moment = |at: Option<Cursor<'_>>| at?.raw()?.parse().ok();
    Some(Metadata {
        name: name.to_owned(),
        unplaced: namespaced && metadata.get("namespace").is_none(),
        namespace,
        at: name_at.place(),
        labels,
        deleted: metadata.get("deletionTimestamp").is_some(),
        created: moment(metadata.get("creationTimestamp")),
        annotations,
    })
}

/// Names are used in messages and file names: letters, digits, `-`, `_` and `.`, at most 253.
fn check_name(decoder: &mut Decoder<'_>, at: Cursor<'_>, name: &str) -> Option<()> {
    const LONGEST: usize = 253;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let starts = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let ends = name.ends_with(|last: char| last.is_ascii_alphanumeric());
    if plain && starts && ends && name.len() <= LONGEST {
        return Some(());
    }
    let message = format!("{} is no name for an object", quoted(name));
    let help = "names are letters, digits, `-`, `_` and `.`, start and end with a letter or digit, and have at most \
                253 characters";
    decoder.error(Code::InvalidValue, at.place(), message, help);
    None
}

//! Whatever the texts were before, reading on gives what reading from nothing gives.

use std::fmt::Write as _;

use fastrand::Rng;

use super::*;
use crate::reader::parse_within;
use crate::testing::{self, Cluster, EditKind};

type Texts = Vec<(String, String)>;

/// Everything that a reader says, in words.
fn told(read: Result<&Loaded, &Diagnostics>) -> String {
    let mut told = String::new();
    let mut add = |what: &dyn std::fmt::Display| _ = writeln!(told, "{what}");
    match read {
        Err(diagnostics) => {
            add(&diagnostics);
            add(&serde_json::to_string(diagnostics.errors()).unwrap());
            add(&diagnostics.render(false));
        }
        Ok(loaded) => {
            add(&format!("{:?}", loaded.expectations));
            add(&loaded.omitted_warnings);
            for warning in loaded.warnings.iter().chain(&loaded.unjudged) {
                add(&serde_json::to_string(warning).unwrap());
                add(&warning.render(false));
            }
            let sources = &loaded.sources;
            for object in sources.objects() {
                add(&format!("{object} {:?} {:?}", sources.object(object), sources.last_rule_of(object)));
                for rule in sources.rules(object) {
                    add(&format!("  {rule} {:?}", sources.rule(object, rule)));
                }
            }
            for file in sources.files() {
                add(&format!("{file:?}"));
            }
        }
    }
    told
}

/// Reads on and from nothing; whether it could be read.
fn same(reader: &mut IncrementalReader, texts: &Texts, limits: &Limits, of: &str) -> bool {
    let before = reader.last().intent.clone();
    let anew = parse_within(texts.clone(), limits);
    let on = reader.read(texts.clone());
    let shown =
        || texts.iter().fold(String::new(), |all, (name, text)| all + "# " + name + "\n" + text + "\n");
    assert_eq!(told(on.as_ref().map(|read| read.loaded)), told(anew.as_ref()), "{of}\n{}", shown());
    let (Ok(on), Ok(anew)) = (on, anew) else { return false };
    assert!(on.loaded.intent == anew.intent, "{of}\n{}", shown());
    assert_eq!(on.touched, Touched::between(&before, &anew.intent), "{of}\n{}", shown());
    assert!(reader.whole.is_none(), "{of}: read from nothing\n{}", shown());
    true
}

/// Documents that warn, are skipped, or name others.
const ODD: &[&str] = &[
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
    "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n",
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: pending, namespace: x}\nspec: {}\n",
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: one, namespace: x, labels: {app: w}}\nspec: {nodeName: n1}\n\
     status: {podIPs: [{ip: 10.9.0.1}], hostIP: 10.8.0.1}\n",
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: two, namespace: x, deletionTimestamp: 2026-01-01T00:00:00Z}\n\
     status: {podIPs: [{ip: 10.9.0.1}]}\n",
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: three, namespace: y, creationTimestamp: 2026-01-01T00:00:00Z}\n\
     status: {podIP: 10.9.0.1}\n",
    "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 10.8.0.1}]}\n",
    "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {team: ä}}\n",
    "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {team: a}}\n",
    "---\n# für alle\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec: {}\n",
    "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: unplaced}\nspec:\n  podSelector: \
     {matchLabels: {app: w}}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.1.2.3/8}\n    - podSelector: {}\n      \
     namespaceSelector: {matchLabels: {team: a}}\n    ports: [{port: http}]\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: AddressGroup\nmetadata: {name: g}\nspec: {addresses: [10.0.0.0/8]}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: AddressGroup\nmetadata: {name: h}\nspec: {groups: [g]}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: f}\nspec:\n  rules:\n  - {name: a, action: \
     allow, from: [{group: g}]}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: Host\nmetadata: {name: web}\nspec: {addresses: [10.8.0.1], port: 3}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: Host\nmetadata: {name: router}\nspec: {addresses: [10.9.0.1], port: 4}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: Segment\nmetadata: {name: s}\nspec: {vlan: 7}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {name: sw}\nspec:\n  address: 10.0.0.1:9559\n  protocol: \
     p4runtime\n  tls: {ca: ca.pem}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: KubernetesDefaults\nmetadata: {name: all}\nspec: {replies: reverse}\n",
    "---\napiVersion: outplane.dev/v1alpha1\nkind: Expectation\nmetadata: {name: e}\nspec:\n  packets:\n  - {src: {pod: \
     x/one}, dst: 10.1.0.1, expect: allow, policy: FilterPolicy/f, rule: a}\n  - {src: 10.0.0.1, dst: 10.0.0.2, protocol: tcp, \
     dstPort: 80, expect: allow, policy: NetworkPolicy/x/p}\n",
    "---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: four, namespace: y}\n  status: \
     {podIP: 10.9.0.4}\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: s}\n",
    "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\nspec:\n  tier: \
     Admin\n  priority: 1\n  subject: {namespaces: {matchLabels: {team: a}}}\n  egress:\n  - {action: Deny, to: [{nodes: \
     {}}]}\n",
];

/// Text that may stand anywhere, and mostly may not.
const SCRAPS: &[&str] = &[
    "---\n",
    "\n---\n",
    "...\n",
    "\n...\n",
    "--- |\n ---\n---\n",
    "--- >-\n  a\n",
    "%YAML 1.2\n---\n",
    "\n%TAG ! !a\n---\n",
    "# é\n",
    "\n",
    " ",
    "\t",
    "\r\n",
    "\r",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "- a\n",
    "a: b\n",
    "&a ",
    "*a",
    "é",
    "\u{feff}",
    "\u{1}",
    "{{ a }}",
    "---",
    "--- ",
    "---a\n",
    "|",
    ": ",
    "? ",
    "!!str ",
    "null\n",
    "x",
    "0",
];

/// Edits of all kinds.
struct Editor {
    rng: Rng,
    /// Documents to take from.
    documents: Vec<String>,
}

impl Editor {
    fn new(seed: u64) -> Self {
        let mut documents: Vec<String> = ODD.iter().map(|odd| (*odd).to_owned()).collect();
        for of in 0..3 {
            let intent = testing::random_intent(seed.wrapping_mul(3) + of);
            let said = testing::documents(&intent);
            documents.extend(said.iter().map(|document| format!("---\n{document:#}\n")));
        }
        Self { rng: Rng::with_seed(seed), documents }
    }

    fn document(&mut self) -> String {
        let number = self.rng.usize(..self.documents.len());
        self.documents[number].clone()
    }

    /// A place between two characters.
    fn place(&mut self, text: &str) -> usize {
        text.floor_char_boundary(self.rng.usize(..=text.len()))
    }

    /// A place where a document begins, or an end.
    fn boundary(&mut self, text: &str) -> usize {
        let mut all: Vec<usize> = text.match_indices("\n---\n").map(|(at, _)| at + 1).collect();
        all.extend([0, text.len()]);
        all[self.rng.usize(..all.len())]
    }

    fn edit(&mut self, texts: &mut Texts) {
        let count = texts.len();
        let at = self.rng.usize(..count);
        let text = &mut texts[at].1;
        match self.rng.u32(..20) {
            0..6 => {
                let (at, document) = (self.boundary(text), self.document());
                text.insert_str(at, &document);
            }
            6..10 => {
                let (one, other) = (self.boundary(text), self.boundary(text));
                let (from, until) = (one.min(other), one.max(other));
                let until = from + text[from..until].find("\n---\n").map_or(until - from, |end| end + 1);
                let taken: String = text.drain(from..until).collect();
                if self.rng.u32(..3) == 0 {
                    let at = self.rng.usize(..texts.len());
                    let place = self.boundary(&texts[at].1);
                    texts[at].1.insert_str(place, &taken);
                }
            }
            10 => {
                let (one, other) = (self.place(text), self.place(text));
                text.replace_range(
                    one.min(other)..one.max(other).min(one.min(other) + 30).max(one.min(other)),
                    "",
                );
            }
            11 | 12 => {
                let (at, scrap) = (self.place(text), SCRAPS[self.rng.usize(..SCRAPS.len())]);
                text.insert_str(at, scrap);
            }
            13 => {
                let (at, scrap) = (self.boundary(text), SCRAPS[self.rng.usize(..SCRAPS.len())]);
                text.insert_str(at, scrap);
            }
            14 => {
                // An edit of a word.
                for (from, to) in [("10.9.0.1", "10.9.0.7"), ("team: a", "team: b"), ("app: w", "app: v")] {
                    if self.rng.bool() {
                        *text = text.replacen(from, to, 1);
                    }
                }
            }
            15 => {
                let document = self.document();
                texts.push((format!("dir{}/{}.yaml", texts.len() % 2, texts.len() % 3), document));
            }
            16 if count > 1 => _ = texts.remove(at),
            17 => {
                let other = self.rng.usize(..texts.len());
                texts.swap(at, other);
            }
            18 => {
                let items: Vec<serde_json::Value> = (0..self.rng.u32(..3))
                    .filter_map(|_| serde_json::from_str(self.document().trim_start_matches("---")).ok())
                    .collect();
                let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
                *text = format!("{list:#}\n");
            }
            _ => {
                let words: Vec<_> =
                    text.match_indices(|c: char| c.is_alphanumeric()).map(|(at, _)| at).collect();
                if !words.is_empty() {
                    let at = words[self.rng.usize(..words.len())];
                    let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
                    text.replace_range(at..end, ["0", "b", "é"][self.rng.usize(..3)]);
                }
            }
        }
    }
}

/// How many of so many histories' texts could be read.
fn histories(seeds: std::ops::Range<u64>, limits: &Limits) -> (u32, u32) {
    let (mut good, mut all) = (0, 0);
    for seed in seeds {
        let mut editor = Editor::new(seed);
        let mut texts: Texts =
            vec![("a.yaml".to_owned(), String::new()), ("b.yaml".to_owned(), editor.document())];
        let mut reader = IncrementalReader::within(*limits);
        let mut last = texts.clone();
        for step in 0..40 {
            for _ in 0..editor.rng.u32(1..4) {
                editor.edit(&mut texts);
            }
            let read = same(&mut reader, &texts, limits, &format!("seed {seed}, step {step}"));
            (good, all) = (good + u32::from(read), all + 1);
            if read {
                last.clone_from(&texts);
            } else if editor.rng.u32(..3) > 0 {
                // Somebody corrects it.
                texts.clone_from(&last);
            }
        }
    }
    (good, all)
}

#[test]
fn reading_on_is_reading_from_nothing() {
    let (good, all) = histories(0..60, &Limits::default());
    assert!(good * 3 > all && good < all, "{good} of {all} could be read");
}

#[test]
fn so_it_is_within_narrow_limits() {
    let narrow =
        Limits { diagnostics: 3, documents: 9, total_bytes: 9000, file_bytes: 6000, ..Limits::default() };
    let (good, all) = histories(100..140, &narrow);
    assert!(good * 4 > all && good < all, "{good} of {all} could be read");
}

#[test]
fn an_edit_of_a_cluster_is_read_alone() {
    let limits = Limits::default();
    for seed in 0..3 {
        let mut cluster = Cluster::new(6, 60, 40, seed);
        let mut reader = IncrementalReader::new();
        for step in 0..60 {
            let kind = if step == 0 { EditKind::PodAdded } else { cluster.edit() };
            let texts = vec![("cluster.yaml".to_owned(), testing::to_yaml(cluster.intent()))];
            let (free, parts) = (reader.free.len(), reader.parts);
            assert!(same(&mut reader, &texts, &limits, &format!("seed {seed}, step {step}: {kind:?}")));
            let new = (reader.parts - parts) as usize;
            assert!(step == 0 || new <= 1 && reader.free.len() <= free + 1, "{kind:?}: {new} pieces more");
        }
    }
}

#[test]
fn errors_leave_what_is_kept() {
    let policy = |port: &str| ODD[10].replace("http", port) + ODD[3] + ODD[8];
    let mut reader = IncrementalReader::new();
    reader.read([("a", policy("http"))]).unwrap();
    let parts = reader.parts;
    assert!(reader.read([("a", policy("[80]"))]).is_err());
    // An error that shows only with the others: a name twice.
    assert!(reader.read([("a", policy("https") + ODD[8])]).is_err());
    let read = reader.read([("a", policy("https"))]).unwrap();
    assert_eq!((read.touched.network_policies.len(), read.touched.pods.len()), (1, 0));
    assert!(reader.parts <= parts + 1, "{} pieces were read, and {parts} before", reader.parts);
}

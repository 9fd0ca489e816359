use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outplane_compiler::compile::{Options, compile};
use outplane_intent::described::sentence;
use outplane_intent::evaluate::Evaluator;
use outplane_intent::packet::Packet;

use super::*;

/// The policies of a folder as one stream, as `cat` or kustomize pipes them.
fn stream(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let yaml = files.iter().filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let texts: Vec<_> = yaml.map(|path| std::fs::read_to_string(path).expect("a file")).collect();
    texts.join("---\n")
}

fn read(text: &str) -> Option<Loaded> {
    reader::parse([(reader::STDIN, text)]).ok()
}

fn piped(loaded: Loaded) -> Input {
    Input { pipes: vec![reader::STDIN.to_owned()], ..Input::of(loaded, Timestamp::UNIX_EPOCH) }
}

fn desired(input: &Input) -> BTreeMap<String, Desired> {
    let compiled = compile(&input.intent, &Options { at: input.at }).expect("examples fit");
    compiled.switches.into_iter().map(|(name, state)| (name, state.desired)).collect()
}

fn shown(Desired { entries, groups, meters }: &Desired) -> Installed {
    let (entries, groups, meters) = (entries.clone(), groups.clone(), meters.clone());
    Installed { version: 1, entries, groups, meters, ..Installed::default() }
}

/// A packet between addresses that the files know, or not, which is let through by one intent and not by another.
fn opened(before: &Intent, after: &Intent) -> Option<Packet> {
    let nets =
        before.segments.values().flat_map(|segment| segment.subnets.iter().map(|net| net.hosts().nth(200)));
    let hosts = before.hosts.values().flat_map(|host| host.addresses.iter().copied().map(Some));
    let pods = before.pods.values().flat_map(|pod| pod.addresses.iter().copied().map(Some));
    let far = ["203.0.113.9", "10.250.0.1", "2001:db8:9::1"].map(|text| text.parse::<IpAddr>().ok());
    let addresses: BTreeSet<IpAddr> = nets.chain(hosts).chain(pods).chain(far).flatten().collect();
    let pairs = addresses.iter().flat_map(|src| addresses.iter().map(move |dst| (*src, *dst)));
    let packets = pairs.filter(|(src, dst)| src.is_ipv4() == dst.is_ipv4()).flat_map(|(src, dst)| {
        let tcp = [22, 53, 80, 443, 5432, 8080, 9559].map(|port| Packet::tcp(src, 49152, dst, port, 2));
        let others =
            [Packet::udp(src, 49152, dst, 53), Packet::icmp(src, dst, 8, 0), Packet::ip(src, dst, 47)];
        tcp.into_iter().chain(others)
    });
    let (before_by, after_by) = (Evaluator::new(before), Evaluator::new(after));
    let allows = |by: &Evaluator<'_>, packet: &Packet| {
        before.switches.keys().all(|switch| by.evaluate(Some(switch), Timestamp::UNIX_EPOCH, packet).allow)
    };
    packets.into_iter().find(|packet| allows(&after_by, packet) && !allows(&before_by, packet))
}

/// Why a text is refused where another was applied before: through the log, and by a switch.
struct Fate {
    by_log: Option<String>,
    by_switch: Option<String>,
    /// A packet that is let through and was not.
    opened: Option<Packet>,
}

struct Whole {
    loaded: Loaded,
    desired: BTreeMap<String, Desired>,
}

impl Whole {
    fn new(text: &str) -> Self {
        let loaded = read(text).expect("examples are right");
        let desired = desired(&piped(loaded.clone()));
        Self { loaded, desired }
    }

    /// Whether a text is refused where neither the log nor any switch has something to compare it with.
    fn refused_alone(text: &str) -> bool {
        let input = piped(read(text).expect("it is read"));
        let guard = Guard::new(&input, Allowed::default());
        let by_log = guard.piped.as_ref().and_then(Piped::unknown).is_some();
        let by_switch = |state| guard.of_switch(&Installed::default(), state).is_some();
        guard.of_input().is_some() || by_log && desired(&input).values().all(by_switch)
    }

    /// None: the reader refuses it, or it says the same.
    fn fate(&self, text: &str) -> Option<Fate> {
        let loaded = read(text)?;
        if loaded.intent == self.loaded.intent && loaded.expectations == self.loaded.expectations {
            return None;
        }
        let input = piped(loaded);
        let guard = Guard::new(&input, Allowed::default());
        if let Some(refused) = guard.of_input() {
            return Some(Fate { by_log: Some(refused.clone()), by_switch: Some(refused), opened: None });
        }
        let after = desired(&input);
        let by_log = guard.piped.as_ref().and_then(|piped| piped.beside(&self.loaded, 1)).map(less);
        let differs = after.iter().find(|(name, state)| self.desired.get(*name) != Some(state));
        let by_switch = match differs {
            None => Some("nothing changes".to_owned()),
            Some(_) => after.iter().find_map(|(name, state)| {
                let had = self.desired.get(name).map(shown).unwrap_or_default();
                guard.of_switch(&had, state)
            }),
        };
        let opened = if by_switch.is_none() { opened(&self.loaded.intent, &input.intent) } else { None };
        Some(Fate { by_log, by_switch, opened })
    }
}

/// Whatever is missing at the end of a stream: it is refused, or the rest says the same.
fn no_stream_that_was_cut_off_is_applied(folder: &str) {
    let text = stream(folder);
    let whole = Whole::new(&text);
    let (mut read, mut taken) = (0, 0);
    for at in 0..text.len() {
        let Some(cut) = text.get(..at) else { continue };
        let Some(fate) = whole.fate(cut) else { continue };
        read += 1;
        assert!(Whole::refused_alone(cut), "nothing is there, and {folder} is taken up to byte {at}");
        let end: String = cut.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
        assert!(fate.by_log.is_some(), "the log takes {folder} up to byte {at}:\n{end}");
        // A switch says rules alone: of those of the last one that allow less, it may not see that they do.
        let opened = fate.opened.as_ref().map(sentence);
        assert_eq!(opened, None, "a switch takes {folder} up to byte {at}:\n{end}");
        taken += usize::from(fate.by_switch.is_none());
    }
    assert!(read > 10 && taken * 10 < read, "{folder}: {read} cuts are policies, switches take {taken}");
}

#[test]
fn no_campus_that_was_cut_off_is_applied_over_the_whole_one() {
    no_stream_that_was_cut_off_is_applied("campus");
}

#[test]
fn no_lab_that_was_cut_off_is_applied_over_the_whole_one() {
    no_stream_that_was_cut_off_is_applied("lab");
}

#[test]
fn no_cluster_that_was_cut_off_is_applied_over_the_whole_one() {
    no_stream_that_was_cut_off_is_applied("kubernetes");
}

fn refused(before: &str, after: &str) -> [Option<String>; 2] {
    let fate = Whole::new(before).fate(after).expect("it is read, and says something else");
    [fate.by_log, fate.by_switch]
}

const SWITCH: &str =
    "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {name: s}\nspec: {address: \"a:1\"}\n---\n";

fn policy(name: &str, rules: &str) -> String {
    format!(
        "{SWITCH}apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata:\n  name: {name}\nspec:\n{rules}"
    )
}

const RULES: &str = "  rules:\n    - name: web\n      action: allow\n      from: [10.0.0.0/8]\n      to: [10.0.0.1]\n      ports:\n        \
                     - port: 80\n    - name: ssh\n      action: deny\n      from:\n        - 10.1.0.0/16\n        - 10.2.0.0/16\n";

/// A text that was changed before it was cut off is no part of what there was.
#[test]
fn what_is_lost_beside_a_change_is_refused() {
    let before = policy("p", &format!("{RULES}  default: deny\n"));
    for (what, after, said) in [
        ("default", policy("p", &RULES.replace("port: 80", "port: 81")), "default"),
        ("default", policy("p", &format!("{RULES}  default: allow\n")), "default"),
        (
            "condition",
            policy(
                "p",
                "  default: deny\n  rules:\n    - name: ssh\n      action: deny\n    - name: web\n      action: allow\n",
            ),
            "FilterPolicy/p",
        ),
        (
            "ports",
            policy(
                "p",
                &format!("{}  default: deny\n", RULES.replace("      ports:\n        - port: 80\n", "")),
            ),
            "lost",
        ),
    ] {
        for why in refused(&before, &after) {
            let why = why.unwrap_or_else(|| panic!("{what} is applied:\n{after}"));
            assert!(why.contains(said) && why.contains("--allow-shrink"), "{what}: {why}");
        }
    }
    // Nothing was there behind the new rule, so that its conditions may be what is missing.
    let after = policy("p", &format!("  default: deny\n{RULES}    - name: new\n      action: allow\n"));
    let [by_log, by_switch] = refused(&before, &after).map(Option::unwrap_or_default);
    assert!(by_log.contains("rule new is new") && by_log.contains("last line `...`"), "{by_log}");
    // A switch sees first that no packet reaches the default behind it.
    assert!(by_switch.contains("no packet reaches it"), "{by_switch}");
}

#[test]
fn other_changes_are_applied() {
    let before = policy("p", &format!("{RULES}  default: deny\n"));
    for after in [
        policy(
            "p",
            &format!("{}  default: deny\n", RULES.replace("port: 80", "port: 81\n        - port: 82")),
        ),
        policy(
            "p",
            &format!(
                "{RULES}    - name: new\n      action: allow\n      to: [10.9.0.0/16]\n  default: deny\n"
            ),
        ),
    ] {
        assert_eq!(refused(&before, &after), [None, None], "{after}");
    }
}

/// A marked end is one, and a comment behind it, or `---`, is not.
#[test]
fn the_end_may_be_marked() {
    let text = policy("p", RULES);
    for (end, refused) in [
        ("...\n", false),
        ("...", false),
        ("...\r\n\n", false),
        ("---\n", true),
        ("# ...\n", true),
        ("", true),
    ] {
        assert_eq!(Whole::refused_alone(&format!("{text}{end}")), refused, "{end:?}");
    }
    // What is new at the end may be half of it, whether or not it has a condition.
    let rule = "    - name: new\n      action: allow\n      from: [10.7.0.0/16]\n";
    let new = format!("---\n{}", policy("q", &format!("  rules:\n{rule}")).replace(SWITCH, ""));
    for after in [format!("{text}{rule}"), format!("{text}{new}")] {
        for why in refused(&text, &after) {
            assert!(why.is_some_and(|why| why.contains("is not marked") && why.contains("new")), "{after}");
        }
        assert_eq!(refused(&text, &format!("{after}...\n")), [None, None], "{after}");
    }
    // Rules that stood behind the last one, whatever has changed before it.
    let more = format!("{text}{rule}");
    for why in refused(&more, &text.replace("port: 80", "port: 81")) {
        assert!(why.is_some_and(|why| why.contains("rule")));
    }
}

/// The log counts Namespaces that are there, not those that pods name.
#[test]
fn a_dump_without_its_namespaces_is_refused() {
    let namespace = |name: &str| {
        format!("- {{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{env: dev}}}}}}\n")
    };
    let pod = |name: &str| {
        format!(
            "- {{apiVersion: v1, kind: Pod, metadata: {{name: a, namespace: {name}}}, status: {{podIP: 10.0.0.{}}}}}\n",
            name.len()
        )
    };
    let names = ["a", "bb", "ccc", "dddd"];
    let policy = |selector: &str| {
        format!(
            "- {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: a}}, spec: \
             {{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {selector}}}]}}]}}}}\n"
        )
    };
    let list = |items: String| format!("apiVersion: v1\nitems:\n{items}kind: List\nmetadata: {{}}\n");
    let pods: String = names.map(pod).concat();
    let labels = policy("{matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}");
    let text = list(names.map(namespace).concat() + &pods + &labels);
    let whole = Whole::new(&text);
    let less = whole.fate(&list(pods.clone() + &labels)).expect("it says something else");
    for why in [less.by_log, less.by_switch] {
        let why = why.expect("it is refused");
        for word in ["a, bb, ccc and 1 more", "NetworkPolicy/a/p", "kubectl get namespaces", "--allow-shrink"]
        {
            assert!(why.contains(word), "{word}: {why}");
        }
    }
    // One that goes by no labels of theirs: a count of what was in the input.
    let whole = Whole::new(&list(names.map(namespace).concat() + &pods + &policy("{}")));
    let less = whole.fate(&list(pods + &policy("{}"))).expect("labels are gone");
    assert!(less.by_log.is_some_and(|why| why.contains("4 Namespaces, and the input has 0")));
}

/// JSON ends itself, as does a list with its `kind` at the end: part of one is not read, and one that says less is meant.
#[test]
fn what_has_an_end_of_its_own_is_cut_off_nowhere() {
    let objects = |number: usize| -> Vec<serde_json::Value> {
        let policy = |number: usize| {
            serde_json::json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": format!("p{number}"), "namespace": "shop"},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            })
        };
        (0..number).map(policy).collect()
    };
    let json = |number: usize| {
        serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects(number)}).to_string()
    };
    let yaml = |number: usize| {
        let items: Vec<String> = objects(number).iter().map(|object| format!("- {object}")).collect();
        let items = items.join("\n");
        format!("apiVersion: v1\nitems:\n{items}\nkind: List\nmetadata:\n  resourceVersion: \"\"\n")
    };
    for list in [&json as &dyn Fn(usize) -> String, &yaml] {
        let text = list(4);
        let whole = Whole::new(&text);
        for at in 1..text.len() {
            if let Some(fate) = text.get(..at).and_then(|cut| whole.fate(cut)) {
                assert!(fate.by_log.is_some(), "{}", &text[..at]);
            }
        }
        assert_eq!(whole.fate(&list(3)).and_then(|fate| fate.by_log), None);
    }
}

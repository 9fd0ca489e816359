use outplane_intent::model::{FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, Intent};
use outplane_intent::reader;
use outplane_intent::testing::{self, universe};
use proptest::prelude::*;

use super::*;
use crate::compile::{Options, compile};
use crate::ranges::Point as _;

fn desired(intent: &Intent) -> Desired {
    let compiled = compile(intent, &Options { at: universe::now() }).expect("small intents fit");
    compiled.switches.into_values().next().expect("a switch").desired
}

fn installed(desired: Desired) -> Installed {
    let Desired { entries, groups, meters } = desired;
    Installed { version: 1, entries, groups, meters, ..Installed::default() }
}

fn policy(name: &str, priority: u16, rules: &str) -> String {
    format!(
        "---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {{name: {name}}}\nspec: {{priority: {priority}, \
         rules: [{rules}]}}\n"
    )
}

fn intent(text: &str) -> Intent {
    reader::parse([("a.yaml", text)]).unwrap_or_else(|error| panic!("{}", error.render(false))).intent
}

fn told(before: &str, after: &str) -> Vec<(String, RuleChanged)> {
    let changes =
        between(Program::outplane(), &installed(desired(&intent(before))), &desired(&intent(after)));
    changes
        .rules
        .into_iter()
        .map(|RuleChange { policy, rule, change }| {
            let name = policy.trim_start_matches("FilterPolicy/").to_owned();
            (rule.map_or(name.clone(), |rule| format!("{name} {rule}")), change)
        })
        .collect()
}

const A: &str = "{name: a, action: deny, from: [{cidr: 10.0.0.0/8}], ports: [{port: 22}]}";
const B: &str = "{name: b, action: allow, to: [{cidr: 192.0.2.0/24}], rateLimit: {packetsPerSecond: 10}}";
const C: &str = "{name: c, action: deny, from: [{cidr: 10.1.0.0/16}, {cidr: 172.16.0.0/12}], ports: [{port: 20, endPort: 30}]}";

#[test]
fn rules_by_what_becomes_of_them() {
    let one = policy("p", 5, &[A, B].join(","));
    assert_eq!(told(&one, &one), []);
    let changes = |after: &str| told(&one, after);
    let is = |name: &str, change| (name.to_owned(), change);
    // The rules behind it get other priorities, and all of them other classes.
    let first = changes(&policy("p", 5, &[C, A, B].join(",")));
    assert_eq!(first[0], is("p c", RuleChanged::Added));
    assert!(first[1..].iter().all(|(_, change)| *change == RuleChanged::Rewritten), "{first:?}");
    let removed = changes(&policy("p", 5, A));
    let removed: Vec<_> =
        removed.into_iter().filter(|(_, change)| *change != RuleChanged::Rewritten).collect();
    assert_eq!(removed, [is("p b", RuleChanged::Removed)]);
    let swapped = changes(&policy("p", 5, &[B, A].join(",")));
    assert_eq!(swapped[0], is("p", RuleChanged::Reordered));
    assert!(swapped[1..].iter().all(|(_, change)| *change == RuleChanged::Rewritten), "{swapped:?}");
    let faster = B.replace("10}", "20}");
    assert_eq!(changes(&policy("p", 5, &[A, &faster].join(","))), [is("p b", RuleChanged::Changed)]);
    let allowed = A.replace("deny", "allow");
    let found = changes(&policy("p", 5, &[&allowed, B].join(",")));
    assert!(found.contains(&is("p a", RuleChanged::Changed)), "{found:?}");
}

/// The numbers are the same, what they stand for is not.
#[test]
fn a_class_with_another_content_is_a_change() {
    let rule = |cidr: &str| policy("p", 5, &A.replace("10.0.0.0/8", cidr));
    assert_eq!(told(&rule("10.0.0.0/8"), &rule("11.0.0.0/8")), [("p a".to_owned(), RuleChanged::Changed)]);
    let limited = |rate: &str| policy("p", 5, &B.replace("10}", rate));
    assert_eq!(told(&limited("10}"), &limited("11}")), [("p b".to_owned(), RuleChanged::Changed)]);
}

#[test]
fn policies_move() {
    let text = |places: [u16; 3]| {
        let of = |(name, (place, rule))| policy(name, place, rule);
        ["x", "y", "z"].into_iter().zip(places.into_iter().zip([A, B, C])).map(of).collect::<String>()
    };
    let found = told(&text([1, 2, 3]), &text([4, 2, 3]));
    assert_eq!(found.iter().filter(|(_, change)| *change == RuleChanged::Reordered).count(), 1, "{found:?}");
    assert!(found.iter().all(|(_, change)| *change != RuleChanged::Changed), "{found:?}");
}

#[test]
fn the_first_policy_adds_its_rules() {
    let changes = between(Program::outplane(), &Installed::default(), &desired(&intent(&policy("p", 5, A))));
    assert_eq!(changes.rules.len(), 1);
    assert_eq!(changes.rules[0].change, RuleChanged::Added);
    assert!(!changes.shared.is_empty());
}

#[test]
fn as_few_are_moved_as_can_be() {
    let (all, moved) = order(&["a", "gone", "b", "c", "d"], &["d", "a", "b", "new", "c"]);
    assert_eq!(all, ["d", "a", "gone", "b", "new", "c"]);
    assert_eq!(moved.into_iter().collect::<Vec<_>>(), ["d"]);
    assert!(longest_increasing(&[]).is_empty());
    assert_eq!(longest_increasing(&[5, 1, 4, 2, 3]).into_iter().collect::<Vec<_>>(), [1, 3, 4]);
}

fn ranges() -> impl Strategy<Value = Vec<(u16, u16, u16)>> {
    // Prefixes lie within each other or apart.
    proptest::collection::vec((any::<u16>(), 8..=16u32, 1..5u16), 0..12).prop_map(|prefixes| {
        prefixes
            .into_iter()
            .map(|(value, length, class)| {
                let (low, high) = (value & 0xff).prefix(length);
                (low, high, class)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(testing::config(64))]

    #[test]
    fn the_innermost_prefix_counts(mut prefixes in ranges(), number in 0..300u16) {
        let inner = prefixes
            .iter()
            .filter(|(low, high, _)| (*low..=*high).contains(&number))
            .min_by_key(|(low, high, _)| high - low)
            .map(|(low, high, _)| (*low, *high));
        let classes: Vec<u16> = prefixes
            .iter()
            .filter(|(low, high, _)| Some((*low, *high)) == inner)
            .map(|(.., class)| *class)
            .collect();
        crate::classes::flatten(&mut prefixes);
        prop_assert!(prefixes.windows(2).all(|pair| pair[0].1 < pair[1].0));
        let found = prefixes.iter().find(|(low, high, _)| (*low..=*high).contains(&number)).map(|range| range.2);
        prop_assert_eq!(found.is_some(), !classes.is_empty());
        prop_assert!(found.is_none_or(|class| classes.contains(&class)));
    }

    /// A policy behind all others, about sets that cut theirs: no other rule means anything else for it.
    #[test]
    fn one_policy_more_changes_no_other_rule((mut intent, _) in testing::cases(1), third in 0..4u8) {
        let before = desired(&intent);
        let peer = |cidr: &str| FilterPeer::Cidr { cidr: cidr.parse().expect("a CIDR"), except: Vec::new() };
        let rule = FilterRule {
            name: "more".to_owned(),
            action: FilterAction::Deny,
            from: vec![peer(&format!("10.{third}.0.0/17")), peer("fd00::/65")],
            to: vec![peer("10.0.0.0/30")],
            traffic: Vec::new(),
            log: false,
            rate_limit: None,
            expires: None,
        };
        let policy = FilterPolicy {
            tier: FilterTier::Baseline,
            priority: 1000,
            switches: Vec::new(),
            segments: Vec::new(),
            default: None,
            replies: outplane_intent::model::Replies::None,
            related_errors: outplane_intent::model::RelatedErrors::None,
            rules: vec![rule],
        };
        intent.filters.insert("zzz".to_owned(), policy);
        let after = desired(&intent);
        for (from, to, change) in
            [(&before, &after, RuleChanged::Added), (&after, &before, RuleChanged::Removed)]
        {
            let changes = between(Program::outplane(), &installed(from.clone()), to);
            let others = changes.rules.iter().filter(|found| found.policy != "FilterPolicy/zzz");
            for found in others {
                prop_assert_eq!(found.change, RuleChanged::Rewritten, "{:?}", found);
            }
            let own: Vec<_> = changes.rules.iter().filter(|found| found.policy == "FilterPolicy/zzz").collect();
            prop_assert!(own.iter().all(|found| found.change == change), "{:?}", own);
        }
        prop_assert_eq!(between(Program::outplane(), &installed(after.clone()), &after), RuleChanges::default());
    }
}

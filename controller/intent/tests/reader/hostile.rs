//! Input that wants to do harm: every one gives an error, in bounded time and memory, and none a panic.

use std::fmt::Write as _;

use outplane_intent::reader::{Code, Diagnostics, Limits, parse, parse_within};
use proptest::prelude::*;

/// Reads a text that must be refused.
fn refused(text: &str) -> Diagnostics {
    refused_within(text, &Limits::default())
}

fn refused_within(text: &str, limits: &Limits) -> Diagnostics {
    match parse_within([("a.yaml", text)], limits) {
        Ok(_) => panic!("read: {}", &text[..text.len().min(200)]),
        Err(diagnostics) => {
            // Whoever gets the error shows it.
            let shown = diagnostics.render(false);
            assert!(shown.len() < 2_000_000 && !shown.contains("Failed to read"), "{shown}");
            diagnostics
        }
    }
}

fn first(diagnostics: &Diagnostics) -> Code {
    diagnostics.errors()[0].code()
}

#[test]
fn depth() {
    for (open, close) in
        [("[", "]"), ("{a: ", "}"), ("[{a: ", "}]"), ("- ", ""), ("? ", ""), ("&a [", "]"), ("!!seq [", "]")]
    {
        for levels in [100, 300, 100_000] {
            let text = format!("a:\n  {}{}", open.repeat(levels), close.repeat(levels));
            assert_eq!(first(&refused(&text)), Code::Limit, "{open} {levels}");
            assert_eq!(first(&refused(&open.repeat(levels))), Code::Limit, "{open} {levels}, open");
        }
    }
    let mut indented = String::new();
    for level in 0..3000 {
        let _ = writeln!(indented, "{}a:", " ".repeat(level));
    }
    assert_eq!(first(&refused(&indented)), Code::Limit);
    let json = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(first(&refused(&json)), Code::Limit);
    let json = "{\"a\":".repeat(1_000_000);
    assert_eq!(first(&refused(&json)), Code::Limit);
}

#[test]
fn what_is_64_levels_deep_is_read() {
    let nested = |levels: usize| {
        let inner = format!("{}x{}", "[".repeat(levels), "]".repeat(levels));
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, other: {inner}}}")
    };
    // The mapping and the scalar are levels too.
    assert!(parse([("a", nested(62))]).is_ok());
    assert_eq!(first(&refused(&nested(63))), Code::Limit);
}

#[test]
fn aliases_do_not_unfold() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let _ = writeln!(text, "a{level}: &a{level} [{}]", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    let diagnostics = refused(&text);
    assert_eq!(first(&diagnostics), Code::Limit);
    assert!(diagnostics.errors()[0].message().contains("aliases unfold"));

    // A chain of aliases is as deep as what it names.
    let mut text = "a0: &a0 x\n".to_owned();
    for level in 1..100 {
        let _ = writeln!(text, "a{level}: &a{level} [*a{}]", level - 1);
    }
    assert_eq!(first(&refused(&text)), Code::Limit);

    for text in ["&a [*a]", "a: &a {b: *a}", "&a [&b [*a, *b]]", "--- &a x\n--- *a\n", "*a"] {
        assert_eq!(refused(text).errors().last().unwrap().code(), Code::Syntax, "{text}");
    }
}

#[test]
fn long_lists_in_brackets_are_refused_as_yaml() {
    // Where a key can start, the whole list would have to be kept before the first item is known.
    let items = "10.0.0.1, ".repeat(200_000);
    let object = "apiVersion: outplane.dev/v1alpha1, kind: AddressGroup, metadata: {name: a}";
    let diagnostics = refused(&format!("\n\n{{{object}, spec: {{addresses: [{items}]}}}}"));
    assert_eq!(first(&diagnostics), Code::Limit);
    assert_eq!(diagnostics.errors()[0].line(), Some(3));
    assert!(
        parse([("a", format!("{}\nspec: {{addresses: [{items}]}}", object.replace(", ", "\n")))]).is_ok()
    );
    assert_eq!(first(&refused(&"[".repeat(200_000_000 / 64))), Code::Limit);
    assert_eq!(first(&refused(&"{a, ".repeat(1_000_000))), Code::Limit);
    assert_eq!(first(&refused(&format!("a: \"{}\"", "x".repeat(2_000_000)))), Code::Limit);
    assert_eq!(first(&refused(&format!("#{}", "x".repeat(2_000_000)))), Code::Limit);
    assert_eq!(first(&refused(&format!("a: |\n{}", "  x\n".repeat(1_000_000)))), Code::Limit);
}

#[test]
fn limits() {
    let limits =
        Limits { nodes: 100, documents: 3, file_bytes: 5000, total_bytes: 6000, ..Limits::default() };
    let pod = |name: usize| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p{name}}}}}");
    let documents = |count: usize| (0..count).map(pod).collect::<Vec<_>>().join("\n---\n");
    assert!(parse_within([("a", documents(3))], &limits).is_ok());
    assert_eq!(first(&refused_within(&documents(4), &limits)), Code::Limit);
    // Documents count over all files.
    let files = [("a", documents(2)), ("b", documents(2).replace("name: p", "name: q"))];
    assert_eq!(first(&parse_within(files, &limits).unwrap_err()), Code::Limit);

    let many = format!("{{apiVersion: v1, kind: Pod, other: [{}]}}", "x, ".repeat(100));
    assert_eq!(first(&refused_within(&many, &limits)), Code::Limit);
    let json = format!("[{}1]", "1,".repeat(100));
    assert_eq!(first(&refused_within(&json, &limits)), Code::Limit);
    let aliases = format!("a: &a [{}]\nb: [*a, *a]", "x, ".repeat(60));
    assert_eq!(first(&refused_within(&aliases, &limits)), Code::Limit);

    assert_eq!(first(&refused_within(&"#".repeat(5001), &limits)), Code::Limit);
    let files = [("a", "#\n".repeat(2000)), ("b", "#\n".repeat(2000))];
    assert_eq!(first(&parse_within(files, &limits).unwrap_err()), Code::Limit);

    let mut groups = String::new();
    for n in 0..50 {
        let nested = if n > 0 { format!("g{}", n - 1) } else { String::new() };
        let spec = format!("{{addresses: [10.0.0.{n}], groups: [{nested}]}}");
        let _ = write!(
            groups,
            "---\n{{apiVersion: outplane.dev/v1alpha1, kind: AddressGroup, metadata: {{name: g{n}}}, spec: {spec}}}\n"
        );
    }
    assert!(parse([("a", groups.as_str())]).is_ok());
    let limits = Limits { group_cidrs: 1000, ..Limits::default() };
    assert_eq!(first(&refused_within(&groups, &limits)), Code::Limit);
}

#[test]
fn errors_are_capped_and_counted() {
    let one =
        "{apiVersion: outplane.dev/v1alpha1, kind: AddressGroup, metadata: {name: a}, spec: {addresses: [";
    let text = format!("{one}{}]}}}}", "x, ".repeat(1000));
    let diagnostics = refused(&text);
    assert_eq!(diagnostics.errors().len(), 200);
    assert_eq!(diagnostics.omitted(), 800);
    assert!(diagnostics.to_string().starts_with("1000 errors"), "{diagnostics}");
    assert!(diagnostics.render(false).ends_with("... and 800 more errors\n"));
    // Faults in documents without end are not looked for without end.
    let text = "---\na: [\n".repeat(100_000);
    assert_eq!(refused(&text).errors().len(), 200);
}

#[test]
fn characters() {
    for bad in ["\0", "a: \u{7}", "a: b\rc: d", "a: \u{9f}", "a\u{feff}: b", "\u{1b}[31m", "a: \u{ffff}"] {
        let diagnostics = refused(bad);
        assert_eq!(first(&diagnostics), Code::Encoding, "{bad:?}");
        let shown = diagnostics.render(false);
        assert!(!shown.contains(['\0', '\u{1b}', '\u{7}', '\u{9f}', '\r']), "{shown:?}");
    }
    // Escapes can bring them in; messages do not pass them on.
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: \"\\e[31m\\0\\u202e\"}}";
    let shown = refused(text).to_string() + &refused(text).render(false);
    assert!(!shown.contains(['\0', '\u{1b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn a_thousand_nested_groups_are_no_recursion() {
    let mut text = String::new();
    for n in 0..20_000 {
        let _ = write!(
            text,
            "---\napiVersion: outplane.dev/v1alpha1\nkind: AddressGroup\nmetadata: {{name: g{n}}}\nspec: {{groups: [g{}]}}\n",
            n + 1
        );
    }
    let diagnostics = refused(&text);
    assert_eq!(first(&diagnostics), Code::UnknownReference);
    let looped = text.replace("groups: [g20000]", "groups: [g0]");
    let diagnostics = refused(&looped);
    assert_eq!(first(&diagnostics), Code::Cycle);
    assert!(diagnostics.errors()[0].message().len() < 200);
}

/// Lists so long that whoever compares each item with each would not end.
#[test]
fn long_lists_of_everything() {
    const MANY: usize = 50_000;
    let list = |item: &dyn Fn(usize) -> String| {
        (0..MANY).fold(String::new(), |mut text, number| {
            let _ = writeln!(text, "    - {}", item(number));
            text
        })
    };
    let object = |kind: &str, spec: &str| {
        format!("apiVersion: outplane.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{spec}")
    };
    let v6 = |number: usize| format!("\"fd00::{:x}:{:x}\"", number >> 16, number & 0xffff);
    let texts = [
        object(
            "FilterPolicy",
            &format!("  appliesTo:\n   switches:\n{}", list(&|number| format!("s{number}"))),
        ),
        object(
            "FilterPolicy",
            &format!("  rules:\n{}", list(&|number| format!("{{actoin{number}: allow}}"))),
        ),
        object(
            "FilterPolicy",
            &format!("  rules:\n    - ports:\n{}", list(&|_| "{protocol: TPC}".to_owned())),
        ),
        object(
            "FilterPolicy",
            &format!(
                "  rules:\n{}",
                list(&|number| format!("{{action: deny, from: [{{group: g{number}}}]}}"))
            ),
        ),
        object("AddressGroup", &list(&|number| format!("x{number}: y")).replace("- ", "")),
        object("Host", &format!("  addresses:\n{}  port: none", list(&v6))),
        object("Segment", &format!("  vlan: 0\n  subnets:\n{}", list(&v6))),
        object("Segment", &format!("  ports:\n{}", list(&|_| "{ports: [1]}".to_owned()))),
        object(
            "Switch",
            &format!("  address: a\n  ports:\n{}", list(&|number| format!("{{id: 1, name: n{number}}}"))),
        ),
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nstatus:\n  podIPs:\n{}",
            list(&|number| format!("{{ip: {}}}", v6(number)))
        ),
    ];
    for text in texts {
        refused(&text);
    }
    // Many groups, each with the same CIDRs from many groups.
    let mut text = String::new();
    let addresses: Vec<String> = (0..250).map(|number| format!("10.0.0.{number}")).collect();
    let low: Vec<String> = (0..250).map(|number| format!("low-{number}")).collect();
    for name in &low {
        let spec = format!("{{addresses: [{}]}}", addresses.join(", "));
        text += &object("AddressGroup", "")
            .replace("name: a", &format!("name: {name}"))
            .replace("spec:\n", &format!("spec: {spec}\n---\n"));
    }
    for number in 0..250 {
        let spec = format!("{{groups: [{}]}}", low.join(", "));
        text += &object("AddressGroup", "")
            .replace("name: a", &format!("name: high-{number}"))
            .replace("spec:\n", &format!("spec: {spec}\n---\n"));
    }
    assert_eq!(first(&refused(&text)), Code::Limit);
}

/// Documents to break: together they have every kind.
const SEEDS: [&str; 6] = [
    include_str!("kubectl.yaml"),
    include_str!("../golden/filter.yaml"),
    include_str!("../golden/network.yaml"),
    include_str!("../golden/traffic.yaml"),
    include_str!("../golden/cluster-network-policy.yaml"),
    include_str!("../golden/warnings.yaml"),
];

/// Reads and shows whatever comes. What counts is that it ends.
fn survive(text: &str) {
    for name in ["a.yaml", "a.json"] {
        match parse([(name, text)]) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    assert!(!warning.render(true).is_empty());
                }
                for object in loaded.sources.objects() {
                    assert!(loaded.sources.object(object).is_some());
                }
            }
            Err(diagnostics) => {
                assert!(!diagnostics.errors().is_empty());
                let shown = diagnostics.render(false);
                assert!(!shown.contains("Failed to read"), "{shown}");
                serde_json::to_string(diagnostics.errors()).unwrap();
            }
        }
    }
}

/// What mutations put in: the characters that mean something, and some words.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "? ",
    ",",
    "&a ",
    "*a",
    "!",
    "!!str ",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "#",
    "%",
    "@",
    "`",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "---\n",
    "...\n",
    "<<: ",
    "~",
    "null",
    "0x1F",
    "1e9",
    ".nan",
    "\u{feff}",
    "ä",
    "\\u12",
    "true",
    "10.0.0.0/8",
    "-1",
    "99999999999999999999",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_yaml_like_text_is_survived(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        survive(&pieces.concat());
    }

    #[test]
    fn any_mutation_is_survived(
        seed in prop::sample::select(&SEEDS[..]),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, prop::sample::select(&PIECES[..])), 1..8),
    ) {
        let mut text = seed.to_owned();
        for (at, length, piece) in cuts {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, piece);
        }
        survive(&text);
    }
}

/// A name that shows as another, or as nothing, is none: verdicts, logs and pages name rules by it.
#[test]
fn names_that_show_something_else_are_refused_with_their_object() {
    type Written<'w> = (&'w str, &'w dyn Fn(&str) -> String);
    let rule = |name: &str| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {{name: p}}, spec: {{rules: [{{name: \"{name}\", action: deny}}]}}}}\n"
        )
    };
    let cluster = |name: &str| {
        format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: p}}, spec: {{tier: Admin, \
             priority: 1, subject: {{namespaces: {{}}}}, ingress: [{{name: \"{name}\", action: Deny, from: [{{namespaces: {{}}}}]}}]}}}}\n"
        )
    };
    let port = |name: &str| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: Switch, metadata: {{name: p}}, spec: {{address: 'a:1', ports: [{{id: 1, name: \"{name}\"}}]}}}}\n"
        )
    };
    let packet = |name: &str| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: Expectation, metadata: {{name: p}}, spec: {{packets: [{{name: \"{name}\", src: 10.0.0.1, dst: \
             10.0.0.2, expect: allow}}]}}}}\n"
        )
    };
    let said = |text: String| parse([("a.yaml", text)]).err().map(|error| error.render(false));
    let kinds: [Written<'_>; 4] = [
        ("FilterPolicy/p", &rule),
        ("ClusterNetworkPolicy/p", &cluster),
        ("Switch/p", &port),
        ("Expectation/p", &packet),
    ];
    for (object, text) in kinds {
        assert_eq!(said(text("grüße an 世界")), None, "{object}");
        for hidden in
            ['\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{7f}']
        {
            let escaped = format!("web\\u{:04x}", u32::from(hidden));
            let error = said(text(&escaped)).unwrap_or_else(|| panic!("{object} takes {hidden:?}"));
            assert!(error.contains(object) && error.contains("do not show"), "{hidden:?}: {error}");
        }
    }
}

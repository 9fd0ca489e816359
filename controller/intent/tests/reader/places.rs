//! Places are where they are said to be, whatever the text is made of.

use outplane_intent::reader::{Code, Severity, parse};
use proptest::prelude::*;

/// Where a word stands in a text: line and column, from 1, in characters.
fn place_of(text: &str, word: &str) -> (usize, usize) {
    let at = text.find(word).unwrap();
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    (text[..at].matches('\n').count() + 1, text[line_start..at].chars().count() + 1)
}

fn check(text: &str, names: &[String]) {
    let loaded = match parse([("a.yaml", text)]) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{text}\n{}", diagnostics.render(false)),
    };
    for name in names {
        let location = loaded.sources.object(&format!("Host/{name}")).unwrap();
        // A quoted name starts at its quote.
        let (line, column) = place_of(text, name);
        let quoted = text.contains(&format!("\"{name}")) || text.contains(&format!("'{name}"));
        assert_eq!(
            (location.line, location.column),
            (line, column - usize::from(quoted)),
            "{name} in\n{text}"
        );
    }
}

/// Comments, text and line ends between what matters.
fn filler() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(&["", "# a\n", "# ä€𐍈 \u{301}\n", "\n", "   \n", "#\t\n\n"][..]);
    prop::collection::vec(plain, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_are_where_they_are(
        forms in prop::collection::vec((0..6_usize, filler(), filler()), 1..8),
        windows in any::<bool>(),
    ) {
        let mut text = String::new();
        let mut names = Vec::new();
        for (number, (form, before, between)) in forms.into_iter().enumerate() {
            let name = format!("name-{number}-x");
            text += &before;
            text += "---\n";
            text += &before;
            let head = "apiVersion: outplane.dev/v1alpha1";
            let object = match form {
                0 => format!("{head}\n{between}kind: Host\nmetadata:\n{between}  name: {name}\nspec: {{}}\n"),
                1 => format!("{head}\nkind: Host\nmetadata: {{labels: {{ü: 'ö\n\n    ä'}}, name: \"{name}\"}}\nspec: {{}}\n"),
                2 => format!("{head}\nkind: Host\nmetadata:\n  note: |\n    ä€\n\n    b\n{between}  name: '{name}'\nspec: {{}}\n"),
                3 => format!("{{\"kind\": \"Host\", \"ä\": \"\\u00e4\",\n{between} \"metadata\": {{\"name\": \"{name}\"}},\n \"apiVersion\": \"outplane.dev/v1alpha1\", \"spec\": {{}}}}\n").replace("\"ä\": \"\\u00e4\",", ""),
                4 => format!("kind: List\napiVersion: v1\nitems:\n{between}  - {head}\n    kind: Host\n    metadata: {{\u{20}\u{20}name: {name}}}\n    spec: {{}}\n"),
                _ => format!("spec: {{}}\nmetadata:\n  folded: >-\n    a\n    ä\n  name: {name}  # ü\nkind: Host # 𐍈\n{head}\n"),
            };
            text += &object;
            names.push(name);
        }
        if windows {
            text = text.replace('\n', "\r\n");
        }
        check(&text, &names);
    }
}

#[test]
fn json_places() {
    let text = "\n {\"kind\": \"Host\",\t\"ignored\": \"ä\\\"\\\\€\",\n \"apiVersion\": \"outplane.dev/v1alpha1\",\r\n \"metadata\": \
                {\"labels\": {\"ö\": \"𐍈\", \"e\": 1.5e-3}, \"name\": \"json-name\"}, \"spec\": {\"addresses\": []}}\n";
    let diagnostics = parse([("a.json", text)]).unwrap_err();
    let error = &diagnostics.errors()[0];
    assert_eq!(error.code(), Code::UnknownField);
    let (line, column) = place_of(text, "\"ignored\"");
    assert_eq!((error.line(), error.column()), (Some(line), Some(column)));
    check(
        &text.replace("\"ignored\": \"ä\\\"\\\\€\",", "\"status\": \"ä\\\"\\\\€\","),
        &["json-name".to_owned()],
    );
}

#[test]
fn places_behind_a_broken_document() {
    let text = "# ä\n---\na: [é\n---\n# ü\napiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n---\nkind: ö ö: ö\n---\n- here\n";
    let diagnostics = parse([("a.yaml", text)]).unwrap_err();
    let places: Vec<_> =
        diagnostics.errors().iter().map(|error| (error.code(), error.line(), error.column())).collect();
    assert_eq!(
        places,
        [
            (Code::Syntax, Some(4), Some(1)),
            (Code::WrongType, Some(8), Some(18)),
            (Code::Syntax, Some(10), Some(10)),
            (Code::Kind, Some(12), Some(1)),
        ]
    );
}

/// Others find fault with an intent after it has been read, and point to its rules.
#[test]
fn diagnostics_of_others() {
    let text = "
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: p}
spec:
  rules:
    - {name: big, action: deny}
";
    let sources = parse([("a.yaml", text)]).unwrap().sources;
    let diagnostic =
        |object: &str, rule| sources.diagnostic(Severity::Error, Code::Capacity, object, rule, "too big");
    let of_rule = diagnostic("FilterPolicy/p", Some("big"));
    assert_eq!(of_rule.to_string(), "FilterPolicy/p: too big");
    assert!(of_rule.render(false).contains("[a.yaml:7:14]"), "{}", of_rule.render(false));
    assert_eq!(diagnostic("FilterPolicy/p", Some("no such rule")).line(), Some(4));
    assert_eq!(diagnostic("FilterPolicy/p", None).line(), Some(4));
    assert_eq!(diagnostic("FilterPolicy/q", None).location(), None);
    assert!(diagnostic("FilterPolicy/q", None).render(false).contains("FilterPolicy/q: too big"));
    let names: Vec<&str> = sources.objects().collect();
    assert_eq!(names, ["FilterPolicy/p"]);
}

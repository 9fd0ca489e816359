//! packaging/prometheus: the alerts are about metrics that there are, and docs/monitoring.md explains each of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

use crate::support::root;

fn file(name: &str) -> PathBuf {
    root().join("packaging/prometheus").join(name)
}

/// A YAML file of plain mappings, lists and texts; numbers and truths are texts.
fn yaml(text: &str) -> Value {
    enum Open {
        List(Vec<Value>),
        Mapping(Map<String, Value>, Option<String>),
    }
    let (mut open, mut whole) = (Vec::<Open>::new(), Value::Null);
    for event in Parser::new_from_str(text) {
        let done = match event.expect("it is YAML").0 {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().expect("it was opened") {
                Open::List(items) => Value::Array(items),
                Open::Mapping(fields, _) => Value::Object(fields),
            },
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(_) => panic!("no aliases here"),
            _ => continue,
        };
        match open.last_mut() {
            None => whole = done,
            Some(Open::List(items)) => items.push(done),
            Some(Open::Mapping(fields, key)) => match key.take() {
                None => *key = Some(done.as_str().expect("a key is text").to_owned()),
                Some(key) => assert!(fields.insert(key, done).is_none(), "a key is there twice"),
            },
        }
    }
    whole
}

fn rules() -> Vec<Value> {
    let rules = yaml(&std::fs::read_to_string(file("outplane.rules.yml")).expect("the rules are there"));
    let groups = rules["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// The row of each metric in docs/configuration.md, which the nodes' and the store's own tests hold against the code.
fn documented() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).expect("the page is there");
    let (_, page) = page.split_once("## Metrics").expect("the section is there");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let name = row[3..].split('`').next().expect("a name");
        let prefix = if name.starts_with("outplane_") { "" } else { "outplane_embedded_store_" };
        (format!("{prefix}{name}"), row.to_owned())
    })
    .chain([("outplane_embedded_store_ready".to_owned(), String::new())])
    .collect()
}

/// Metrics of an expression, each with what stands between its braces.
fn selectors(expression: &str) -> Vec<(String, String)> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let starts = expression.match_indices("outplane_").map(|(at, _)| at);
    starts
        .map(|at| {
            let name: String = expression[at..].chars().take_while(|letter| is_name(*letter)).collect();
            let rest = &expression[at + name.len()..];
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            (name, labels.unwrap_or_default().to_owned())
        })
        .collect()
}

#[test]
fn every_alert_is_about_metrics_that_there_are() {
    let documented = documented();
    assert!(documented.len() > 60, "{}", documented.len());
    let rules = rules();
    for rule in &rules {
        let alert = rule["alert"].as_str().expect("an alert has a name");
        let selectors = selectors(rule["expr"].as_str().expect("an expression"));
        let up = rule["expr"].as_str().is_some_and(|expression| expression.contains("up{"));
        assert!(up || !selectors.is_empty(), "{alert} asks for nothing of ours");
        for (metric, labels) in selectors {
            let plain = ["_bucket", "_count", "_sum"].iter().find_map(|end| metric.strip_suffix(end));
            let row = documented
                .iter()
                .find(|(name, _)| *name == metric || Some(name.as_str()) == plain)
                .unwrap_or_else(|| panic!("{alert}: docs/configuration.md has no metric {metric}"));
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, values) = label.split_once(['=', '!']).expect("a label and its value");
                // The second column names the labels, and words that they may have stand in the row.
                assert!(row.1.contains(label), "{alert}: {metric} has no label {label}: {}", row.1);
                for value in values.trim_matches(['=', '~', '"']).split('|') {
                    let known = row.1.contains(value) || label == "role";
                    assert!(known, "{alert}: {metric} says nothing of {label} {value}: {}", row.1);
                }
            }
        }
    }
    assert!(rules.len() > 20, "{}", rules.len());
}

#[test]
fn every_alert_is_explained() {
    let page = std::fs::read_to_string(root().join("docs/monitoring.md")).expect("the page is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `Outplane"));
    let explained: Vec<_> =
        rows.map(|row| format!("Outplane{}", row.split('`').next().expect("it ends"))).collect();
    let mut names = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name").to_owned();
        assert!(explained.contains(&name), "docs/monitoring.md does not explain {name}");
        let severity = rule["labels"]["severity"].as_str().expect("a severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some_and(|text| text.len() > 10), "{name}: {text}");
        }
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
    for name in explained {
        assert!(names.contains(&name), "docs/monitoring.md explains {name}, which is no alert");
    }
}

/// What Prometheus itself makes of them.
#[test]
fn promtool_takes_them() {
    for (check, name) in [("check", "outplane.rules.yml"), ("test", "outplane.tests.yml")] {
        let mut command = Command::new("promtool");
        command.args([check, "rules", name]).current_dir(root().join("packaging/prometheus"));
        match command.output() {
            Err(error) => println!("SKIPPED: alerts by Prometheus: promtool cannot be run: {error}"),
            Ok(output) => {
                let told = [output.stdout, output.stderr].concat();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
            }
        }
    }
}

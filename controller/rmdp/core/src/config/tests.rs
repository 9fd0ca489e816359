use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::task::{Digest, Work};

const SMALL: &str = r#"
[[member]]
name = "d1"
sender = 1
role = "distributor"
address = "192.0.2.1:8277"

[[member]]
name = "c1"
sender = 11
role = "controller"
address = "[2001:db8::1]:8277"
http = "192.0.2.11:9277"
"#;

/// The example of the module's documentation.
fn documented() -> String {
    let source = include_str!("mod.rs");
    let lines = source.lines().skip_while(|line| *line != "//! ```toml").skip(1);
    let example: Vec<_> = lines
        .take_while(|line| *line != "//! ```")
        .map(|line| line.strip_prefix("//!").unwrap_or(line).trim_start())
        .collect();
    example.join("\n")
}

#[test]
fn the_documented_values_are_the_defaults_and_every_key_is_documented() {
    let text = documented();
    let second =
        "\n[[member]]\nname = \"c1\"\nsender = 2\nrole = \"controller\"\naddress = \"192.0.2.2:1\"\n";
    let config = SharedConfig::from_toml(&(text.clone() + second)).unwrap();
    let defaults = SharedConfig {
        members: config.members.clone(),
        switches: config.switches.clone(),
        ..SharedConfig::default()
    };
    let shown = SharedConfig { keys: Keys::default(), ..config.clone() };
    assert_eq!(shown, defaults);
    assert_eq!(config.keys, Keys { sign_with: 1, accept: vec![1, 2] });
    for line in config.to_toml().lines() {
        if let Some((key, _)) = line.split_once(" = ") {
            assert!(text.contains(&format!("{key} = ")), "{key} is not documented");
        }
    }
}

#[test]
fn small_and_whole() {
    let config = SharedConfig::from_toml(SMALL).unwrap();
    assert_eq!(config.member("c1").unwrap().sender, 11);
    assert_eq!(config.sender(1).unwrap().name, "d1");
    assert_eq!(SharedConfig::from_toml(&config.to_toml()).unwrap(), config);
    let work = |entries| Work::Converge { generation: 1, desired: Digest([0; 32]), entries };
    assert_eq!(config.lease(&work(0)), Duration::from_secs(3));
    assert_eq!(config.lease(&work(10_000)), Duration::from_secs(4));
    assert_eq!(config.lease(&work(u32::MAX)), Duration::from_mins(1));
    let push =
        |measured: Option<u64>| config.push_budget("leaf1", measured.map(Duration::from_millis)).as_millis();
    assert_eq!(
        (push(None), push(Some(50)), push(Some(9000)), push(Some(20_000))),
        (30_000, 1200, 30_000, 40_000)
    );
    assert_eq!(
        config.lease_with_push(config.lease(&work(0)), Duration::from_secs(9)),
        Duration::from_secs(12)
    );
    // 3 s and 1 s, doubled: the budget stays a quarter of the lease, and both end at the longest lease.
    let patient = |patience| {
        let (lease, budget) = config.patient(&work(0), patience);
        (lease.as_millis(), budget.as_millis())
    };
    let leases: Vec<_> = (0..=6).map(patient).collect();
    let expected =
        [(3000, 1000), (6000, 1500), (12_000, 3000), (24_000, 6000), (48_000, 12_000), (60_000, 15_000)];
    assert_eq!((&leases[..6], leases[6]), (&expected[..], expected[5]));
    let more: Vec<_> = (0..8).map(|patience| config.more_patience(&work(0), patience)).collect();
    assert_eq!(more, [1, 2, 3, 4, 5, 5, 6, 7]);
    assert_eq!(config.patient(&work(0), u32::MAX), config.patient(&work(0), 5));
    let enough = |took| config.enough_patience(&work(0), Duration::from_millis(took), 4);
    assert_eq!((enough(0), enough(1000), enough(1001), enough(4500), enough(1_000_000)), (0, 0, 1, 2, 4));
    let waits: Vec<_> = (1..=9).map(|attempt| config.backoff(attempt).as_millis()).collect();
    assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    assert_eq!(config.backoff(u32::MAX).as_millis(), 10_000);
}

#[test]
fn faults_name_the_key_and_the_cure() {
    let cases = [
        ("[claims]\nbudget_ms = 2000", "claims.budget_ms: 2000 is more than half of lease_base_ms = 3000"),
        ("[claims]\nlease_max_ms = 100", "claims.lease_max_ms: 100 is less than"),
        (
            "[claims]\npush_ms = 60000",
            "claims.push_ms: 60000 does not fit: a lease with a push is lease_base_ms = 3000",
        ),
        ("[switch.a]\npush_ms = 0", "switch.a.push_ms: 0 does not fit"),
        ("[keys]\naccept = [1, 2, 3]", "keys.accept: 3 keys, at most 2 are possible"),
        ("[keys]\naccept = [2]", "keys.accept: it lacks sign_with = 1"),
        (
            "[datagrams]\ngroups = [\"192.0.2.1\"]",
            "192.0.2.1 is no multicast address, those are in 224.0.0.0/4",
        ),
        ("[datagrams]\nttl = 0", "datagrams.ttl: 0 is out of range, 1 to 255"),
        ("[datagrams]\nport = 0", "datagrams.port"),
        ("[retention]\ngrace_s = 60", "retention.grace_s: 60 is too short"),
        ("[retention]\nhorizon_s = 60", "retention.horizon_s: 60 is less than grace_s = 600"),
        ("[audit]\ninterval_s = 0", "audit.interval_s: 0 is out of range, 1 to 86400"),
        ("[attempts]\nmax = 0", "attempts.max: 0 is out of range"),
        ("[attempts]\nbackoff_max_ms = 1", "attempts.backoff_max_ms: 1 is less than"),
        ("[degradation]\nhard_ms = 1", "degradation.hard_ms: 1 is less than"),
        ("[switch.a]\naddress = \"a\"", "switch.a.address: `a` is not HOST:PORT"),
        ("[switch.a]\ntls = { ca = \"../ca\" }", "switch.a.tls.ca: `../ca` is no plain file name"),
        ("[switch.a]\ntls = { ca = \"ca\", key = \"k\" }", "switch.a.tls: cert and key belong together"),
        ("[claims]\nmore = 1", "unknown field `more`"),
        ("[claims]\ndelay_ms = -1", "invalid value"),
        ("nonsense", "correct the TOML"),
    ];
    for (text, expected) in cases {
        let error = SharedConfig::from_toml(&format!("{SMALL}\n{text}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn all_faults_are_told_at_once_with_their_lines() {
    let text = r#"
[[member]]
name = "d1"
sender = "one"
role = "distributor"
address = "192.0.2.1:8277"

[[member]]
name = "c1"
sender = 11
role = "boss"
address = "192.0.2.2:8277"

[[member]]
name = "c2"
sender = 0
role = "controller"
address = "192.0.2.3:8277"

[claims]
budget = 5
budget_ms = 2000
delay_ms = -1

[switch."leaf.1"]
address = "nowhere"
"#;
    let ConfigError::Faults(problems) = SharedConfig::from_toml(text).unwrap_err() else { panic!() };
    let told: Vec<_> = problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    let expected = [
        (4, "member 1: sender"),
        (11, "member 2: role"),
        (21, "claims.budget"),
        (22, "claims.budget_ms"),
        (23, "claims.delay_ms"),
        (26, "switch.leaf.1.address"),
    ];
    for one in expected {
        assert!(told.contains(&one), "{one:?} of {problems:#?}");
    }
    assert_eq!(told.len(), 7, "each once: {problems:#?}");
    // The only distributor could not be read: that is told, and not that there is none.
    assert!(!told.contains(&(0, "member")), "{problems:#?}");
    assert!(
        problems.iter().any(|problem| problem.what.contains("0 is nobody's")
            && problem.line == 16
            && problem.key.starts_with("member 3")),
        "{problems:#?}"
    );
    let ConfigError::Faults(problems) = SharedConfig::from_toml("a = [\nb = \"\n[x\n").unwrap_err() else {
        panic!()
    };
    assert!(problems.iter().all(|problem| problem.line > 0), "{problems:#?}");
}

#[test]
fn members_are_told_apart() {
    let none = SharedConfig::from_toml("").unwrap_err().to_string();
    assert!(
        none.contains("no member has the role \"distributor\"") && none.contains("\"controller\""),
        "{none}"
    );
    let twice = SharedConfig::from_toml(&SMALL.repeat(2)).unwrap_err();
    let ConfigError::Faults(problems) = &twice else { panic!("{twice}") };
    assert_eq!(problems.len(), 6, "{twice}");
    let bad = SMALL
        .replace("\"c1\"", "\"C 1\"")
        .replace("sender = 11", "sender = 0")
        .replace("192.0.2.1:8277", "0.0.0.0:1");
    let error = SharedConfig::from_toml(&bad).unwrap_err().to_string();
    for expected in ["`C 1` is no name", "0 is nobody's", "0.0.0.0:1 is no address"] {
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    /// Edits of any kind are taken or refused in words, and what is taken is taken again.
    #[test]
    fn random_edits(edits in prop::collection::vec((any::<u16>(), "[ -~\n]{0,3}", 0..8usize), 1..5)) {
        let mut text: Vec<char> = (documented() + SMALL).chars().collect();
        for (place, new, gone) in edits {
            let place = usize::from(place) % text.len();
            let end = (place + gone).min(text.len());
            text.splice(place..end, new.chars());
        }
        if let Ok(config) = SharedConfig::from_toml(&text.into_iter().collect::<String>()) {
            prop_assert_eq!(SharedConfig::from_toml(&config.to_toml()), Ok(config));
        }
    }
}

/// The rows of the page's table: key, default, bound.
fn page() -> Vec<[String; 3]> {
    let page = include_str!("../../../../../docs/configuration.md");
    let table = page.split("## The shared configuration").nth(1).expect("a section");
    let rows =
        table.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
    let cell = |text: &str| text.trim().to_owned();
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(cell).collect();
        assert_eq!(cells.len(), 8, "six cells: {row}");
        [cells[1].trim_matches('`').to_owned(), cells[4].clone(), cells[5].clone()]
    })
    .collect()
}

/// Every key with its value, as `a.b.c`; members and switches once each.
fn keys(config: &SharedConfig) -> std::collections::BTreeMap<String, toml::Value> {
    fn walk(path: &str, value: &toml::Value, keys: &mut std::collections::BTreeMap<String, toml::Value>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let dot = if path.is_empty() { "" } else { "." };
                    walk(&format!("{path}{dot}{name}"), value, keys);
                }
            }
            toml::Value::Array(tables) if tables.first().is_some_and(toml::Value::is_table) => {
                for table in tables {
                    walk(path, table, keys);
                }
            }
            value => drop(keys.insert(path.replace("switch.leaf1", "switch.NAME"), value.clone())),
        }
    }
    let mut keys = std::collections::BTreeMap::new();
    walk("", &toml::Value::try_from(config).unwrap(), &mut keys);
    keys
}

/// Sets one key of the defaults; what is out of range then.
fn faults(key: &str, value: i64) -> Vec<String> {
    let (section, name) = key.split_once('.').unwrap();
    let mut table = toml::Table::try_from(SharedConfig::default()).unwrap();
    table[section].as_table_mut().unwrap().insert(name.to_owned(), toml::Value::Integer(value));
    let config: SharedConfig = match table.try_into() {
        Ok(config) => config,
        // Beyond what the type holds.
        Err(error) => return vec![error.to_string()],
    };
    let Err(ConfigError::Faults(problems)) = config.check() else { return Vec::new() };
    let of_this = problems.into_iter().filter(|problem| problem.key == key);
    of_this
        .map(|problem| problem.what)
        .filter(|what| what.contains("out of range") || what.contains("no port"))
        .collect()
}

/// Both ways: what the page names is there, what is there is named; with its default, and its bound to the number.
#[test]
fn the_page_has_every_key_with_its_default_and_its_bound() {
    let second =
        "\n[[member]]\nname = \"c1\"\nsender = 2\nrole = \"controller\"\naddress = \"192.0.2.2:1\"\n";
    let whole = keys(&SharedConfig::from_toml(&(documented() + second)).unwrap());
    let rows = page();
    let named: Vec<_> = rows.iter().map(|[key, ..]| key.as_str()).collect();
    let unnamed: Vec<_> = whole.keys().filter(|key| !named.contains(&key.as_str())).collect();
    assert!(unnamed.is_empty(), "docs/configuration.md lacks {unnamed:?}");
    let unknown: Vec<_> = named.iter().filter(|key| !whole.contains_key(**key)).collect();
    assert!(unknown.is_empty(), "docs/configuration.md has keys that are none: {unknown:?}");
    assert_eq!(named.len(), whole.len(), "each once");
    let defaults = keys(&SharedConfig::default());
    for [key, default, bound] in rows {
        let Some(value) = defaults.get(&key) else { continue };
        let shown = match value {
            toml::Value::Array(values) if values.iter().all(toml::Value::is_str) => {
                let quoted = values.iter().map(|value| format!("`{}`", value.as_str().unwrap()));
                quoted.collect::<Vec<_>>().join(", ")
            }
            toml::Value::Array(values) => {
                values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            value => value.to_string(),
        };
        assert_eq!(default, shown, "the default of {key}");
        let toml::Value::Integer(_) = value else { continue };
        let (low, high) =
            bound.split_once(" to ").unwrap_or_else(|| panic!("{key} has no bound but `{bound}`"));
        let [low, high]: [i64; 2] = [low, high].map(|text| text.parse().unwrap());
        for value in [low, high] {
            assert_eq!(faults(&key, value), [""; 0], "{key} = {value}");
        }
        for value in [low - 1, high + 1] {
            assert_ne!(faults(&key, value), [""; 0], "{key} = {value}");
        }
    }
}

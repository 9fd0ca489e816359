//! The form of pages: tables have a head, links lead somewhere.

use super::page::pages;
use crate::support::root;

/// The cells of a table's row, as GitHub counts them: a bar in code is one, too, unless it is escaped.
fn cells(row: &str) -> usize {
    let (mut cells, mut escaped) = (0, false);
    for letter in row.trim().trim_end_matches('|').chars() {
        cells += usize::from(letter == '|' && !escaped);
        escaped = letter == '\\' && !escaped;
    }
    cells
}

/// A table that is broken is shown as text: every row has its head's cells, and none stands without a head.
#[test]
fn tables_are_well_formed() {
    let mut tables = 0;
    for page in pages() {
        let (mut fenced, mut width, mut rows) = (false, 0, 0);
        for (number, line) in page.text.lines().enumerate() {
            let place = format!("{}:{}: {line}", page.name, number + 1);
            fenced ^= line.starts_with("```");
            if fenced || !line.starts_with('|') {
                assert!(rows != 1, "{place}: a head alone is no table");
                (width, rows) = (0, 0);
                continue;
            }
            rows += 1;
            match rows {
                1 => (width, tables) = (cells(line), tables + 1),
                2 => assert!(
                    line.chars().all(|letter| "|-: ".contains(letter)),
                    "{place}: after a head come dashes"
                ),
                _ => {}
            }
            assert_eq!(cells(line), width, "{place}: the head has {width} cells");
        }
    }
    assert!(tables > 60, "{tables}");
}

/// Heads of a page, and how links name them.
fn anchors(text: &str) -> Vec<(String, String)> {
    let heads = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let anchor = |head: &str| {
        let kept = head.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    heads.map(|head| (head.to_owned(), anchor(head))).collect()
}

/// A page that sends to another, or to a part of one, names what is there: `[text](path#part)`, `docs/x.md`, and
/// `docs/x.md, "Part"`.
#[test]
fn pages_that_others_send_to_are_there() {
    let mut seen = 0;
    for page in pages() {
        let (text, folder) = (&page.text, page.path());
        let folder = folder.parent().expect("a page lies in a folder");
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            if target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let (path, part) = target.split_once('#').unwrap_or((target, ""));
            let to = if path.is_empty() { page.path() } else { folder.join(path) };
            assert!(to.exists(), "{}: {target} leads nowhere", page.name);
            if !part.is_empty() {
                let there = std::fs::read_to_string(&to).expect("a page");
                let known = anchors(&there).iter().any(|(_, anchor)| anchor == part);
                assert!(known, "{}: {target}: no such part", page.name);
            }
            seen += 1;
        }
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "/._-".contains(letter)));
        for word in words.filter(|word| word.starts_with("docs/")) {
            let word = word.trim_end_matches('.');
            assert!(root().join(word).exists(), "{}: {word} is not there", page.name);
            seen += 1;
        }
        for code in text.split('`').skip(1).step_by(2) {
            let folders =
                ["controller/", "ebpf/", "examples/", "p4/", "packaging/", "proto/", "tests/", "xtask/"];
            if folders.iter().any(|folder| code.starts_with(folder)) && !code.contains([' ', '*', '{', '<']) {
                // A crate's own page may name its own files.
                let is_there = folder.ancestors().any(|above| above.join(code).exists());
                assert!(is_there, "{}: {code} is not there", page.name);
                seen += 1;
            }
        }
        // `docs/x.md, "Part"`, or `[x.md](x.md), "Part"`.
        for (at, _) in text.match_indices(", \"") {
            let before = text[..at].trim_end_matches(')');
            let start =
                before.rfind(|letter: char| !(letter.is_ascii_alphanumeric() || "/._-".contains(letter)));
            let path = &before[start.map_or(0, |at| at + 1)..];
            if path.strip_suffix(".md").is_none_or(str::is_empty) {
                continue;
            }
            let to = if path.starts_with("docs/") { root().join(path) } else { folder.join(path) };
            let target = std::fs::read_to_string(&to).expect("a page");
            let rest = &text[at + 3..];
            let part = &rest[..rest.find('"').expect("it ends")];
            let known = anchors(&target).iter().any(|(head, _)| head == part)
                || target.contains(&format!("**{part}"));
            assert!(known, "{}: {path} has no part `{part}`", page.name);
        }
    }
    assert!(seen > 60, "{seen}");
}

/// docs/README.md is the index of all pages of its folder.
#[test]
fn every_page_is_in_the_index() {
    let pages = pages();
    let index = pages.iter().find(|page| page.name == "docs/README.md").expect("the index is there");
    for page in &pages {
        let Some(name) = page.name.strip_prefix("docs/").filter(|name| *name != "README.md") else {
            continue;
        };
        assert!(index.text.contains(&format!("({name})")), "docs/README.md does not have {name}");
    }
}

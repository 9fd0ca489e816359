//! Whether a command prints what a page shows: all of it, but for `...`, and for what differs from run to run.

/// Whether the output is what the page shows. `...` in a line of its own stands for any number of lines.
pub(super) fn same(shown: &[String], printed: &[String], either: &[String]) -> bool {
    let steady = |line: &String| steady(line, either);
    matches(&trimmed(shown.iter().map(steady)), &trimmed(printed.iter().map(steady)))
}

/// The same of a command that goes on: more may come after it.
pub(super) fn begins(shown: &[String], printed: &[String], either: &[String]) -> bool {
    let mut shown = shown.to_vec();
    shown.push("...".to_owned());
    same(&shown, printed, either)
}

fn trimmed(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    lines
}

fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((first, rest)) => {
            printed.split_first().is_some_and(|(line, printed)| line == first && matches(rest, printed))
        }
    }
}

/// A line without what differs from run to run: ids, times, durations, who it was. Blanks count as one, since columns
/// are as wide as what stands in them.
fn steady(line: &str, either: &[String]) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let timed = words
        .windows(2)
        .any(|pair| pair[0].ends_with(|last: char| last.is_ascii_digit()) && is_unit(pair[1]));
    let steady = |(at, word): (usize, &&str)| {
        let unit = words.get(at + 1).is_some_and(|next| is_unit(next));
        let mut steady = String::new();
        for atom in word.split_inclusive([',', '(', ')', '"', '[', ']', '=', '{', '}', ';']) {
            let end = atom.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
            let (core, tail) = atom.split_at(end.len());
            steady.push_str(kind(core, unit, timed, either));
            steady.push_str(tail);
        }
        steady
    };
    words.iter().enumerate().map(steady).collect::<Vec<_>>().join(" ")
}

fn kind<'a>(word: &'a str, unit: bool, timed: bool, either: &'a [String]) -> &'a str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let decimal = word.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part));
    if is_id(word) {
        "ID"
    } else if is_time(word) {
        "TIME"
    } else if word.contains('@') {
        "AUTHOR"
    } else if unit && (digits(word) || decimal) || timed && decimal {
        "N"
    } else if let Some(first) = either.first().filter(|_| either.iter().any(|one| one == word)) {
        first
    } else {
        word
    }
}

fn is_unit(word: &str) -> bool {
    let word = word.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
    ["s", "ms", "us", "min", "h", "d"].contains(&word)
}

/// What a page's transaction ids are in this run: later commands name them.
#[derive(Default)]
pub(super) struct Ids(Vec<(String, String)>);

impl Ids {
    /// Takes them from lines that are the same but for their ids.
    pub(super) fn learn(&mut self, shown: &[String], printed: &[String]) {
        let id = |line: &str| line.split_whitespace().find(|word| is_id(word)).map(ToOwned::to_owned);
        for line in shown {
            let same = printed.iter().find(|other| steady(other, &[]) == steady(line, &[]));
            self.0.extend(id(line).zip(same.and_then(|other| id(other))));
        }
    }

    pub(super) fn translated(&self, command: &str) -> String {
        self.0.iter().fold(command.to_owned(), |command, (shown, is)| command.replace(shown, is))
    }
}

/// A transaction id: 32 hexadecimal digits in five groups.
fn is_id(word: &str) -> bool {
    word.len() == 36
        && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && word.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
}

/// `2026-11-29T20:40:01.123Z`, or without its hour.
fn is_time(word: &str) -> bool {
    let date = word.get(..10).unwrap_or_default();
    date.bytes()
        .enumerate()
        .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
        && date.len() == 10
        && word[10..].bytes().all(|byte| byte.is_ascii_digit() || b"T:.Z+-".contains(&byte))
}

#[test]
fn what_differs_from_run_to_run_is_left_out_and_nothing_else() {
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    let same = |shown: &str, printed: &str| same(&lines(shown), &lines(printed), &["c1".into(), "c2".into()]);
    assert!(same("a\n...\nc", "a\nb\nb\nc") && same("a\n...", "a") && !same("a\n...\nc", "a\nb"));
    assert!(!same("a", "a\nb") && !same("a\nb", "a") && same("a", "a\n\n"));
    assert!(same("  done by c1, attempt 1, in 0.09 s", "done by c2,  attempt 1, in 12 s"));
    assert!(!same("done by c1, attempt 1, in 0.09 s", "done by c1, attempt 2, in 0.09 s"));
    assert!(!same("done by c1", "done by c3") && !same("7 entries", "8 entries"));
    assert!(same("10.1 ms: fence 0.3, read 4.0", "9.9 ms: fence 0.2, read 5.0"));
    assert!(!same("used 0.2", "used 0.3") && !same("10.0.0.1", "10.0.0.2"));
    let id = "32e7a3f5-36d4-88b1-826f-cc1df60b290d";
    assert!(same(&format!("task {id}"), &format!("task {}", id.replace('3', "4"))) && !same(id, "1234"));
    assert!(same("2026-11-29T20:40:01.123Z root@host x", "2027-01-30T00:00:00Z you@there x"));
    assert!(!same("2026-11-29 x", "2026-11-29 y") && same("2026-11-29", "2025-01-01"));
}

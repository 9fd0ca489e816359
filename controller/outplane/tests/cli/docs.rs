//! The output that docs/command.md shows is what the binary prints.

use std::fs;
use std::path::Path;

use crate::lab::Lab;
use crate::support::{SoftSwitch, outplane_reading, root};

/// A command of a console block, its standard input, and the lines that follow it.
struct Shown {
    command: String,
    input: String,
    output: Vec<String>,
}

fn shown(text: &str) -> Vec<Shown> {
    let mut all = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().expect("a block ends");
        let mut lines = block.lines();
        while let Some(line) = lines.next() {
            if let Some(command) = line.strip_prefix("$ outplane ") {
                let (command, heredoc) =
                    command.split_once(" <<EOF").map_or((command, false), |(c, _)| (c, true));
                let input =
                    if heredoc { lines.by_ref().take_while(|line| *line != "EOF").collect() } else { vec![] };
                all.push(Shown { command: command.to_owned(), input: input.join("\n"), output: Vec::new() });
            } else if let Some(last) = all.last_mut() {
                last.output.push(line.to_owned());
            }
        }
    }
    all
}

/// Whether a word is a transaction id: 32 hexadecimal digits in five groups.
fn is_id(word: &str) -> bool {
    word.len() == 36
        && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && word.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
}

/// What differs from run to run: addresses, times, and ids, which are of the store's network.
fn steady(line: &str, address: &str) -> String {
    // Either controller may have been the faster one.
    let line = line
        .replace(address, "127.0.0.1:9559")
        .replace("done by c1", "done by c2")
        .replace("answers c1", "answers c2");
    let line =
        line.split(' ').map(|word| if is_id(word) { "ID" } else { word }).collect::<Vec<_>>().join(" ");
    match line.rsplit_once(" in ") {
        Some((start, time)) if time.starts_with(|character: char| character.is_ascii_digit()) => {
            format!("{start} in some time")
        }
        _ => line,
    }
}

#[test]
fn command_md_shows_real_output() {
    let text = fs::read_to_string(root().join("docs/command.md")).expect("the page is there");
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    let mut tried = 0;
    // What the page's id is in this network.
    let mut id: Option<String> = None;
    for Shown { command, input, output } in shown(&text) {
        // Those write outside of the tests' folders, or need ports.
        if ["softswitch", "store", "completions", "man"].iter().any(|name| command.starts_with(name)) {
            continue;
        }
        tried += 1;
        if let Some((role @ ("distributor" | "controller"), rest)) = command.split_once(' ') {
            let name = rest.trim_start_matches("--config ").trim_end_matches(".toml");
            assert_eq!(output, [lab.daemon(role, name)], "outplane {command}");
            continue;
        }
        let command = lab.paths(&command.replace("127.0.0.1:9559", &switch.address));
        let words = command.split_whitespace().map(|word| match &id {
            Some(id) if is_id(word) => id.as_str(),
            _ => word,
        });
        let run = outplane_reading(words, format!("{input}\n").as_bytes());
        let printed = format!("{}{}", run.err, run.out);
        id = printed.split_whitespace().find(|word| is_id(word)).map(ToOwned::to_owned).or(id);
        let mut printed = printed.lines().map(|line| steady(line, &switch.address));
        for line in
            output.iter().filter(|line| line.trim() != "...").map(|line| steady(line, &switch.address))
        {
            assert!(
                printed.any(|found| found == line),
                "outplane {command} does not print:\n{line}\n{}",
                run.out
            );
        }
    }
    assert!(tried >= 10, "{tried} commands were tried");
}

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
    let pages = ["README.md", "p4/README.md", "ebpf/README.md"].map(|page| root().join(page));
    let docs = std::fs::read_dir(root().join("docs")).expect("the folder is there");
    let docs = docs.map(|entry| entry.expect("it can be read").path());
    let mut tables = 0;
    for page in pages.into_iter().chain(docs.filter(|path| path.extension().is_some_and(|ext| ext == "md"))) {
        let text = std::fs::read_to_string(&page).expect("a page");
        let (mut fenced, mut width, mut rows) = (false, 0, 0);
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}: {line}", page.display(), number + 1);
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
    assert!(tables > 40, "{tables}");
}

/// A page that sends to another names one that is there.
#[test]
fn pages_that_others_send_to_are_there() {
    let docs = std::fs::read_dir(root().join("docs")).expect("the folder is there");
    let docs = docs.map(|entry| entry.expect("it can be read").path());
    let mut seen = 0;
    for page in docs.chain(["README.md", "p4/README.md", "ebpf/README.md"].map(|page| root().join(page))) {
        let text = std::fs::read_to_string(&page).expect("a page");
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "/._-".contains(letter)));
        for word in words.filter(|word| {
            word.starts_with("docs/") && Path::new(word).extension().is_some_and(|of| of == "md")
        }) {
            assert!(root().join(word).is_file(), "{}: {word} is not there", page.display());
            seen += 1;
        }
        // `docs/x.md, "Section"`: the section is there.
        for (at, _) in text.match_indices(".md, \"") {
            let start = text[..at].rfind("docs/").expect("it names a page");
            let target =
                std::fs::read_to_string(root().join(format!("{}.md", &text[start..at]))).expect("a page");
            let rest = &text[at + 6..];
            let section = &rest[..rest.find('"').expect("it ends")];
            let heads = target.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
            let bold = format!("**{section}");
            let known = heads.clone().any(|head| head == section) || target.contains(&bold);
            assert!(known, "{}: {} has no section `{section}`", page.display(), &text[start..at]);
        }
    }
    assert!(seen > 10, "{seen}");
}

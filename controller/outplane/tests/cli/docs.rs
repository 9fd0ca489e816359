//! The output that docs/command.md shows is what the binary prints.

use std::fs;

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

/// What differs from run to run: addresses and times.
fn steady(line: &str, address: &str) -> String {
    // Either controller may have been the faster one.
    let line = line
        .replace(address, "127.0.0.1:9559")
        .replace("done by c1", "done by c2")
        .replace("answers c1", "answers c2");
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
        let run = outplane_reading(command.split_whitespace(), format!("{input}\n").as_bytes());
        let printed = format!("{}{}", run.err, run.out);
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

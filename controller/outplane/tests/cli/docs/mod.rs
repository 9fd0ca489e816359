//! Every command line of every page runs here, as it stands there, and prints what the page shows.
//!
//! Commands stand in ```` ```console ```` blocks, after `$ `; what follows is what they print, standard error included. A
//! block of another kind that holds a command fails the test. In the output a line `...` stands for any number of
//! lines, times, durations, transaction ids and authors for any other, and `^C` for Ctrl-C; all the rest must be so.
//!
//! The blocks of a page run in its order in one shell ([`shell`]): an empty folder with `examples/` and `packaging/` in
//! it, and a network of its own, with root's rights there. Comments before a block tell the test more:
//!
//! | comment | means |
//! |---|---|
//! | `<!-- test setup: COMMANDS -->` | run these before: what the page takes for granted; `lab` and `nodes` are in lab.sh |
//! | `<!-- test: new -->` | in a new shell: nothing of the blocks before is there |
//! | `<!-- test: exit 1 -->` | its last command ends with 1 |
//! | `<!-- test: either c1 c2 -->` | these words may stand for each other: who is faster differs from run to run |
//! | `<!-- test: not run: WHY -->` | cannot run here; that the commands and options are there is looked at all the same |
//!
//! Several are separated by `;`. `UPDATE_GOLDEN=1` writes what is printed into the pages, where they elide nothing.

mod compare;
mod form;
mod known;
mod page;
mod shell;

use std::fs;
use std::sync::Mutex;

use known::Known;
use page::{Marker, Page, Part, Shown, pages};
use shell::{Printed, Shell};

/// What a page has come to.
#[derive(Default)]
struct Outcome {
    tried: usize,
    ids: compare::Ids,
    faults: Vec<String>,
    /// Output to be written into the page: its first line, its lines now, and what they should be.
    updates: Vec<(usize, usize, Vec<String>)>,
}

#[test]
fn pages_show_what_the_binary_prints() {
    let pages = pages();
    assert!(pages.len() > 10, "{} pages", pages.len());
    if let Err(why) = Shell::start() {
        println!("SKIPPED: commands of the pages: {why}");
        return;
    }
    let (known, queue, all) = (Known::default(), Mutex::new(pages.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        // Most of what they do is waiting.
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(page) = { queue.lock().expect("no page has panicked").next() } {
                    let outcome = run(page, &known);
                    all.lock().expect("no page has panicked").push((page, outcome));
                }
            });
        }
    });
    let all = all.into_inner().expect("no page has panicked");
    for (page, outcome) in &all {
        update(page, &outcome.updates);
    }
    let faults: Vec<_> = all.iter().flat_map(|(_, outcome)| &outcome.faults).map(String::as_str).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    let tried: usize = all.iter().map(|(_, outcome)| outcome.tried).sum();
    println!("{tried} commands of {} pages", all.len());
    assert!(tried > 40, "{tried} commands were tried");
}

/// Commands that pages only speak of are there, too, with their options.
#[test]
fn commands_that_pages_name_are_there() {
    let known = Known::default();
    let (mut seen, mut faults) = (0, Vec::new());
    for page in pages() {
        let mut fenced = false;
        for (line, number) in page.text.lines().zip(1..) {
            fenced ^= line.starts_with("```");
            if fenced {
                continue;
            }
            for code in line.split('`').skip(1).step_by(2) {
                let code = code.replace("\\|", "|");
                seen += usize::from(code.starts_with("outplane "));
                if let Some(why) = known.fault(&code) {
                    faults.push(format!("{}:{number}: `{code}`: {why}", page.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 60, "{seen}");
}

fn run(page: &Page, known: &Known) -> Outcome {
    let mut outcome = Outcome::default();
    let parts = match page.parts() {
        Ok(parts) => parts,
        Err(why) => {
            outcome.faults.push(why);
            return outcome;
        }
    };
    let mut shell = None;
    for part in &parts {
        if let Err(fault) = run_part(part, &mut shell, known, &mut outcome) {
            // What follows rests on it.
            outcome.faults.push(fault);
            break;
        }
    }
    outcome
}

fn run_part(
    part: &Part,
    shell: &mut Option<Shell>,
    known: &Known,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let (marker, commands) = match part {
        Part::New => {
            *shell = None;
            return Ok(());
        }
        Part::Setup(place, script) => {
            let shell = started(shell)?;
            let printed = shell.run(script).map_err(|why| format!("{place}: {why}"))?;
            let told = printed.lines.join("\n");
            return if printed.code == 0 {
                Ok(())
            } else {
                Err(format!("{place}: the setup fails:\n{told}"))
            };
        }
        Part::Block(marker, commands) => (marker, commands),
    };
    for (at, shown) in commands.iter().enumerate() {
        outcome.tried += 1;
        let place = &shown.place;
        if let Some(why) = known.fault(&shown.command) {
            return Err(format!("{place}: `{}`: {why}", shown.command));
        }
        if marker.not_run.is_some() {
            continue;
        }
        let exit = if at + 1 == commands.len() { marker.exit } else { 0 };
        let failed = |why: &str| format!("{place}: `{}` {why}", shown.command);
        let command = outcome.ids.translated(&shown.command);
        let printed = execute(started(shell)?, &command, shown, marker).map_err(|why| failed(&why))?;
        let as_shown = if shown.is_background() || shown.interrupted {
            compare::begins(&shown.output, &printed.lines, &marker.either)
        } else {
            compare::same(&shown.output, &printed.lines, &marker.either)
        };
        outcome.ids.learn(&shown.output, &printed.lines);
        let elides = shown.output.iter().any(|line| line.trim() == "...");
        if !as_shown && std::env::var_os("UPDATE_GOLDEN").is_some() && !elides {
            outcome.updates.push((shown.output_from, shown.output.len(), printed.lines));
        } else if !as_shown {
            return Err(failed(&format!(
                "does not print what the page shows, but\n{}",
                printed.lines.join("\n")
            )));
        }
        let interrupted = shown.interrupted && printed.code == 130;
        if printed.code != exit && !interrupted {
            return Err(failed(&format!("ends with {}, not with {exit}", printed.code)));
        }
    }
    Ok(())
}

fn started(shell: &mut Option<Shell>) -> Result<&mut Shell, String> {
    if shell.is_none() {
        *shell = Some(Shell::start()?);
    }
    Ok(shell.as_mut().expect("it has just been started"))
}

fn execute(shell: &mut Shell, command: &str, shown: &Shown, marker: &Marker) -> Result<Printed, String> {
    let seen = |printed: &[String]| compare::begins(&shown.output, printed, &marker.either);
    if shown.interrupted {
        shell.run_and_interrupt(command, seen)
    } else if shown.is_background() {
        shell.run_until(command, seen)
    } else {
        shell.run(command)
    }
}

fn update(page: &Page, updates: &[(usize, usize, Vec<String>)]) {
    if updates.is_empty() {
        return;
    }
    let mut lines: Vec<String> = page.text.lines().map(ToOwned::to_owned).collect();
    for (from, count, printed) in updates.iter().rev() {
        lines.splice(from - 1..from - 1 + count, printed.iter().cloned());
    }
    fs::write(page.path(), lines.join("\n") + "\n").expect("the page can be written");
}

//! Results go to standard output, as text or JSON; everything else goes to standard error.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use crate::options::Format;
use crate::plain::Plain;

/// What was allowed.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What was denied, or went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What deserves a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Headlines.
pub(crate) const HEAD: Style = Style::new().bold();
/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// A command's result. Its serialised form is documented in docs/command.md and stable.
pub(crate) trait Report: Serialize {
    /// The result for people. Styles may be written: the stream drops them where they do not belong.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Prints a result to standard output.
pub(crate) fn print(format: Format, report: &impl Report) -> anyhow::Result<()> {
    write(|stdout| match format {
        Format::Json => {
            let mut out = BufWriter::new(stdout);
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
            out.flush()
        }
        Format::Text => {
            let mut out = Plain(BufWriter::new(anstream::AutoStream::auto(stdout)));
            report.text(&mut out)?;
            out.flush()
        }
    })
}

/// Writes to standard output. Whoever reads it may stop when they have seen enough.
pub(crate) fn write(write: impl FnOnce(io::StdoutLock<'static>) -> io::Result<()>) -> anyhow::Result<()> {
    match write(io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Until nobody reads standard output any more, where that shows: a pipe whose other end is closed. Whoever goes on writing
/// until they are stopped would not notice for as long as they have nothing to write.
pub(crate) async fn unread() {
    // It is only watched, and stays as it is for whoever writes. A file is always read, and cannot be watched.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    let Ok(stdout) = watched else { return std::future::pending().await };
    while let Ok(ready) = stdout.ready(Interest::ERROR).await
        && !ready.is_error()
    {}
}

/// An error and its causes, without those that it has told already.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// Text in a style.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Columns that lines for people have at most, where they can be broken.
pub(crate) const LINE: usize = 100;

/// Writes a text in lines of at most [`LINE`] columns, broken at blanks: the first is indented by so many blanks, those
/// that follow by so many. A word that is longer has a line of its own.
pub(crate) fn wrapped(out: &mut dyn Write, first: usize, next: usize, text: &str) -> io::Result<()> {
    wrapped_with(out, first, next, text, &[])
}

/// The same, and behind the text these, each in one line: options to be copied.
pub(crate) fn wrapped_with(
    out: &mut dyn Write,
    first: usize,
    next: usize,
    text: &str,
    whole: &[String],
) -> io::Result<()> {
    let (mut column, mut blanks, mut begun) = (0, first, false);
    let units = units(text).into_iter().chain(whole.iter().map(String::as_str));
    for (place, unit) in units.enumerate() {
        // Several blanks in a row come as words without letters.
        blanks += usize::from(place > 0);
        let wide = width(unit);
        if wide == 0 {
            continue;
        }
        if begun && column + blanks + wide > LINE {
            writeln!(out)?;
            (column, blanks) = (0, next);
        }
        write!(out, "{:blanks$}{unit}", "")?;
        (column, blanks, begun) = (column + blanks + wide, 0, true);
    }
    writeln!(out)
}

/// Columns that a text takes: what colours it takes none.
fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// What lines are broken between: words, and short remarks in parentheses, which stay whole.
fn units(text: &str) -> Vec<&str> {
    /// A longer remark is broken like everything else.
    const REMARK: usize = 40;
    let mut units = Vec::new();
    let mut rest = text;
    loop {
        let mut depth = 0_usize;
        let blank = |letter: char| {
            match letter {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            letter == ' ' && depth == 0
        };
        let whole = rest.find(blank).unwrap_or(rest.len());
        let word = rest.find(' ').unwrap_or(rest.len());
        let end = if width(&rest[..whole]) <= REMARK { whole } else { word };
        units.push(&rest[..end]);
        match rest.get(end + 1..) {
            Some(more) => rest = more,
            None => return units,
        }
    }
}

/// `1 entry`, `2 entries`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { one } else { many })
}

/// A number with its thousands apart: `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns without lines, indented by two; columns of `right` (from 0) are aligned to the right. Where a line would be longer
/// than [`LINE`], the last columns stand below the first, each row in as many lines.
pub(crate) fn columns(
    out: &mut dyn Write,
    head: &[&str],
    right: &[usize],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    /// What stands below is indented by so many.
    const BELOW: u16 = 6;
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
        cells.chain([width(head[column])]).max().unwrap_or(0)
    };
    let (mut parts, mut used) = (vec![0], 0);
    for column in 0..head.len() {
        let wide = widest(column);
        if used > 0 && used + 2 + wide > LINE {
            parts.push(column);
            used = usize::from(BELOW) + wide;
        } else {
            used += 2 + wide;
        }
    }
    let ends = parts.iter().skip(1).copied().chain([head.len()]);
    let parts = parts.iter().zip(ends).map(|(&from, to)| {
        let indent = if from == 0 { 2 } else { BELOW };
        let right: Vec<usize> = right.iter().filter_map(|at| at.checked_sub(from)).collect();
        let cut = |row: &Vec<String>| row.iter().take(to).skip(from).cloned().collect();
        laid(indent, &head[from..to], &right, rows.iter().map(cut))
    });
    let parts: Vec<Vec<String>> = parts.collect();
    for line in 0..=rows.len() {
        for part in &parts {
            writeln!(out, "{}", part.get(line).map_or("", String::as_str))?;
        }
    }
    Ok(())
}

/// The lines of columns, that of the heads and one for each row.
fn laid(
    indent: u16,
    head: &[&str],
    right: &[usize],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    for row in rows {
        // A cell is one line, whoever has written it.
        table.add_row(row.into_iter().map(|cell| cell.replace(['\n', '\r'], " ")));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { indent } else { 0 }, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Columns whose last one is text, which is broken where a line would be longer than [`LINE`].
pub(crate) fn columns_and_text(
    out: &mut dyn Write,
    head: &[&str],
    right: &[usize],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let (mut rows, mut texts): (Vec<Vec<String>>, Vec<String>) = (rows.into_iter().collect(), Vec::new());
    for row in &mut rows {
        texts.extend(row.pop());
        row.push(String::new());
    }
    let lines = laid(2, head, right, rows);
    let mut lines = lines.iter().map(String::as_str);
    let first = lines.next().unwrap_or_default();
    writeln!(out, "{first}")?;
    let start = head.last().and_then(|last| first.rfind(last)).unwrap_or(first.len());
    for (line, text) in lines.zip(&texts) {
        let line = if text.is_empty() { line.to_owned() } else { format!("{line:start$}{text}") };
        let start = start + text.len() - text.trim_start().len();
        wrapped(out, 0, start + 2, &line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (65_536, "65,536"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    fn written(first: usize, next: usize, text: &str) -> String {
        let mut out = Vec::new();
        wrapped(&mut out, first, next, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn long_lines_are_broken_at_blanks() {
        assert_eq!(written(2, 4, "short  text"), "  short  text\n");
        assert_eq!(written(2, 4, ""), "\n");
        let words = vec!["word"; 40].join(" ");
        let text = written(2, 4, &words);
        assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        assert!(text.lines().nth(1).unwrap().starts_with("    word"), "{text}");
        let long = "x".repeat(150);
        assert_eq!(written(2, 4, &format!("a {long} b")), format!("  a\n    {long}\n    b\n"));
        let mut out = Vec::new();
        let options = vec!["--without c1".to_owned(), "--without c2".to_owned()];
        wrapped_with(&mut out, 0, 2, &"x".repeat(80), &options).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, format!("{} --without c1\n  --without c2\n", "x".repeat(80)));
        // Short remarks are not torn.
        let text = written(0, 2, &format!("{} class=6 (443, 80) -> permit()", "x".repeat(85)));
        assert!(text.contains("class=6\n  (443, 80) -> permit()"), "{text}");
        // What colours a word takes no columns.
        let coloured = format!("{} {}", "x".repeat(90), styled(BAD, "nine char"));
        assert_eq!(written(0, 4, &coloured).lines().count(), 1);
    }

    #[test]
    fn the_text_behind_columns_is_broken_under_itself() {
        let mut out = Vec::new();
        let text = vec!["entry"; 30].join(" ");
        columns_and_text(
            &mut out,
            &["packets", "entry"],
            &[0],
            [vec!["7".into(), text], vec!["1,000".into(), String::new()]],
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.len() <= LINE && line.trim_end() == line), "{text}");
        assert!(text.contains("\n        7  entry entry"), "{text}");
        assert!(text.contains("\n             entry"), "{text}");
        assert!(text.ends_with("\n    1,000\n"), "{text}");
    }

    #[test]
    fn columns_that_do_not_fit_stand_below() {
        let mut out = Vec::new();
        let row = |name: &str, many: &str| {
            vec![name.to_owned(), "x".repeat(84), many.to_owned(), "12 s ago".to_owned()]
        };
        columns(&mut out, &["name", "wide", "many", "ended"], &[2], [row("a", "7"), row("b", "1,000,000")])
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        let wide = "x".repeat(84);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2..],
            [
                format!("  a     {wide}").as_str(),
                "              7  12 s ago",
                format!("  b     {wide}").as_str(),
                "      1,000,000  12 s ago",
            ]
        );
        assert_eq!(lines[..2], ["  name  wide", "           many  ended"]);
    }

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let mut out = Vec::new();
        let rows = vec![
            vec!["a".into(), "1".into(), "x".into()],
            vec!["long".into(), "1,000".into(), String::new()],
        ];
        columns(&mut out, &["name", "entries", "note"], &[1], rows).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  name  entries  note\n  a           1  x\n  long    1,000\n"
        );
    }
}

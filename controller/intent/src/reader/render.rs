//! Faults as people see them: miette's excerpt of the file, the fault underlined, the advice below.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};

use super::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
use super::source::SourceFile;

/// Lines longer than this, in bytes, are shown in part: JSON comes in lines of megabytes.
const LONGEST_LINE: usize = 200;
/// What is shown of a long line before and behind the fault, in bytes.
const AROUND: usize = 60;

/// Excerpts are made of whole lines where those are short, and of the fault's surroundings where they are not.
impl SourceCode for SourceFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.text();
        let (start, end) = (span.offset(), span.offset().saturating_add(span.len()));
        if text.get(start..end).is_none() {
            return Err(MietteError::OutOfBounds);
        }
        let (first, column) = self.line_and_column(start);
        let (last, _) = self.line_and_column(end);
        let short = |number: &usize| self.line(*number).is_some_and(|line| line.len() <= LONGEST_LINE);
        let contents = |range: std::ops::Range<usize>, line: usize, column: usize, lines: usize| {
            let data = &text.as_bytes()[range.clone()];
            let span = SourceSpan::from((range.start, range.len()));
            Box::new(MietteSpanContents::new_named(
                self.name().to_owned(),
                data,
                span,
                line - 1,
                column,
                lines,
            ))
        };

        // miette asks so for line and column alone.
        if context_lines_before == 0 && context_lines_after == 0 {
            return Ok(contents(start..end, first, column - 1, 1));
        }
        if (first..=last).all(|number| short(&number)) {
            let before = (1..first).rev().take(context_lines_before).take_while(short).count();
            let after = (last + 1..).take(context_lines_after).take_while(short).count();
            let from = self.line(first - before).map_or(start, |line| line.start);
            let to = self.line(last + after).map_or(end, |line| line.end);
            return Ok(contents(from..to.max(end), first - before, 0, before + 1 + last - first + after));
        }
        // Two faults far apart on a long line are shown apart, each with its surroundings.
        if first != last || end - start > LONGEST_LINE {
            return Err(MietteError::OutOfBounds);
        }
        let line = self.line(first).unwrap_or(start..end);
        let from = text.floor_char_boundary(start.saturating_sub(AROUND)).max(line.start);
        let to = text.ceil_char_boundary(end + AROUND).min(line.end).max(end);
        let (_, column) = self.line_and_column(from);
        Ok(contents(from..to, first, column - 1, 1))
    }
}

fn labeled(label: &Label, primary: bool) -> LabeledSpan {
    let span = SourceSpan::from((label.offset, label.length));
    // miette draws no arrow for a label without words, only the line below.
    let text = label.text.clone();
    if primary {
        LabeledSpan::new_primary_with_span(text, span)
    } else {
        LabeledSpan::new_with_span(text, span)
    }
}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(Diagnostic::code(self)))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match Diagnostic::severity(self) {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        // Places in other files have no room in this one's excerpt.
        let elsewhere = self.related_places().iter().filter(|label| !self.shows(label));
        let mut lines: Vec<String> = self.advice().map(str::to_owned).into_iter().collect();
        lines.extend(elsewhere.map(|label| match label.text() {
            Some(text) => format!("{text}: {}", label.location()),
            None => format!("see {}", label.location()),
        }));
        if lines.is_empty() { None } else { Some(Box::new(lines.join("\n"))) }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.label().map(|label| &*label.file as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = self.label()?;
        let others = self.related_places().iter().filter(|label| self.shows(label));
        Some(Box::new(std::iter::once(labeled(first, true)).chain(others.map(|label| labeled(label, false)))))
    }
}

impl Diagnostic {
    fn shows(&self, label: &Label) -> bool {
        self.label().is_some_and(|own| std::sync::Arc::ptr_eq(&own.file, &label.file))
    }

    /// The message with its excerpt and advice, as lines that end with a line break. Colours are ANSI escapes.
    pub fn render(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        let mut text = String::new();
        // Writing to a String does not fail; a place that has no excerpt is still told in words.
        if handler.render_report(&mut text, self).is_err() {
            text = format!("{}{self}\n", self.location().map_or(String::new(), |at| format!("{at}: ")));
        }
        text
    }
}

impl miette::Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let all = self.errors().iter().chain(self.warnings());
        Some(Box::new(all.map(|diagnostic| diagnostic as &dyn miette::Diagnostic)))
    }
}

impl Diagnostics {
    /// All errors, then all warnings, each as [`Diagnostic::render`] shows it.
    pub fn render(&self, colours: bool) -> String {
        let all = self.errors().iter().chain(self.warnings());
        let mut text: Vec<String> = all.map(|diagnostic| diagnostic.render(colours)).collect();
        if self.omitted() > 0 {
            text.push(format!("... and {} more errors\n", self.omitted()));
        }
        text.join("\n")
    }
}

/// A value as messages quote it: shortened, and without anything that a terminal would act on.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(escape).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// Whether a character shows as nothing, or makes a terminal or page show something else than what is there: controls, those
/// of direction, line breaks, and what has no width.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn escape(character: char) -> impl Iterator<Item = char> {
    let escaped = is_hidden(character).then(|| character.escape_default());
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::diagnostic::Code;
    use super::*;

    fn rendered(text: &str, start: usize, end: usize, other: Option<(usize, usize)>) -> String {
        let file = Arc::new(SourceFile::new("a.yaml", text));
        let mut diagnostic = Diagnostic::new(Severity::Error, Code::InvalidValue, "wrong").at(Label::new(
            file.clone(),
            start,
            end,
        )
        .saying("here"));
        if let Some((start, end)) = other {
            diagnostic = diagnostic.also(Label::new(file, start, end).saying("and here"));
        }
        diagnostic.render(false)
    }

    #[test]
    fn short_lines_are_shown_whole() {
        let shown = rendered("one: 1\ntwo: 2\nthree: 3\n", 12, 13, None);
        assert!(shown.contains("[a.yaml:2:6]"), "{shown}");
        assert!(shown.contains("one: 1") && shown.contains("three: 3"), "{shown}");
    }

    #[test]
    fn long_lines_are_shown_in_part() {
        let text =
            format!("{{\"a\": \"{}\", \"bad\": 1, \"b\": \"{}\"}}", "x".repeat(100_000), "é".repeat(100_000));
        let at = text.find("bad").unwrap();
        let shown = rendered(&text, at, at + 3, None);
        assert!(shown.contains(&format!("[a.yaml:1:{}]", at + 1)), "{shown}");
        assert!(shown.len() < 2000 && shown.contains("bad"), "{shown}");
        let shown = rendered(&text, at, at + 3, Some((text.len() - 1, text.len())));
        assert!(shown.len() < 4000 && shown.contains("and here"), "{shown}");
        assert!(!shown.contains("Failed"), "{shown}");
    }

    #[test]
    fn every_span_has_an_excerpt() {
        let text = format!("a\r\n\n{}\nä: b\n\n", "y".repeat(230));
        for start in 0..=text.len() {
            for end in (start..=text.len()).filter(|end| end - start < 5 || end % 16 == 0) {
                if text.get(start..end).is_some() {
                    let shown = rendered(&text, start, end, Some((0, 1)));
                    assert!(shown.contains("here") && !shown.contains("Failed"), "{start}..{end}: {shown}");
                }
            }
        }
    }

    #[test]
    fn quotes() {
        assert_eq!(quoted("a\"b"), "\"a\"b\"");
        assert_eq!(quoted("\u{1b}[2J\u{202e}"), "\"\\u{1b}[2J\\u{202e}\"");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }
}

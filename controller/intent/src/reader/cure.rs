//! What is really wrong where the parser only knows that something is: templates, separators, files that are cut off.

use super::diagnostic::Code;
use super::source::{Place, SourceFile};
use super::tree::Fault;

/// What template languages write for what they fill in: Helm and Jinja, Jinja's statements, ERB.
const MARKS: [(&str, &str); 3] = [("{{", "}}"), ("{%", "%}"), ("<%", "%>")];

/// What to do about a template.
pub(crate) const RENDER: &str = "this looks like a template that was not rendered: render it first, for example `helm template CHART | outplane \
     check -`";

/// A fault of a document that is a template in truth; none if it is not.
pub(crate) fn template(source: &SourceFile, fault: &Fault) -> Option<Fault> {
    if !matches!(fault.code, Code::Syntax | Code::DuplicateKey) {
        return None;
    }
    let text = source.text();
    let around = document(text, source.byte_of(fault.at.start));
    let (start, end) = unrendered(text.get(around.clone())?)?;
    let character = |byte: usize| {
        u32::try_from(text.get(..around.start + byte).map_or(0, |before| before.chars().count()))
            .unwrap_or(u32::MAX)
    };
    let at = Place { part: fault.at.part, start: character(start), end: character(end) };
    Some(Fault::new(Code::Syntax, at, "this is not YAML but a template", RENDER))
}

/// The bytes of the document around a byte: from the line `---` before it to the next.
fn document(text: &str, at: usize) -> std::ops::Range<usize> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind("\n---").map_or(0, |found| found + 1);
    let end = text[at..].find("\n---").map_or(text.len(), |found| at + found);
    start..end
}

/// The first stretch that a template engine would have replaced, outside of quotes and comments.
fn unrendered(text: &str) -> Option<(usize, usize)> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let found = MARKS.iter().filter_map(|(open, close)| {
            let start = line.find(open)?;
            let end = start + line[start..].find(close)? + close.len();
            let before = &line[..start];
            let quoted = ['"', '\''].iter().any(|quote| before.matches(*quote).count() % 2 == 1);
            let comment = before.trim_start().starts_with('#') || before.contains(" #");
            (!quoted && !comment).then_some((offset + start, offset + end))
        });
        if let Some(found) = found.min() {
            return Some(found);
        }
        offset += line.len();
    }
    None
}

/// Whether a line has something that a template engine, or a shell's `envsubst`, would have replaced.
pub(crate) fn is_unrendered(line: &str) -> bool {
    let pairs = MARKS.iter().chain(&[("${", "}"), ("$(", ")")]);
    pairs.into_iter().any(|(open, close)| line.find(open).is_some_and(|start| line[start..].contains(close)))
}

/// A fault with a better cure, where the text around it shows one.
pub(crate) fn better(source: &SourceFile, mut fault: Fault) -> Fault {
    if fault.code != Code::Syntax {
        return fault;
    }
    let text = source.text();
    let at = text.floor_char_boundary(source.byte_of(fault.at.start));
    let (line, _) = source.line_and_column(at);
    let nearby = [line.saturating_sub(1), line].into_iter().filter_map(|line| text.get(source.line(line)?));
    if nearby.into_iter().any(is_meant_as_separator) {
        fault.help = Some("objects are separated by a line of exactly three hyphens: `---`".to_owned());
    } else if text[at..].trim().is_empty() || fault.message.contains("end of stream") {
        fault.help = Some("the file ends here, in the middle of something: is all of it there?".to_owned());
    } else if fault.help.is_none() && text[at..].starts_with('{') && text.trim_start().starts_with('{') {
        fault.help = Some("if another object starts here, put a line `---` before it".to_owned());
    }
    fault
}

/// Hyphens, or the dashes that word processors make of them, which are no separator: `----`, `--`, ` ---`, `---name: a`.
fn is_meant_as_separator(line: &str) -> bool {
    let dashes = |character: char| matches!(character, '-' | '\u{2013}' | '\u{2014}');
    let trimmed = line.trim();
    let only = !trimmed.is_empty() && trimmed != "-" && trimmed.chars().all(dashes);
    let glued =
        line.strip_prefix("---").is_some_and(|rest| rest.starts_with(|first: char| first.is_alphanumeric()));
    glued || only && line.trim_end() != "---"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_replaced() {
        for text in [
            "{{- if a }}",
            "a: {{ b }}",
            "x\n  - {% for a in b %}\n",
            "name: <%= a %>",
            "a: 'b' # {{\nb: {{ c }}",
        ] {
            assert!(unrendered(text).is_some(), "{text}");
        }
        for text in [
            "a: \"{{ b }}\"",
            "# {{ b }}",
            "a: b # {{ c }}",
            "a: {b: {c: d}}",
            "a: '{{ $labels.x }}'",
            "a: {{",
        ] {
            assert_eq!(unrendered(text), None, "{text}");
        }
        assert_eq!(unrendered("a: b\nc: {{ d }}\n"), Some((8, 15)));
    }

    #[test]
    fn separators_that_are_none() {
        for line in ["----", "--", " ---", "---- ", "———", "---apiVersion: v1"] {
            assert!(is_meant_as_separator(line), "{line}");
        }
        for line in ["---", "--- ", "--- a", "- -", "-", "", "a: ---", "--- # a"] {
            assert!(!is_meant_as_separator(line), "{line}");
        }
    }
}

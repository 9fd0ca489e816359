//! Texts that others have written, objects in stores and pages of nodes, are one line each: a line feed in one would make its
//! end a line of whatever shows it.

use std::borrow::Cow;

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use serde_json::Value;

/// What stands for a line feed.
const FEED: char = '\u{23ce}';

/// Whether a character does something else than to stand in a line.
fn commands(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || letter.is_control()
}

/// A text as one line: what is no letter of it is there to be seen, and does nothing.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(commands) {
        return text.into();
    }
    let shown = |letter: char| match letter {
        '\n' => FEED,
        '\t' => ' ',
        letter if commands(letter) => char::REPLACEMENT_CHARACTER,
        letter => letter,
    };
    text.chars().map(shown).collect::<String>().into()
}

/// Whether a text can be somebody's name: it has no such characters.
pub(crate) fn is_line(text: &str) -> bool {
    !text.contains(commands)
}

/// An object with all its texts as lines; policies and configurations have lines of their own.
pub(crate) fn object(key: &Key, object: Object, bytes: &[u8]) -> Object {
    let has_lines = matches!(object, Object::Generation(_) | Object::Parts(_) | Object::Config(_));
    // In JSON a control character is written with a backslash.
    let is_plain =
        !bytes.contains(&b'\\') && !std::str::from_utf8(bytes).is_ok_and(|text| text.contains(turns));
    if has_lines || is_plain {
        return object;
    }
    let lines =
        serde_json::from_slice(bytes).ok().and_then(|value| serde_json::to_vec(&value_lines(value)).ok());
    lines.and_then(|lines| Object::decode(key, &lines).ok()).unwrap_or(object)
}

fn turns(letter: char) -> bool {
    !letter.is_ascii_control() && commands(letter)
}

fn value_lines(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(line(&text).into_owned()),
        Value::Array(values) => values.into_iter().map(value_lines).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (line(&name).into_owned(), value_lines(value))).collect()
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::{KeptSwitch, KeptSwitches, Standing};

    use super::*;

    #[test]
    fn a_text_is_one_line() {
        assert!(matches!(line("plain \u{fc}m"), Cow::Borrowed(_)));
        assert_eq!(
            line("\u{1b}[31m\nSwitches\n\tcore\r\u{202e}\u{2028}"),
            "\u{fffd}[31m\u{23ce}Switches\u{23ce} core\u{fffd}\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn an_objects_texts_are_lines() {
        let switch = |what: &str| KeptSwitch {
            switch: "core".to_owned(),
            generation: 1,
            standing: Standing::Drifted,
            seen: String::new(),
            verified_ms: None,
            what: what.to_owned(),
            repairs: 0,
            version: None,
            primary: None,
            is_fenced: None,
            counted_ms: None,
        };
        let of = |what: &str| {
            let kept = KeptSwitches { node: "c3".to_owned(), switches: vec![switch(what)], at_ms: 1 };
            (Key::Kept("c3".to_owned()), Object::Kept(kept))
        };
        for (what, shown) in [
            ("fine", "fine"),
            ("\u{1b}[31m\nSwitches\n core kept", "\u{fffd}[31m\u{23ce}Switches\u{23ce} core kept"),
            ("a \"b\" \\ c", "a \"b\" \\ c"),
            ("\u{202e}x", "\u{fffd}x"),
        ] {
            let (key, kept) = of(what);
            let bytes = kept.encode();
            assert_eq!(object(&key, kept, &bytes), of(shown).1);
        }
    }
}

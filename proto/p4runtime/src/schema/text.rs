//! P4Info in protobuf text format, as P4 compilers write it.

use std::sync::LazyLock;

use miette::Diagnostic;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::{MAX_TEXT_BYTES, MAX_TEXT_MESSAGES, SchemaError};
use crate::p4::config::v1::P4Info;

/// Messages in messages; the deepest that a P4Info has are the types of a digest, a handful.
const MAX_DEPTH: usize = 64;

static P4INFO: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    DescriptorPool::decode(crate::file_descriptor_set())
        .expect("the descriptors come from this build")
        .get_message_by_name("p4.config.v1.P4Info")
        .expect("p4info.proto defines it")
});

/// Reads the text format. Length, number of messages and depth are bounded before the parser sees it, which recurses
/// and takes about a kilobyte for each message.
pub(super) fn parse(text: &str) -> Result<P4Info, SchemaError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(SchemaError::TooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
    }
    check_nesting(text)?;
    let message = DynamicMessage::parse_text_format(P4INFO.clone(), text).map_err(|error| {
        let offset =
            error.labels().and_then(|mut labels| labels.next()).map_or(text.len(), |label| label.offset());
        let (line, column) = position(text, offset);
        SchemaError::Syntax { line, column, message: error.to_string() }
    })?;
    message.transcode_to().map_err(|error| SchemaError::Syntax {
        line: 1,
        column: 1,
        message: error.to_string(),
    })
}

/// Counts braces, by the text format's rules for strings and comments: how many there are and how deep they go.
fn check_nesting(text: &str) -> Result<(), SchemaError> {
    let (mut depth, mut messages) = (0usize, 0usize);
    let mut bytes = text.bytes().enumerate();
    while let Some((offset, byte)) = bytes.next() {
        match byte {
            b'#' => {
                bytes.find(|&(_, byte)| byte == b'\n');
            }
            b'"' | b'\'' => {
                let quote = byte;
                while let Some((_, byte)) = bytes.next() {
                    if byte == b'\\' {
                        bytes.next();
                    } else if byte == quote || byte == b'\n' {
                        // A line break ends no string but is an error in one: the parser will not get past it.
                        break;
                    }
                }
            }
            b'{' | b'<' => {
                depth += 1;
                messages += 1;
                if messages > MAX_TEXT_MESSAGES {
                    return Err(SchemaError::TooManyMessages { limit: MAX_TEXT_MESSAGES });
                }
                if depth > MAX_DEPTH {
                    return Err(SchemaError::TooDeep { line: position(text, offset).0, limit: MAX_DEPTH });
                }
            }
            b'}' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Line and column (in bytes) of an offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.split(|&byte| byte == b'\n').count();
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    (line, column)
}

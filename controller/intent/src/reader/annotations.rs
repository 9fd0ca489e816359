//! Annotations of ours on the policies of Kubernetes.

use super::decode::Decoder;
use super::diagnostic::Code;
use super::tree::Cursor;
use crate::model::{RelatedErrors, Replies};

/// Annotation of policies: how replies get through.
pub(crate) const REPLIES: &str = "outplane.dev/replies";
/// Annotation of policies: whether ICMP errors about what they allow get through.
pub(crate) const RELATED_ERRORS: &str = "outplane.dev/related-errors";
/// Annotation of NetworkPolicies: log what the isolation drops.
pub(crate) const LOG: &str = "outplane.dev/log";

/// What a policy's annotations say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Annotations {
    pub(crate) replies: Option<Replies>,
    pub(crate) related_errors: Option<RelatedErrors>,
    pub(crate) log: bool,
}

/// How replies get through, by name.
pub(crate) const REPLIES_CHOICES: [(&str, Replies); 3] =
    [("none", Replies::None), ("established", Replies::Established), ("reverse", Replies::Reverse)];

/// Whether ICMP errors get through, by name.
pub(crate) const RELATED_ERRORS_CHOICES: [(&str, RelatedErrors); 2] =
    [("none", RelatedErrors::None), ("allow", RelatedErrors::Allow)];

impl Annotations {
    /// Reads our annotations; others are nobody's business. Ours that the kind does not know are errors.
    pub(crate) fn read(
        decoder: &mut Decoder<'_>,
        annotations: &[(Cursor<'_>, Cursor<'_>)],
        known: &[&str],
    ) -> Self {
        let mut said = Self::default();
        for (key, value) in annotations {
            let name = key.raw().unwrap_or_default();
            if !name.starts_with("outplane.dev/") {
                continue;
            }
            let what = format!("the annotation {name}");
            if !known.contains(&name) {
                let help = match decoder.suggest(name, known.iter().copied()) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None if known.is_empty() => "say it in `spec`".to_owned(),
                    None => format!("this kind knows {}", known.join(" and ")),
                };
                let message = format!("{what} is unknown here");
                decoder.error(Code::UnknownField, key.place(), message, &help);
            } else if name == REPLIES {
                said.replies = decoder.choice(*value, &what, &REPLIES_CHOICES);
            } else if name == RELATED_ERRORS {
                said.related_errors = decoder.choice(*value, &what, &RELATED_ERRORS_CHOICES);
            } else if name == LOG {
                let choices = [("true", true), ("false", false)];
                said.log = decoder.choice(*value, &what, &choices).unwrap_or_default();
            }
        }
        said
    }
}

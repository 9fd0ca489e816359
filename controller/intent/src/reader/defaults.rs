//! `KubernetesDefaults`.

use super::annotations::{RELATED_ERRORS_CHOICES, REPLIES_CHOICES};
use super::decode::Decoder;
use super::tree::Cursor;
use crate::model::KubernetesDefaults;

pub(crate) fn defaults(decoder: &mut Decoder<'_>, spec: Option<Cursor<'_>>) -> KubernetesDefaults {
    let mut found = KubernetesDefaults::default();
    let Some(mut fields) = spec.and_then(|spec| decoder.fields(spec, "`spec`")) else { return found };
    if let Some(at) = fields.get("replies") {
        found.replies = decoder.choice(at, "`replies`", &REPLIES_CHOICES).unwrap_or_default();
    }
    if let Some(at) = fields.get("relatedErrors") {
        found.related_errors =
            decoder.choice(at, "`relatedErrors`", &RELATED_ERRORS_CHOICES).unwrap_or_default();
    }
    fields.finish(decoder);
    found
}

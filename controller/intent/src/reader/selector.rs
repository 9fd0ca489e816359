//! Label selectors.

use super::decode::{Decoder, Fields};
use super::diagnostic::Code;
use super::labels;
use super::source::Place;
use super::tree::Cursor;
use crate::model::{LabelOperator, LabelSelector, PodsAnywhere, Requirement};

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

/// A label selector; an empty one selects everything.
pub(crate) fn selector(decoder: &mut Decoder<'_>, at: Cursor<'_>, what: &str) -> Option<LabelSelector> {
    let mut fields = decoder.fields(at, what)?;
    let mut requirements = Vec::new();
    if let Some(labels) = fields.get("matchLabels") {
        let labels = labels::map(decoder, labels, "`matchLabels`").unwrap_or_default();
        requirements.extend(
            labels
                .into_iter()
                .map(|(key, value)| Requirement { key, operator: LabelOperator::In(vec![value]) }),
        );
    }
    if let Some(expressions) = fields.get("matchExpressions")
        && let Some(expressions) = decoder.list(expressions, "`matchExpressions`")
    {
        requirements.extend(expressions.iter().filter_map(|expression| requirement(decoder, expression)));
    }
    fields.finish(decoder);
    Some(LabelSelector { requirements })
}

fn requirement(decoder: &mut Decoder<'_>, at: Cursor<'_>) -> Option<Requirement> {
    let mut fields = decoder.fields(at, "a label requirement")?;
    let key = fields
        .require(decoder, "key", "app")
        .and_then(|key| labels::key(decoder, key, || "`key`".to_owned()));
    let operator = fields
        .require(decoder, "operator", "In")
        .and_then(|operator| decoder.word(operator, "`operator`", &OPERATORS));
    let values_at = fields.get("values");
    let list = values_at.and_then(|values| decoder.list(values, "`values`"));
    let mut value = |at| labels::value(decoder, at, || "a label value".to_owned());
    let values: Vec<String> = list.iter().flat_map(|values| values.iter()).filter_map(&mut value).collect();
    let place = fields.place();
    fields.finish(decoder);
    // Those that are wrong have been reported.
    if list.is_some_and(|list| list.len() > values.len()) {
        return None;
    }
    let operator = match operator? {
        Operator::In | Operator::NotIn if values.is_empty() => {
            let help = "add `values: [...]` with at least one value";
            decoder.error(Code::MissingField, place, "`In` and `NotIn` need values", help);
            return None;
        }
        Operator::In => LabelOperator::In(values),
        Operator::NotIn => LabelOperator::NotIn(values),
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            let at = values_at.map_or(place, Cursor::place);
            let help = "remove the values, or use `In` or `NotIn`";
            decoder.error(Code::Conflict, at, "`Exists` and `DoesNotExist` have no values", help);
            return None;
        }
        Operator::Exists => LabelOperator::Exists,
        Operator::DoesNotExist => LabelOperator::DoesNotExist,
    };
    Some(Requirement { key: key?, operator })
}

/// `podSelector` and `namespaceSelector` of a peer, as far as they are there.
pub(crate) struct PeerSelectors {
    pub(crate) namespaces: Option<LabelSelector>,
    pub(crate) pods: Option<LabelSelector>,
    /// Place of the first of them.
    pub(crate) at: Option<Place>,
}

/// Reads both selectors of a peer. Broken ones count as there.
pub(crate) fn peer_selectors(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> PeerSelectors {
    let mut read = |name: &'static str| {
        let at = fields.get(name)?;
        Some(selector(decoder, at, &format!("`{name}`")).unwrap_or_default())
    };
    let (namespaces, pods) = (read("namespaceSelector"), read("podSelector"));
    let at = fields.key("podSelector").filter(|_| pods.is_some());
    let at = at.or_else(|| fields.key("namespaceSelector").filter(|_| namespaces.is_some()));
    PeerSelectors { namespaces, pods, at }
}

/// ClusterNetworkPolicy's `NamespacedPod`. Without a namespace selector it means pods of all namespaces.
pub(crate) fn namespaced_pods(decoder: &mut Decoder<'_>, at: Cursor<'_>, what: &str) -> Option<PodsAnywhere> {
    let mut fields = decoder.fields(at, what)?;
    let namespaces = match fields.get("namespaceSelector") {
        Some(at) => selector(decoder, at, "`namespaceSelector`"),
        None => Some(LabelSelector::default()),
    };
    let pods =
        fields.require(decoder, "podSelector", "{}").and_then(|at| selector(decoder, at, "`podSelector`"));
    fields.finish(decoder);
    Some(PodsAnywhere { namespaces: namespaces?, pods: pods? })
}

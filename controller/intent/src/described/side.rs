//! A packet's source or destination: a word for an address, or pods by their labels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::address::addresses;
use crate::evaluate::selects;
use crate::model::{Intent, LabelOperator, LabelSelector, Requirement};

/// A packet's source or destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// An address, a pod as `namespace/name`, a host or a node.
    Word(String),
    /// Each pod of a namespace that has these labels.
    Pods {
        /// The namespace.
        namespace: String,
        /// Of its pods.
        selector: LabelSelector,
    },
}

impl Side {
    /// The addresses of each machine that is meant, at least one.
    pub(super) fn addresses(&self, intent: &Intent) -> Result<Vec<Vec<IpAddr>>, String> {
        let (namespace, selector) = match self {
            Self::Word(word) => return Ok(vec![addresses(intent, word)?]),
            Self::Pods { namespace, selector } => (namespace, selector),
        };
        let own = intent.pods.iter().filter(|(name, _)| name.namespace == *namespace);
        let meant = own.filter(|(_, pod)| selects(selector, &pod.labels) && !pod.addresses.is_empty());
        let found: Vec<Vec<IpAddr>> = meant.map(|(_, pod)| pod.addresses.clone()).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let known = intent.namespaces.contains_key(namespace);
        Err(if known {
            format!(
                "no pod with an address of its own in namespace `{namespace}` has the labels of `podSelector`"
            )
        } else {
            format!("the files have no namespace `{namespace}`")
        })
    }
}

impl From<&str> for Side {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

/// `{"namespace": "shop", "podSelector": {"matchLabels": {"app": "api"}}}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PodsForm {
    namespace: String,
    #[serde(default)]
    pod_selector: SelectorForm,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct SelectorForm {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<ExpressionForm>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpressionForm {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, serde::Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl TryFrom<ExpressionForm> for Requirement {
    type Error = &'static str;

    fn try_from(form: ExpressionForm) -> Result<Self, &'static str> {
        let ExpressionForm { key, operator, values } = form;
        let operator = match (operator, values.is_empty()) {
            (Operator::In | Operator::NotIn, true) => return Err("`In` and `NotIn` need `values`"),
            (Operator::Exists | Operator::DoesNotExist, false) => {
                return Err("`Exists` and `DoesNotExist` have no `values`");
            }
            (Operator::In, _) => LabelOperator::In(values),
            (Operator::NotIn, _) => LabelOperator::NotIn(values),
            (Operator::Exists, _) => LabelOperator::Exists,
            (Operator::DoesNotExist, _) => LabelOperator::DoesNotExist,
        };
        Ok(Self { key, operator })
    }
}

impl TryFrom<PodsForm> for Side {
    type Error = &'static str;

    fn try_from(form: PodsForm) -> Result<Self, &'static str> {
        let SelectorForm { match_labels, match_expressions } = form.pod_selector;
        let labels = match_labels
            .into_iter()
            .map(|(key, value)| Ok(Requirement { key, operator: LabelOperator::In(vec![value]) }));
        let expressions = match_expressions.into_iter().map(Requirement::try_from);
        let requirements = labels.chain(expressions).collect::<Result<_, _>>()?;
        Ok(Self::Pods { namespace: form.namespace, selector: LabelSelector { requirements } })
    }
}

impl<'de> Deserialize<'de> for Side {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Side;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address, namespace/pod, a host, or {\"namespace\": .., \"podSelector\": ..}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Side, E> {
                Ok(text.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Side, A::Error> {
                let form = PodsForm::deserialize(MapAccessDeserializer::new(map))?;
                form.try_into().map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use crate::described::PacketSpec;
    use crate::reader;

    const PODS: &str = "\
{apiVersion: v1, kind: Pod, metadata: {name: api-1, namespace: shop, labels: {app: api, tier: back}}, status: {podIPs: [{ip: 10.244.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: api-2, namespace: shop, labels: {app: api}}, status: {podIPs: [{ip: 10.244.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: api-1, namespace: other, labels: {app: api}}, status: {podIPs: [{ip: 10.244.0.3}]}}
";

    #[test]
    fn pods_by_labels_are_all_of_them() {
        let loaded = reader::parse([("pods.yaml", PODS)]).unwrap();
        for (selector, found) in [
            (r#"{"matchLabels":{"app":"api"}}"#, Ok(vec!["10.244.0.1", "10.244.0.2"])),
            ("{}", Ok(vec!["10.244.0.1", "10.244.0.2"])),
            (r#"{"matchExpressions":[{"key":"tier","operator":"DoesNotExist"}]}"#, Ok(vec!["10.244.0.2"])),
            (
                r#"{"matchExpressions":[{"key":"app","operator":"In","values":["api"]},{"key":"tier","operator":"NotIn","values":["front","none"]}]}"#,
                Ok(vec!["10.244.0.1", "10.244.0.2"]),
            ),
            (r#"{"matchLabels":{"app":"web"}}"#, Err("has the labels of `podSelector`")),
            (r#"{"matchLabel":{"app":"web"}}"#, Err("unknown field `matchLabel`")),
            (r#"{"matchExpressions":[{"key":"tier","operator":"In"}]}"#, Err("need `values`")),
        ] {
            let json =
                format!(r#"{{"src":{{"namespace":"shop","podSelector":{selector}}},"dst":"10.9.0.1"}}"#);
            let spec = serde_json::from_str::<PacketSpec>(&json).map_err(|error| error.to_string());
            let packets = spec.and_then(|spec| spec.packets(&loaded.intent, std::iter::empty()));
            let sources = packets.map(|packets| {
                let source = |packet: &crate::packet::Packet| packet.addresses().unwrap().0.to_string();
                packets.iter().map(source).collect::<Vec<_>>()
            });
            match (&sources, found) {
                (Ok(sources), Ok(found)) => assert_eq!(*sources, found, "{json}"),
                (Err(error), Err(words)) => assert!(error.contains(words), "{json}: {error}"),
                (sources, _) => panic!("{json}: {sources:?}"),
            }
        }
        // Nobody sends to himself through a switch.
        let api = r#"{"namespace":"shop","podSelector":{"matchLabels":{"app":"api"}}}"#;
        let spec: PacketSpec = serde_json::from_str(&format!(r#"{{"src":{api},"dst":{api}}}"#)).unwrap();
        assert_eq!(spec.packets(&loaded.intent, std::iter::empty()).map(|packets| packets.len()), Ok(2));
        let alone = api.replace("app", "tier").replace(r#""api""#, r#""back""#);
        let spec: PacketSpec = serde_json::from_str(&format!(r#"{{"src":{alone},"dst":{alone}}}"#)).unwrap();
        let error = spec.packets(&loaded.intent, std::iter::empty()).unwrap_err();
        assert!(error.contains("the same pod"), "{error}");
    }
}

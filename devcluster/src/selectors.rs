//! Label and field selectors, as query parameters write them.

use crate::error::ApiError;
use crate::object::Object;
use crate::resources::ResourceId;

/// What a list or a watch is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) namespace: Option<String>,
    pub(crate) fields: Vec<FieldTerm>,
    pub(crate) labels: Vec<Requirement>,
}

/// `spec.nodeName=n1`, or `!=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldTerm {
    pub(crate) field: String,
    pub(crate) value: String,
    pub(crate) equal: bool,
}

/// One requirement of a label selector (staging/src/k8s.io/apimachinery/pkg/labels/selector.go).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) key: String,
    pub(crate) operator: Operator,
}

/// What is required of the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Exists,
    DoesNotExist,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selection {
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| namespace == &*object.namespace)
            && self
                .fields
                .iter()
                .all(|term| (object.field(&term.field) == Some(&term.value)) == term.equal)
            && self
                .labels
                .iter()
                .all(|requirement| requirement.matches(object.label(&requirement.key)))
    }

    /// The value that `field` must have, where the selection says so.
    pub(crate) fn required(&self, field: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

impl Requirement {
    fn matches(&self, label: Option<&str>) -> bool {
        let among = |values: &[String]| label.is_some_and(|label| values.iter().any(|value| value == label));
        match &self.operator {
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::In(values) => among(values),
            Operator::NotIn(values) => !among(values),
        }
    }
}

/// Reads a `fieldSelector`.
pub(crate) fn parse_fields(resource: ResourceId, text: &str) -> Result<Vec<FieldTerm>, ApiError> {
    let mut terms = Vec::new();
    for term in text.split(',').filter(|term| !term.trim().is_empty()) {
        let Some(at) = term.find('=') else {
            return Err(ApiError::bad_request(format!(
                "invalid selector: {text:?}; can't understand {term:?}"
            )));
        };
        let (left, right) = (&term[..at], &term[at + 1..]);
        let (field, equal) = match left.strip_suffix('!') {
            Some(field) => (field, false),
            None => (left, true),
        };
        let value = right.strip_prefix('=').unwrap_or(right);
        let known = matches!(field, "metadata.name" | "metadata.namespace")
            || resource.fields.iter().any(|(label, _)| *label == field);
        if !known {
            return Err(ApiError::bad_request(format!(
                "field label not supported: {field}"
            )));
        }
        terms.push(FieldTerm {
            field: field.into(),
            value: value.into(),
            equal,
        });
    }
    Ok(terms)
}

/// Reads a `labelSelector`.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<Requirement>, ApiError> {
    split_outside_parentheses(text)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse_requirement)
        .collect()
}

/// Splits at the commas that separate requirements, not values.
fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

fn parse_requirement(text: &str) -> Result<Requirement, ApiError> {
    let wrong =
        |what: &str| ApiError::bad_request(format!("unable to parse requirement: {what} in {text:?}"));
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    let (key, operator) = if let Some((key, value)) = text.split_once("!=") {
        let (key, values) = one(key, value);
        (key, Operator::NotIn(values))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (key, values) = one(key, value);
        (key, Operator::In(values))
    } else if let Some((left, rest)) = text.split_once('(') {
        let values = rest
            .trim_end()
            .strip_suffix(')')
            .ok_or_else(|| wrong("no ')' at the end"))?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        match left.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => (key.to_owned(), Operator::In(values)),
            [key, "notin"] => (key.to_owned(), Operator::NotIn(values)),
            _ => return Err(wrong("no 'in' or 'notin' before the values")),
        }
    } else if let Some(key) = text.strip_prefix('!') {
        (key.trim().to_owned(), Operator::DoesNotExist)
    } else {
        (text.to_owned(), Operator::Exists)
    };
    if let Operator::In(values) | Operator::NotIn(values) = &operator
        && !values.iter().all(|value| is_label_value(value))
    {
        return Err(wrong("not a label's value"));
    }
    if !is_qualified_name(&key) {
        return Err(wrong("not a label's key"));
    }
    Ok(Requirement { key, operator })
}

/// A label's value: at most 63 letters, digits, `-`, `_` and `.`, at both ends a letter or digit; or nothing.
pub(crate) fn is_label_value(text: &str) -> bool {
    let ends = |letter: Option<char>| letter.is_none_or(|letter| letter.is_ascii_alphanumeric());
    text.len() <= 63
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

/// A label's key: a name, before it perhaps a DNS subdomain and a slash.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text
        .rsplit_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_subdomain)
}

/// A DNS subdomain (RFC 1123), as most names of objects must be.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let ends = |letter: Option<char>| {
            letter.is_some_and(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        };
        ends(label.chars().next())
            && ends(label.chars().next_back())
            && label
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pod(labels: serde_json::Value) -> Object {
        let metadata = json!({"name": "p", "namespace": "d", "labels": labels});
        let mut pod = json!({"metadata": metadata, "spec": {"nodeName": "n1"}});
        Object::new(ResourceId::known("pods"), 1, &mut pod)
    }

    fn selects(text: &str, labels: serde_json::Value) -> bool {
        let labels_of = parse_labels(text).expect("a selector");
        Selection {
            labels: labels_of,
            ..Selection::default()
        }
        .matches(&pod(labels))
    }

    #[test]
    fn labels() {
        assert!(selects("", json!({})));
        assert!(selects("a=1,b==2", json!({"a": "1", "b": "2"})));
        assert!(!selects("a=1,b!=2", json!({"a": "1", "b": "2"})));
        assert!(selects("b!=2", json!({})), "what is absent is not equal");
        assert!(selects(
            "picolet.dev/node in (n1, all)",
            json!({"picolet.dev/node": "all"})
        ));
        assert!(!selects(
            "picolet.dev/node in (n1,all),x",
            json!({"picolet.dev/node": "all"})
        ));
        assert!(selects("a notin (1,2)", json!({"a": "3"})));
        assert!(selects("!a, b", json!({"b": ""})));
        for wrong in ["a in 1", "a in (1", "-a", "a=_", "a within (1)", "UPPER.case/x"] {
            assert_eq!(parse_labels(wrong).expect_err(wrong).code, 400);
        }
    }

    #[test]
    fn fields() {
        let pods = ResourceId::known("pods");
        let selects = |text: &str| {
            let fields = parse_fields(pods, text).expect("a selector");
            Selection {
                fields,
                ..Selection::default()
            }
            .matches(&pod(json!({})))
        };
        assert!(selects("spec.nodeName=n1"));
        assert!(selects("spec.nodeName==n1,metadata.name=p"));
        assert!(!selects("spec.nodeName!=n1"));
        assert!(selects("status.phase!=Running"));
        assert_eq!(
            parse_fields(pods, "spec.hostname=x").expect_err("unknown").code,
            400
        );
        assert_eq!(
            parse_fields(pods, "spec.nodeName").expect_err("no operator").code,
            400
        );
    }

    fn key() -> impl Strategy<Value = String> {
        "[a-c](/[a-c])?"
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_breaks_the_reader(text in ".{0,80}") {
            let _ = parse_labels(&text);
            let _ = parse_fields(ResourceId::known("pods"), &text);
        }

        #[test]
        fn a_requirement_and_its_opposite_share_every_object(
            key in key(), values in prop::collection::vec("[xyz]", 1..3),
            labels in prop::collection::btree_map(key(), "[xyz]", 0..4),
        ) {
            let values = values.join(",");
            let object = json!(labels);
            prop_assert_ne!(
                selects(&format!("{key} in ({values})"), object.clone()),
                selects(&format!("{key} notin ({values})"), object.clone())
            );
            prop_assert_ne!(selects(&key, object.clone()), selects(&format!("!{key}"), object.clone()));
            prop_assert_ne!(selects(&format!("{key}=x"), object.clone()), selects(&format!("{key}!=x"), object));
        }
    }
}

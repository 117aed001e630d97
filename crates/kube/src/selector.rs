//! Labels, node selectors, taints and tolerations: who may be where.
//!
//! Sources: `k8s.io/component-helpers/scheduling/corev1/nodeaffinity` and `…/corev1/helpers.go`,
//! `k8s.io/api/core/v1/toleration.go`.

use crate::text::integer;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// How an expression compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operator {
    /// One of the values.
    #[default]
    In,
    /// None of the values, or not there.
    NotIn,
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
    /// An integer greater than the value.
    Gt,
    /// An integer less than the value.
    Lt,
    /// One that came after our time: matches nothing.
    Unknown,
}

impl Operator {
    /// Reads its name.
    pub fn parse(text: &str) -> Self {
        match text {
            "In" => Self::In,
            "NotIn" => Self::NotIn,
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::DoesNotExist,
            "Gt" => Self::Gt,
            "Lt" => Self::Lt,
            _ => Self::Unknown,
        }
    }
}

/// `v1.NodeSelectorRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expression {
    /// Whether it is about a field (`metadata.name` is the only one) and not a label.
    pub on_field: bool,
    /// The label's or field's name.
    pub key: Box<str>,
    /// How to compare.
    pub operator: Operator,
    /// With what.
    pub values: Vec<Box<str>>,
}

/// `v1.NodeSelectorTerm`: all of its expressions must match; one without any matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// The expressions.
    pub expressions: Vec<Expression>,
}

impl Expression {
    /// Whether it matches a node of this name and these labels.
    pub fn matches<'a>(&self, node: &'a str, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        let found = if self.on_field {
            (&*self.key == "metadata.name").then_some(node)
        } else {
            labels(&self.key)
        };
        let among = |value: &str| self.values.iter().any(|v| &**v == value);
        let integers = || Some((integer(found?, 10)?, integer(self.values.first()?, 10)?));
        match self.operator {
            Operator::In => found.is_some_and(among),
            Operator::NotIn => !found.is_some_and(among),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::Gt => integers().is_some_and(|(a, b)| a > b),
            Operator::Lt => integers().is_some_and(|(a, b)| a < b),
            Operator::Unknown => false,
        }
    }
}

impl Term {
    /// Whether all of its expressions match.
    pub fn matches<'a>(&self, node: &'a str, labels: impl Fn(&str) -> Option<&'a str> + Copy) -> bool {
        !self.expressions.is_empty() && self.expressions.iter().all(|e| e.matches(node, labels))
    }
}

/// `v1.Toleration`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toleration {
    /// The taint's key; empty with [`Toleration::exists`] means every taint.
    pub key: Box<str>,
    /// Operator `Exists`: the value does not matter.
    pub exists: bool,
    /// The taint's value.
    pub value: Box<str>,
    /// The taint's effect; empty means every effect.
    pub effect: Box<str>,
}

/// `v1.Taint`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: Box<str>,
    /// Its value, often empty.
    pub value: Box<str>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: Box<str>,
}

impl Taint {
    /// Reads `key[=value]:effect`, as `kubectl taint` and the kubelet's `--register-with-taints` do.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, effect) = text.rsplit_once(':')?;
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        let valid = !key.is_empty() && matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute");
        valid.then(|| Self {
            key: key.into(),
            value: value.into(),
            effect: effect.into(),
        })
    }
}

impl Toleration {
    /// Whether it tolerates `taint`.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key == taint.key || (self.key.is_empty() && self.exists))
            && (self.exists || self.value == taint.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn expressions() {
        let labels = |key: &str| match key {
            "arch" => Some("wasm"),
            "pins" => Some("26"),
            _ => None,
        };
        let matches = |key: &str, operator, values: &[&str]| {
            let values = values.iter().map(|v| Box::from(*v)).collect();
            Expression {
                on_field: false,
                key: key.into(),
                operator,
                values,
            }
            .matches("pico", labels)
        };
        assert!(matches("arch", Operator::In, &["arm", "wasm"]));
        assert!(!matches("arch", Operator::NotIn, &["arm", "wasm"]));
        assert!(matches("none", Operator::NotIn, &["x"]));
        assert!(!matches("none", Operator::In, &["x"]));
        assert!(matches("arch", Operator::Exists, &[]));
        assert!(matches("none", Operator::DoesNotExist, &[]));
        assert!(matches("pins", Operator::Gt, &["25"]) && !matches("pins", Operator::Gt, &["26"]));
        assert!(matches("pins", Operator::Lt, &["27"]) && !matches("arch", Operator::Lt, &["27"]));
        assert!(!matches("arch", Operator::parse("Near"), &["wasm"]));
        let by_name = |name: &str| Expression {
            on_field: true,
            key: "metadata.name".into(),
            operator: Operator::In,
            values: vec![name.into()],
        };
        assert!(by_name("pico").matches("pico", labels) && !by_name("other").matches("pico", labels));
        assert!(
            !Term::default().matches("pico", labels),
            "an empty term matches nothing"
        );
    }

    #[test]
    fn tolerations() {
        let taint = Taint::parse("a=b:NoExecute").expect("a taint");
        let toleration = |key: &str, exists, value: &str, effect: &str| Toleration {
            key: key.into(),
            exists,
            value: value.into(),
            effect: effect.into(),
        };
        assert!(toleration("a", false, "b", "").tolerates(&taint));
        assert!(toleration("", true, "", "").tolerates(&taint));
        assert!(toleration("a", true, "", "NoExecute").tolerates(&taint));
        assert!(!toleration("a", false, "c", "").tolerates(&taint));
        assert!(!toleration("a", true, "", "NoSchedule").tolerates(&taint));
        assert!(!toleration("", false, "b", "").tolerates(&taint));
        assert_eq!(Taint::parse("a:NoSuchEffect"), None);
        assert_eq!(Taint::parse(":NoSchedule"), None);
    }
}

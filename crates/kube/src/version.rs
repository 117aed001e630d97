//! `/version`: which Kubernetes an API server is of.

use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, shape};
use crate::metadata::Metadata;
use crate::text::{Collector, integer, set};
use alloc::boxed::Box;

const MINOR: Field = Field(1);
const GIT_VERSION: Field = Field(2);

/// `version.Info` (`k8s.io/apimachinery/pkg/version`), as far as it is looked at.
#[derive(Default)]
pub struct ServerVersion {
    /// The minor version, such as 36; `None` where it is none. Some providers put a `+` behind it.
    pub minor: Option<u32>,
    /// The whole version, such as `v1.36.3` or `v1.36.3+k3s1`.
    pub text: Box<str>,
    /// It has none.
    metadata: Metadata,
    collector: Collector,
}

impl Object for ServerVersion {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("minor", Shape::Value(MINOR)),
        ("gitVersion", Shape::Value(GIT_VERSION)),
    ]));

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Sink for ServerVersion {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let Self {
            minor,
            text,
            collector,
            ..
        } = self;
        match (field, collector.push(piece, last)) {
            (MINOR, Some(value)) => {
                *minor = value
                    .map(|value| value.strip_suffix("+").unwrap_or(value))
                    .and_then(|value| integer(value, 10))
                    .and_then(|minor| u32::try_from(minor).ok());
            }
            (GIT_VERSION, Some(value)) => set(text, value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Decoder;

    #[test]
    fn minor_version_is_read_whatever_a_provider_adds() {
        for (minor, read) in [("36", Some(36)), ("36+", Some(36)), ("", None), ("-1", None)] {
            let text = std::format!(r#"{{"major":"1","minor":"{minor}","gitVersion":"v1.36.3+k3s1"}}"#);
            let mut version = ServerVersion::default();
            let mut decoder = Decoder::new(ServerVersion::SHAPE);
            decoder.feed(text.as_bytes(), &mut version).expect("JSON");
            assert_eq!((version.minor, &*version.text), (read, "v1.36.3+k3s1"));
        }
    }
}

//! Request methods.

/// A request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method that it names")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    /// Any method that no picolet sends or serves.
    Other,
}

/// The known methods, in the order of their variants.
const NAMES: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const METHODS: [Method; 6] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
];

impl Method {
    /// Reads the name on the wire, which is case-sensitive (RFC 9110 §9.1).
    pub(crate) fn parse(name: &str) -> Self {
        let at = NAMES.iter().position(|known| *known == name);
        at.and_then(|at| METHODS.get(at).copied()).unwrap_or(Self::Other)
    }

    /// The name on the wire; empty for [`Method::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or_default()
    }

    /// Whether the method only reads.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_is_read_as_it_is_written() {
        for method in METHODS {
            assert_eq!(Method::parse(method.as_str()), method);
        }
        for other in ["get", "TRACE", ""] {
            assert_eq!(Method::parse(other), Method::Other, "{other:?}");
        }
    }
}

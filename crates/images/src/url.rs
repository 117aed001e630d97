//! URLs of registries, token endpoints and storage: `http` and `https` only.

use alloc::boxed::Box;
use alloc::string::String;

/// Limit for the length of a URL in bytes. Signed URLs of storage have up to 1.5 KB.
pub const URL_BYTES: usize = 3072;

/// Where a request goes: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Host name or address, an IPv6 address without brackets.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
}

/// An origin, and the path and query at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Where the request goes.
    pub origin: Origin,
    /// Begins with a slash; has the query, not the fragment.
    pub target: Box<str>,
}

impl Origin {
    /// Parses `host`, `host:port` or `[address]:port`; the port defaults to that of the scheme.
    pub fn parse(authority: &str, tls: bool) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            None if port.is_empty() => Self::default_port(tls),
            _ => return None,
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(valid) || port == 0 {
            return None;
        }
        Some(Self {
            tls,
            host: host.into(),
            port,
        })
    }

    const fn default_port(tls: bool) -> u16 {
        if tls { 443 } else { 80 }
    }

    /// Appends the authority: the `Host` field's value.
    pub(crate) fn write(&self, out: &mut String) {
        let is_address = self.host.contains(':');
        if is_address {
            out.push('[');
        }
        out.push_str(&self.host);
        if is_address {
            out.push(']');
        }
        if self.port != Self::default_port(self.tls) {
            out.push(':');
            push_number(out, u32::from(self.port));
        }
    }
}

impl Url {
    /// Parses an absolute URL. User information is refused, the fragment is cut off.
    pub fn parse(url: &str) -> Option<Self> {
        if url.len() > URL_BYTES || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let tls = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return None;
        };
        let rest = rest.split('#').next()?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let mut path = String::new();
        if !target.starts_with('/') {
            path.push('/');
        }
        path.push_str(target);
        Some(Self {
            origin: Origin::parse(authority, tls)?,
            target: path.into(),
        })
    }

    /// Resolves a `Location`: an absolute URL, or an absolute path at the same origin.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if !location.starts_with('/') || location.starts_with("//") {
            return Self::parse(location);
        }
        if location.len() > URL_BYTES || !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        Some(Self {
            origin: self.origin.clone(),
            target: location.split('#').next()?.into(),
        })
    }

    /// Appends the URL, without its query, which may be a signature.
    pub(crate) fn write_for_message(&self, out: &mut String) {
        out.push_str(if self.origin.tls { "https://" } else { "http://" });
        self.origin.write(out);
        out.push_str(self.target.split('?').next().unwrap_or_default());
    }
}

/// Appends `name=value` to a query, its value percent-encoded.
pub(crate) fn push_query(target: &mut String, name: &str, value: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(name);
    target.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            target.push(char::from(byte));
        } else {
            target.push('%');
            target.push(char::from(DIGITS[usize::from(byte >> 4)]));
            target.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Appends a decimal number.
pub(crate) fn push_number(out: &mut String, number: u32) {
    if number >= 10 {
        push_number(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(url: &str) -> Option<String> {
        let url = Url::parse(url)?;
        let mut out = String::new();
        url.write_for_message(&mut out);
        Some(out)
    }

    #[test]
    fn url_is_parsed_when_it_is_http_or_https() {
        for (url, expected) in [
            ("https://a.b", "https://a.b/"),
            ("HTTPS://a.b:443/c?d=e#f", "https://a.b/c"),
            ("http://a.b:80?x", "http://a.b/"),
            ("http://[::1]:5000/v2/", "http://[::1]:5000/v2/"),
            ("https://a:8443/x", "https://a:8443/x"),
        ] {
            assert_eq!(text(url).as_deref(), Some(expected), "{url}");
        }
        for url in [
            "",
            "a.b/c",
            "ftp://a/b",
            "https://",
            "https:///a",
            "https://user:password@a/b",
            "https://a:0/",
            "https://a:/",
            "https://a:65536/",
            "https://a:+1/",
            "https://a b/",
            "https://a/b\r\nX: y",
            "https://a/é",
            "https://[::1/",
        ] {
            assert_eq!(text(url), None, "{url}");
        }
    }

    #[test]
    fn location_is_resolved_when_it_is_a_path() {
        let url = Url::parse("https://a.b:5000/v2/x").expect("valid");
        let joined = url.join("/y?z").expect("valid");
        assert_eq!((joined.origin, &*joined.target), (url.origin.clone(), "/y?z"));
        assert_eq!(url.join("//other/y"), None);
        assert_eq!(url.join("y"), None);
        assert_eq!(
            url.join("https://c/").map(|url| url.origin.host),
            Some("c".into())
        );
    }

    #[test]
    fn query_is_percent_encoded() {
        let mut target = String::from("/token?a=b");
        push_query(&mut target, "scope", "repository:x/y:pull");
        assert_eq!(target, "/token?a=b&scope=repository%3Ax%2Fy%3Apull");
    }
}

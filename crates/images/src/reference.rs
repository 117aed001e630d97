//! Image references, parsed as `github.com/distribution/reference` 0.6.0 does, which the kubelet and containerd use.
//!
//! One deviation: upstream folds the case of all of Unicode, this parser that of ASCII. A name with a capital letter outside of
//! ASCII is refused by both, here as "invalid reference format".

use alloc::boxed::Box;
use alloc::string::String;

/// The registry of names without one.
const DEFAULT_DOMAIN: &str = "docker.io";
/// Its former name.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// The namespace of names of one component at the default registry.
const OFFICIAL: &str = "library/";
/// Limit for the length of a repository's path in bytes.
const PATH_BYTES: usize = 255;
/// Limit for the length of a tag in bytes.
const TAG_BYTES: usize = 128;
/// Limit for what an error message repeats of a name, in bytes.
const QUOTED_BYTES: usize = 512;

/// A normalized image reference: `domain/path`, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `domain/path[:tag][@digest]`.
    text: Box<str>,
    domain: u16,
    name: u16,
    /// End of the tag; the end of the name if there is none.
    tag: u16,
}

/// Why a string is not an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// It is 64 hexadecimal digits, which is an identifier.
    Identifier,
    /// The repository's path has a capital letter.
    Uppercase,
    /// The whole name has a capital letter where none may be.
    NameUppercase,
    /// It does not match the grammar.
    Format,
    /// The repository's path has more than 255 bytes.
    TooLong,
    /// The digest does not match the grammar of its algorithm.
    DigestFormat,
    /// The digest has another length than its algorithm's.
    DigestLength,
    /// The digest's algorithm is not known.
    DigestUnsupported,
}

impl ReferenceError {
    /// Appends upstream's message about `image`, the string that was parsed.
    pub fn write(self, image: &str, out: &mut String) {
        let text = match self {
            Self::Identifier => {
                out.push_str("invalid repository name (");
                out.push_str(image);
                "), cannot specify 64-byte hexadecimal strings"
            }
            Self::Uppercase => {
                out.push_str("invalid reference format: repository name (");
                let Parts { prefix, remote, .. } = split(image);
                out.push_str(prefix);
                out.push_str(before_colon(remote));
                ") must be lowercase"
            }
            Self::NameUppercase => "repository name must be lowercase",
            Self::Format => "invalid reference format",
            Self::TooLong => "repository name must not be more than 255 characters",
            Self::DigestFormat => "invalid checksum digest format",
            Self::DigestLength => "invalid checksum digest length",
            Self::DigestUnsupported => "unsupported digest algorithm",
        };
        out.push_str(text);
    }

    /// Returns the message of the kubelet's event `InspectFailed` about `image`, of which at most 512 bytes are repeated.
    pub fn inspect_failed(self, image: &str) -> String {
        let shown = image
            .get(..image.floor_char_boundary(QUOTED_BYTES))
            .unwrap_or(image);
        let mut out = String::from("Failed to apply default image tag ");
        quote(shown, &mut out);
        out.push_str(": couldn't parse image name ");
        quote(shown, &mut out);
        out.push_str(": ");
        self.write(shown, &mut out);
        out
    }
}

/// Appends `text` in double quotes, as Go's `%q` does for printable text; control characters become `\ufffd`.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            character if character.is_control() => out.push_str("\\ufffd"),
            character => out.push(character),
        }
    }
    out.push('"');
}

impl Reference {
    /// Parses and normalizes a reference: `busybox` becomes `docker.io/library/busybox:latest`. With a digest no tag is added.
    ///
    /// # Errors
    /// Upstream refuses the same strings; [`ReferenceError::write`] gives its words.
    pub fn parse(image: &str) -> Result<Self, ReferenceError> {
        if image.len() == 64
            && image
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(ReferenceError::Identifier);
        }
        let Parts {
            domain,
            prefix,
            remote,
        } = split(image);
        if before_colon(remote).bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase);
        }
        let mut text = String::with_capacity(domain.len() + prefix.len() + remote.len() + 8);
        text.push_str(domain);
        text.push('/');
        text.push_str(prefix);
        text.push_str(remote);
        let Some(matched) = Match::of(&text) else {
            text.make_ascii_lowercase();
            return Err(if Match::of(&text).is_some() {
                ReferenceError::NameUppercase
            } else {
                ReferenceError::Format
            });
        };
        if matched.path > PATH_BYTES {
            return Err(ReferenceError::TooLong);
        }
        if let Some(digest) = text.get(matched.tag + 1..) {
            check_digest(digest)?;
        }
        if matched.tag == matched.name && text.len() == matched.name {
            text.push_str(":latest");
        }
        let tag = if matched.tag < text.len() && text.as_bytes().get(matched.tag) == Some(&b'@') {
            matched.tag
        } else {
            text.len()
        };
        let offset = |at: usize| u16::try_from(at).map_err(|_| ReferenceError::Format);
        Ok(Self {
            domain: offset(domain.len())?,
            name: offset(matched.name)?,
            tag: offset(tag)?,
            text: text.into_boxed_str(),
        })
    }

    fn part(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// The whole reference.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry: a host, and a port if one was given. The registry of Docker Hub is `docker.io`.
    pub fn domain(&self) -> &str {
        self.part(0, self.domain.into())
    }

    /// The repository at its registry, such as `library/busybox`.
    pub fn path(&self) -> &str {
        self.part(usize::from(self.domain) + 1, self.name.into())
    }

    /// Registry and repository, such as `docker.io/library/busybox`.
    pub fn name(&self) -> &str {
        self.part(0, self.name.into())
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        (self.tag > self.name).then(|| self.part(usize::from(self.name) + 1, self.tag.into()))
    }

    /// The digest, if there is one. It may be of an algorithm that content is not verified with.
    pub fn digest(&self) -> Option<&str> {
        let whole = self.text.len();
        (usize::from(self.tag) < whole).then(|| self.part(usize::from(self.tag) + 1, whole))
    }
}

/// A reference before it is checked.
struct Parts<'a> {
    domain: &'a str,
    /// `library/` or nothing.
    prefix: &'static str,
    remote: &'a str,
}

/// Splits off the registry, or adds the default one (upstream's `splitDockerDomain`).
fn split(image: &str) -> Parts<'_> {
    let official = |remote| Parts {
        domain: DEFAULT_DOMAIN,
        prefix: if remote_has_slash(remote) { "" } else { OFFICIAL },
        remote,
    };
    match image.split_once('/') {
        Some((LEGACY_DOMAIN | DEFAULT_DOMAIN, remote)) => official(remote),
        Some((domain, remote))
            if domain == "localhost"
                || domain
                    .bytes()
                    .any(|byte| matches!(byte, b'.' | b':' | b'A'..=b'Z')) =>
        {
            Parts {
                domain,
                prefix: "",
                remote,
            }
        }
        _ => official(image),
    }
}

fn remote_has_slash(remote: &str) -> bool {
    remote.contains('/')
}

fn before_colon(remote: &str) -> &str {
    remote.split(':').next().unwrap_or_default()
}

/// Where the parts of a reference end.
struct Match {
    /// Length of the path that upstream's limit counts.
    path: usize,
    /// End of the name.
    name: usize,
    /// End of the tag, which is the name's end if there is none.
    tag: usize,
}

impl Match {
    /// Matches `[domain/]path[:tag][@digest]` (upstream's `ReferenceRegexp`).
    fn of(text: &str) -> Option<Self> {
        let tag = text.find('@').unwrap_or(text.len());
        let (left, digest) = text.split_at_checked(tag)?;
        if !digest.is_empty() && !is_digest(digest.get(1..)?) {
            return None;
        }
        let last = left.rfind('/').map_or(0, |slash| slash + 1);
        let name = left
            .get(last..)?
            .find(':')
            .map_or(left.len(), |colon| last + colon);
        if left.get(name + 1..).is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let whole = left.get(..name)?;
        let path = match whole.split_once('/') {
            Some((domain, path)) if is_domain(domain) && is_path(path) => path,
            _ if is_path(whole) => whole,
            _ => return None,
        };
        Some(Self {
            path: path.len(),
            name,
            tag,
        })
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Whether this is a host name, an IPv4 address or an IPv6 address in brackets, and a port if there is one.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            let valid = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
            if address.is_empty() || !address.bytes().all(valid) {
                return false;
            }
            ("", port)
        }
        None => domain.split_at(domain.find(':').unwrap_or(domain.len())),
    };
    let port = port.strip_prefix(':').map_or(port.is_empty(), |digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    port && (domain.starts_with('[') || host.split('.').all(label))
}

/// Whether this is components of lower-case letters and digits with separators between them, divided by slashes.
fn is_path(path: &str) -> bool {
    path.split('/').all(|component| {
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = component.as_bytes();
        let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
        ends && bytes.split(alphanumeric).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
        })
    })
}

/// Whether this is an algorithm, a colon and at least 32 hexadecimal digits (upstream's `DigestRegexp`).
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, digits)) = digest.split_once(':') else {
        return false;
    };
    let component = |component: &str| {
        component
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && component.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    digits.len() >= 32
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && algorithm.split(['-', '_', '+', '.']).all(component)
}

/// Checks a digest that matches the grammar, by its algorithm (`go-digest` 1.0.0).
fn check_digest(digest: &str) -> Result<(), ReferenceError> {
    let (algorithm, digits) = digest.split_once(':').unwrap_or_default();
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ if algorithm.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            return Err(ReferenceError::DigestFormat);
        }
        _ => return Err(ReferenceError::DigestUnsupported),
    };
    if digits.len() != length {
        return Err(ReferenceError::DigestLength);
    }
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::DigestFormat);
    }
    Ok(())
}

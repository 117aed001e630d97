//! Credentials of `imagePullSecrets`, selected as the kubelet's `credentialprovider` does.
//!
//! Deviations: globs have `*` only, no character classes (upstream cuts a `?` off as a query, too); paths are compared as they are written, without decoding `%`;
//! an entry whose `auth` is malformed is skipped, while the kubelet then ignores the whole secret;
//! an entry without user name and password is skipped.

use crate::client::Credentials;
use crate::documents::DocumentError;
use crate::reference::Reference;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use base64ct::{Base64, Base64Unpadded, Encoding};
use picolet_kube::json::{Code, Decoder, Field, Shape, Sink};
use picolet_kube::shape;
use zeroize::Zeroizing;

/// Limit for the number of credentials that match one image.
pub const MATCHES: usize = 4;
/// Limit for the length of a user name, a password or an `auth` in bytes. Longer entries are skipped.
pub const SECRET_BYTES: usize = 4096;
/// The registry that the kubelet looks up for images of Docker Hub.
const DEFAULT_REGISTRY: &str = "index.docker.io";

const ENTRY: Field = Field(32);
const REGISTRY: Field = Field(33);
const USERNAME: Field = Field(34);
const PASSWORD: Field = Field(35);
const AUTH: Field = Field(36);

const ENTRIES: Shape = Shape::Entries(
    REGISTRY,
    &Shape::Group(
        ENTRY,
        &Shape::Object(&[
            ("username", Shape::Value(USERNAME)),
            ("password", Shape::Value(PASSWORD)),
            ("auth", Shape::Value(AUTH)),
        ]),
    ),
);
const DOCKERCFG: Code = shape!(ENTRIES);
const DOCKERCONFIGJSON: Code = shape!(Shape::Object(&[("auths", ENTRIES)]));

/// The type of a secret with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `kubernetes.io/dockerconfigjson`, key `.dockerconfigjson`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`, key `.dockercfg`.
    DockerCfg,
}

/// The credentials for one image, of several secrets.
pub struct Keyring<'a> {
    /// Registry and repository.
    image: &'a str,
    /// By registry and path, the most specific first. An empty key is the default registry's.
    found: Vec<(String, Credentials)>,
}

impl<'a> Keyring<'a> {
    /// A keyring that collects credentials for an image.
    pub fn new(reference: &'a Reference) -> Self {
        Self {
            image: reference.name(),
            found: Vec::new(),
        }
    }

    /// Starts to read a secret.
    pub fn read(&mut self, kind: SecretKind) -> SecretReader<'_, 'a> {
        SecretReader {
            decoder: Decoder::new(match kind {
                SecretKind::DockerConfigJson => DOCKERCONFIGJSON,
                SecretKind::DockerCfg => DOCKERCFG,
            }),
            sink: SecretSink {
                keyring: self,
                key: String::new(),
                field: Zeroizing::default(),
                overflow: false,
                entry: Credentials::default(),
                has_auth: false,
                is_valid: false,
            },
        }
    }

    /// The credentials in the order in which they are tried: the most specific first, of the same registry in the order of the
    /// secrets. Those of the default registry count if nothing else matches.
    pub fn into_credentials(self) -> Vec<Credentials> {
        let specific = self.found.iter().any(|(key, _)| !key.is_empty());
        let found = self.found.into_iter();
        found
            .filter(|(key, _)| key.is_empty() != specific)
            .map(|(_, credentials)| credentials)
            .collect()
    }

    fn add(&mut self, registry: &str, credentials: Credentials) {
        let Some((host, path)) = split(registry) else {
            return;
        };
        let mut key = String::from(host);
        key.push_str(path);
        if !matches(host, path, self.image) {
            if key != DEFAULT_REGISTRY || !is_default_registry(self.image) {
                return;
            }
            key.clear();
        }
        // Reverse order of the keys, as upstream sorts them; the empty one is last.
        let at = self.found.partition_point(|(other, _)| *other >= key);
        if at < MATCHES {
            self.found.insert(at, (key, credentials));
            self.found.truncate(MATCHES);
        }
    }
}

/// Splits the key of an entry into host with port, and path. Scheme, user information, query and fragment are dropped, as is
/// the version in front of the path.
fn split(registry: &str) -> Option<(&str, &str)> {
    let rest = registry
        .strip_prefix("https://")
        .or_else(|| registry.strip_prefix("http://"));
    let rest = rest.unwrap_or(registry);
    if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next()?;
    let path = match path.get(..4) {
        Some("/v1/" | "/v2/") => path.get(3..)?,
        _ => path,
    };
    Some((host, if path == "/" { "" } else { path }))
}

/// Whether the key of an entry matches an image (upstream's `URLsMatch`): the same port, each label of the host by its glob, and
/// the path as a prefix.
fn matches(host: &str, path: &str, image: &str) -> bool {
    let (target, target_path) = image.split_at(image.find('/').unwrap_or(image.len()));
    let (globs, glob_port) = split_port(host);
    let (labels, port) = split_port(target);
    port == glob_port
        && target_path.starts_with(path)
        && globs.split('.').count() == labels.split('.').count()
        && globs
            .split('.')
            .zip(labels.split('.'))
            .all(|(glob, label)| matches_glob(glob.as_bytes(), label.as_bytes()))
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port),
        _ => (host, ""),
    }
}

/// Whether a label matches a glob of `*`, in time proportional to the product of their lengths.
fn matches_glob(mut glob: &[u8], mut text: &[u8]) -> bool {
    // Where to go on if what follows the last star does not match.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob, text) {
            ([b'*', rest @ ..], _) => {
                glob = rest;
                retry = Some((rest, text));
            }
            ([expected, rest @ ..], [byte, after @ ..]) if expected == byte => (glob, text) = (rest, after),
            ([], []) => return true,
            _ => match retry {
                Some((rest, [_, after @ ..])) => {
                    (glob, text) = (rest, after);
                    retry = Some((rest, after));
                }
                _ => return false,
            },
        }
    }
}

/// Whether an image is Docker Hub's (upstream's `isDefaultRegistryMatch`).
fn is_default_registry(image: &str) -> bool {
    let domain = image.split('/').next().unwrap_or_default();
    matches!(domain, "docker.io" | DEFAULT_REGISTRY)
}

/// Reads one secret, decoded from base64, in pieces.
pub struct SecretReader<'k, 'a> {
    decoder: Decoder,
    sink: SecretSink<'k, 'a>,
}

impl SecretReader<'_, '_> {
    /// Takes the next piece.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), DocumentError> {
        Ok(self.decoder.feed(piece, &mut self.sink)?)
    }
}

struct SecretSink<'k, 'a> {
    keyring: &'k mut Keyring<'a>,
    key: String,
    field: Zeroizing<Vec<u8>>,
    overflow: bool,
    entry: Credentials,
    has_auth: bool,
    is_valid: bool,
}

impl SecretSink<'_, '_> {
    fn value(&mut self, field: Field) -> Option<()> {
        if self.overflow {
            return None;
        }
        if field == AUTH {
            if self.field.is_empty() {
                return Some(());
            }
            let padded = self.field.trim_ascii().ends_with(b"=");
            let mut pair = Zeroizing::new(vec![0; self.field.len()]);
            let pair = if padded {
                Base64::decode(&*self.field, &mut pair)
            } else {
                Base64Unpadded::decode(&*self.field, &mut pair)
            };
            let (username, password) = core::str::from_utf8(pair.ok()?).ok()?.split_once(':')?;
            self.entry = Credentials {
                username: Zeroizing::new(username.into()),
                password: Zeroizing::new(password.into()),
            };
            self.has_auth = true;
            return Some(());
        }
        let text = Zeroizing::new(core::str::from_utf8(&self.field).ok()?.into());
        // What `auth` says counts, wherever it stands.
        if !self.has_auth {
            if field == USERNAME {
                self.entry.username = text;
            } else {
                self.entry.password = text;
            }
        }
        Some(())
    }
}

impl Sink for SecretSink<'_, '_> {
    fn key(&mut self, _: Field, key: &str) {
        self.key.clear();
        self.key.push_str(key);
    }

    fn skip_entry(&mut self, _: Field) {
        self.key.clear();
    }

    fn enter(&mut self, _: Field) {
        self.entry = Credentials::default();
        self.has_auth = false;
        self.is_valid = !self.key.is_empty();
    }

    fn leave(&mut self, _: Field) {
        let entry = core::mem::take(&mut self.entry);
        if self.is_valid && !(entry.username.is_empty() && entry.password.is_empty()) {
            self.keyring.add(&self.key, entry);
        }
        self.key.clear();
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if self.field.capacity() == 0 {
            // At once, since a buffer that grows leaves copies behind.
            self.field.reserve_exact(SECRET_BYTES);
        }
        if piece.len() > SECRET_BYTES - self.field.len() {
            self.overflow = true;
        } else {
            self.field.extend_from_slice(piece);
        }
        if last {
            self.is_valid &= self.value(field).is_some();
            self.field.clear();
            self.overflow = false;
        }
    }
}

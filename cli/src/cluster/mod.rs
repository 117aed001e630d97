//! An administrator's connection to a cluster.

mod access;
mod object;
mod plugin;
#[cfg(test)]
mod tests;

pub(crate) use access::{ClusterArguments, Environment};
pub(crate) use object::Object;

use access::Access;
use anyhow::{Context, Result, anyhow};
use picolet_linux::client::{self, REQUEST_TIMEOUT, Refused, is_refused};
use picolet_tls::x509::certificates_from_pem;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::fmt::Write as _;
use std::io::BufRead;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Method;

/// Objects in one page of a list, at most.
const PAGE: u32 = 250;

/// A connection to an API server, as an administrator.
pub(crate) struct Client {
    http: client::Client,
    /// The CA of the API server, PEM; empty where it is not verified.
    authority: Vec<u8>,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    metadata: PageMetadata,
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

impl Client {
    /// Connects as the flags and the environment say.
    ///
    /// # Errors
    /// There are no credentials, or they cannot be used.
    pub(crate) fn connect(arguments: &ClusterArguments) -> Result<Self> {
        Self::new(arguments.resolve(&Environment::of_process())?)
    }

    fn new(access: Access) -> Result<Self> {
        let identity = access.client_certificate.as_ref();
        let identity = identity.map(|(chain, key)| (&chain[..], &key[..]));
        let mut http = client::Client::new(&access.server, &access.certificate_authority, identity)?;
        if let Some(url) = &access.proxy {
            http = http.with_proxy(url)?;
        }
        if let Some(token) = access.token {
            http = http
                .authorized(&format!("Bearer {token}"))
                .context("the user's token")?;
        }
        if let Some(user) = access.impersonation {
            http = http.with_header("Impersonate-User", &user.user, false)?;
            if let Some(uid) = &user.uid {
                http = http.with_header("Impersonate-Uid", uid, false)?;
            }
            for group in &user.groups {
                http = http.with_header("Impersonate-Group", group, false)?;
            }
            for (key, value) in &user.extra {
                let name = format!("Impersonate-Extra-{}", escape(key, is_header_byte));
                http = http.with_header(&name, value, false)?;
            }
        }
        Ok(Self {
            http,
            authority: access.certificate_authority,
        })
    }

    /// An unauthenticated client of a server that is not verified.
    #[cfg(test)]
    pub(crate) fn anonymous(server: &str) -> Result<Self> {
        Ok(Self {
            http: client::Client::anonymous(server, None)?,
            authority: Vec::new(),
        })
    }

    /// The URL of the API server.
    pub(crate) fn server(&self) -> &str {
        self.http.server()
    }

    /// The CA of the API server, PEM.
    pub(crate) fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// The host and the port of the API server, and whether it is called without TLS.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let parsed = self.http.server().parse::<ureq::http::Uri>();
        let parsed = parsed.with_context(|| format!("server {}: not a URL", self.http.server()))?;
        let is_plain = parsed.scheme_str() == Some("http");
        let host = parsed.host().unwrap_or_default();
        Ok(Endpoint {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: parsed.port_u16().unwrap_or(if is_plain { 80 } else { 443 }),
            is_plain,
        })
    }

    /// Returns the certificate (DER) that the API server presents.
    ///
    /// # Errors
    ///
    /// When no direct connection is possible, or the certificate does not verify.
    pub(crate) fn server_certificate(&self) -> Result<Vec<u8>> {
        self.server_certificate_beside_proxy(self.http.is_proxied())
    }

    fn server_certificate_beside_proxy(&self, is_proxied: bool) -> Result<Vec<u8>> {
        self.presented_certificate().with_context(|| {
            // A proxy answers for those who ask it, and not here.
            let hint = match is_proxied {
                true => {
                    " (a proxy is set, and this needs a direct connection: run it where there is one, such as in the cluster, with \
                     deploy/approver)"
                }
                false => "",
            };
            format!("cannot read the certificate of the API server{hint}")
        })
    }

    fn presented_certificate(&self) -> Result<Vec<u8>> {
        let Endpoint { host, port, .. } = self.endpoint()?;
        let mut roots = RootCertStore::empty();
        let authorities = certificates_from_pem(&self.authority)?;
        roots.add_parsable_certificates(authorities.into_iter().map(Into::into));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.clone())?;
        let mut connection = ClientConnection::new(Arc::new(config), name)?;
        let mut stream = connect((host.as_str(), port).to_socket_addrs()?)?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        Ok(chain.first().context("no certificate")?.to_vec())
    }

    fn read(&self, path: &str) -> Result<String> {
        self.http.text(path, REQUEST_TIMEOUT)
    }

    /// Reads an object or a list.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        Ok(object(&self.read(path)?))
    }

    /// Reads an object as `T`; `None` where there is none.
    pub(crate) fn find_as<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match self.read(path) {
            Ok(text) => Ok(Some(parse(path, &text)?)),
            Err(error) if is_refused(&error, 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a list page by page, and calls `each` for every object. Returns the list's resource version.
    ///
    /// Memory is bounded by one page. A page that is too large for one answer is requested again with half as many
    /// objects, so that a few large objects do not make a list unreadable. Where `each` takes so long that the list expires, it goes on
    /// with objects as they are by then; a watch from the resource version is then told that it is too old.
    pub(crate) fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(T) -> Result<()>,
    ) -> Result<String> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut limit, mut rest) = (PAGE, String::new());
        let mut version = None;
        loop {
            let page = format!("{path}{separator}limit={limit}{rest}");
            let text = match self.read(&page) {
                Err(error) if limit > 1 && is_too_large(&error) => {
                    limit /= 2;
                    continue;
                }
                Err(error) => match error.downcast::<Refused>()? {
                    Refused {
                        code: 410,
                        r#continue,
                        ..
                    } if !r#continue.is_empty() => {
                        rest = continue_at(&r#continue);
                        continue;
                    }
                    refused => return Err(refused.into()),
                },
                Ok(text) => text,
            };
            let page: Page<T> = parse(path, &text)?;
            drop(text);
            page.items.into_iter().flatten().try_for_each(&mut each)?;
            let version = version.get_or_insert(page.metadata.resource_version);
            if page.metadata.r#continue.is_empty() {
                return Ok(std::mem::take(version));
            }
            rest = continue_at(&page.metadata.r#continue);
        }
    }

    /// Reads an object; `None` where there is none.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value>> {
        found(self.get(path))
    }

    /// Reads what is no object, such as what a node says through the API server.
    pub(crate) fn text(&self, path: &str, limit: Duration) -> Result<String> {
        self.http.text(path, limit)
    }

    /// Follows a watch: a line for each event.
    pub(crate) fn stream(&self, path: &str, limit: Duration) -> Result<impl BufRead + use<>> {
        self.http.stream(path, limit)
    }

    /// Replaces an object.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<()> {
        let body = Some(("application/json", body.to_string()));
        self.http
            .request(Method::PUT, path, body, REQUEST_TIMEOUT)
            .map(drop)
    }

    /// Makes an object.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<()> {
        let body = Some(("application/json", body.to_string()));
        self.http
            .request(Method::POST, path, body, REQUEST_TIMEOUT)
            .map(drop)
    }

    /// Changes the fields of an object that are in `body` (RFC 7386).
    pub(crate) fn merge(&self, path: &str, body: &Value) -> Result<()> {
        let body = Some(("application/merge-patch+json", body.to_string()));
        self.http
            .request(Method::PATCH, path, body, REQUEST_TIMEOUT)
            .map(drop)
    }

    /// Makes an object be as `body` has it, as the manager `picolet` of its fields (server-side apply).
    pub(crate) fn apply(&self, path: &str, body: &Value) -> Result<()> {
        let path = format!("{path}?fieldManager=picolet");
        // JSON is YAML.
        let body = Some(("application/apply-patch+yaml", body.to_string()));
        self.http
            .request(Method::PATCH, &path, body, REQUEST_TIMEOUT)
            .map(drop)
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &str) -> Result<Deletion> {
        let deleted = self.http.request(Method::DELETE, path, None, REQUEST_TIMEOUT);
        Ok(match found(deleted.map(|text| object(&text)))? {
            None => Deletion::Absent,
            // The answer is the object then, and a Status or the last state of the object otherwise.
            Some(object) if has_finalizers(&object) => Deletion::Pending,
            Some(_) => Deletion::Done,
        })
    }
}

/// What became of an object that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// There was none.
    Absent,
    Done,
    /// It is there until its finalizers are removed.
    Pending,
}

/// Whether an object stays when it is deleted.
fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty())
}

/// Adds to an error what gives the rights to approve, if they are missing.
pub(crate) fn with_rights_hint<T>(result: Result<T>, what: impl fmt::Display) -> Result<T> {
    result.map_err(|error| {
        let hint = match is_refused(&error, 403) {
            true => "; apply deploy/approver.yaml of this release for its rights",
            false => "",
        };
        error.context(format!("cannot {what}{hint}"))
    })
}

/// Where an API server is.
pub(crate) struct Endpoint {
    /// A DNS name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether it is called without TLS.
    pub(crate) is_plain: bool,
}

/// Connects to the first address that answers: `localhost` is two, and an API server may be at one of them only.
fn connect(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream> {
    let mut failure = anyhow!("its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, REQUEST_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = anyhow!(error).context(address),
        }
    }
    Err(failure)
}

/// The parameter of a list that goes on at `token`.
fn continue_at(token: &str) -> String {
    format!("&continue={}", escape_query(token))
}

/// Escapes the value of a parameter of a URL.
pub(crate) fn escape_query(value: &str) -> String {
    escape(value, |_| false)
}

/// Whether a byte stands in the name of a header (RFC 9110, section 5.6.2), and is not what escapes others.
fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte)
}

/// Escapes with `%` all bytes but those that are `safe`.
fn escape(text: &str, safe: fn(u8) -> bool) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match safe(byte) {
            true => escaped.push(byte.into()),
            false => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Whether an answer was longer than the 10 MB that are read of one.
fn is_too_large(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ureq::Error::BodyExceedsLimit(_)))
}

fn found(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Err(error) if is_refused(&error, 404) => Ok(None),
        result => result.map(Some),
    }
}

fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("{path}: unexpected answer of the API server"))
}

/// The object in an answer; null where there is none.
fn object(text: &str) -> Value {
    let parsed: Result<Object, _> = serde_json::from_str(text);
    parsed.map(|Object(value)| value).unwrap_or_default()
}

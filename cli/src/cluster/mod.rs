//! A person's way to a cluster: the kubeconfig's server, and whom it says that they are.

mod object;
#[cfg(test)]
mod tests;

pub(crate) use object::Object;

use crate::kubeconfig::{self, Person};
use anyhow::{Context, Result, anyhow, bail, ensure};
use picolet_tls::P256Key;
use picolet_tls::x509::{self, certificates_from_pem};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(15);

/// Objects in one page of a list, at most.
const PAGE: u32 = 250;

/// A connection to an API server, as a person.
pub(crate) struct Client {
    agent: Agent,
    server: String,
    /// PEM; empty where the server is not verified.
    authority: Vec<u8>,
    authorization: Option<String>,
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
    /// The current context of `path`, or of `~/.kube/config`, or in a pod its ServiceAccount.
    pub(crate) fn from_kubeconfig(path: Option<&Path>) -> Result<Self> {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
        let service = kubeconfig::SERVICE.map(|name| std::env::var(name).ok());
        let account = Path::new(kubeconfig::SERVICE_ACCOUNT);
        Self::new(person(path, home.as_deref(), service, account)?)
    }

    fn new(person: Person) -> Result<Self> {
        let client = match (&person.client_certificate, &person.client_key) {
            (Some(chain), Some(key)) => {
                let chain = certificates(chain);
                let key = private_key(key).context("client-key")?;
                Some(ClientCert::new_with_certs(&chain, key))
            }
            _ => None,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots(&person.certificate_authority).context("certificate-authority")?)
            .client_cert(client)
            .build();
        let authorization = person.token.map(|token| format!("Bearer {token}"));
        Ok(Self {
            authority: person.certificate_authority,
            ..Self::with(&person.server, tls, authorization)
        })
    }

    /// As nobody. Without an authority the server can be anybody: believe nothing that is not proved by itself.
    pub(crate) fn anonymous(server: &str, authority: Option<&[u8]>) -> Result<Self> {
        let tls = match authority {
            Some(pem) => TlsConfig::builder().root_certs(roots(pem)?),
            None => TlsConfig::builder().disable_verification(true),
        };
        Ok(Self::with(server, tls.build(), None))
    }

    /// The same with a credential, a value of `Authorization`.
    pub(crate) fn authorized(mut self, authorization: String) -> Self {
        self.authorization = Some(authorization);
        self
    }

    fn with(server: &str, tls: TlsConfig, authorization: Option<String>) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST));
        Self {
            agent: config.build().into(),
            server: server.trim_end_matches('/').to_owned(),
            authority: Vec::new(),
            authorization,
        }
    }

    /// The host and the port of the API server, and whether it is called without TLS.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let parsed = self.server.parse::<ureq::http::Uri>();
        let parsed = parsed.with_context(|| format!("server {}: not a URL", self.server))?;
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
        self.presented_certificate().with_context(|| {
            // A proxy answers for those who ask it, and not here.
            let hint = match self.agent.config().proxy() {
                Some(_) => {
                    " (a proxy is set, and this needs a direct connection: run it where there is one, such as in the cluster, with \
                     deploy/approver)"
                }
                None => "",
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
        stream.set_read_timeout(Some(REQUEST))?;
        stream.set_write_timeout(Some(REQUEST))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        Ok(chain.first().context("no certificate")?.to_vec())
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
        limit: Duration,
    ) -> Result<Response<ureq::Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let limit = Some(limit);
        let answer = match body {
            None => {
                let request = self.agent.configure_request(request.body(())?);
                self.agent.run(request.timeout_global(limit).build())
            }
            Some((kind, text)) => {
                let request = request.header("Content-Type", kind).body(text)?;
                let request = self.agent.configure_request(request);
                self.agent.run(request.timeout_global(limit).build())
            }
        };
        answer.with_context(|| format!("{} does not answer", self.server))
    }

    /// Reads an object or a list.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        object(self.send(Method::GET, path, None, REQUEST)?)
    }

    /// Reads an object as `T`; `None` where there is none.
    pub(crate) fn find_as<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        match success(self.send(Method::GET, path, None, REQUEST)?) {
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
            let text = match success(self.send(Method::GET, &page, None, REQUEST)?) {
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
        success(self.send(Method::GET, path, None, limit)?)
    }

    /// Follows a watch: a line for each event.
    pub(crate) fn stream(&self, path: &str, limit: Duration) -> Result<impl BufRead + use<>> {
        let answer = self.send(Method::GET, path, None, limit)?;
        if answer.status() != 200 {
            object(answer)?;
            bail!("the API server does not let itself be watched");
        }
        Ok(BufReader::new(answer.into_body().into_reader()))
    }

    /// Replaces an object.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<()> {
        let body = Some(("application/json", body.to_string()));
        object(self.send(Method::PUT, path, body, REQUEST)?).map(drop)
    }

    /// Makes an object.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<()> {
        let body = Some(("application/json", body.to_string()));
        object(self.send(Method::POST, path, body, REQUEST)?).map(drop)
    }

    /// Changes the fields of an object that are in `body` (RFC 7386).
    pub(crate) fn merge(&self, path: &str, body: &Value) -> Result<()> {
        let body = Some(("application/merge-patch+json", body.to_string()));
        object(self.send(Method::PATCH, path, body, REQUEST)?).map(drop)
    }

    /// Makes an object be as `body` has it, as the manager `picolet` of its fields (server-side apply).
    pub(crate) fn apply(&self, path: &str, body: &Value) -> Result<()> {
        let path = format!("{path}?fieldManager=picolet");
        // JSON is YAML.
        let body = Some(("application/apply-patch+yaml", body.to_string()));
        object(self.send(Method::PATCH, &path, body, REQUEST)?).map(drop)
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &str) -> Result<Deletion> {
        let answer = self.send(Method::DELETE, path, None, REQUEST)?;
        Ok(match found(object(answer))? {
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

/// Who asks: the one in the kubeconfig `path`, or without one in that of the `home` directory, or in a pod, which has a
/// `service` to call, its `account`.
fn person(
    path: Option<&Path>,
    home: Option<&Path>,
    service: [Option<String>; 2],
    account: &Path,
) -> Result<Person> {
    match (path, home, service) {
        // One that was named and does not exist is a mistake. Nobody else is to act in its place.
        (Some(path), ..) => kubeconfig::read_person(path),
        (None, Some(home), _) if home.exists() => kubeconfig::read_person(home),
        (None, _, [Some(host), Some(port)]) => kubeconfig::in_cluster(account, &host, &port),
        (None, Some(home), _) => kubeconfig::read_person(home),
        (None, None, _) => bail!("--kubeconfig says which cluster: there is no home directory to look in"),
    }
}

/// Where an API server is.
pub(crate) struct Endpoint {
    /// A DNS name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether it is called without TLS.
    pub(crate) is_plain: bool,
}

/// The first private key in a PEM. A key on P-256 gets its public key, which may be left out (RFC 5915, section 3) and which the client
/// library needs: it panics without.
fn private_key(pem: &[u8]) -> Result<PrivateKey<'static>> {
    let Ok(key) = P256Key::from_pem(pem) else {
        return Ok(PrivateKey::from_pem(pem)?);
    };
    /// `ECPrivateKey` around the secret and the public key, on secp256r1.
    const BEFORE: [u8; 7] = [0x30, 119, 2, 1, 1, 4, 32];
    const BETWEEN: [u8; 17] = [
        0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 0xa1, 68, 3, 66, 0,
    ];
    let (secret, public) = (key.to_pkcs8(), key.public_key_der());
    let (secret, public) = (&secret[secret.len() - 32..], &public[public.len() - 65..]);
    let der = [&BEFORE, secret, &BETWEEN, public].concat();
    Ok(PrivateKey::from_pem(
        x509::pem("EC PRIVATE KEY", &der).as_bytes(),
    )?)
}

/// Connects to the first address that answers: `localhost` is two, and an API server may be at one of them only.
fn connect(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream> {
    let mut failure = anyhow!("its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, REQUEST) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = anyhow!(error).context(address),
        }
    }
    Err(failure)
}

/// Makes text of others fit for a terminal: without control sequences.
pub(crate) fn printable(text: &str) -> String {
    let visible = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '\u{fffd}'
        }
    };
    text.chars().map(visible).collect()
}

/// The certificates in a PEM.
fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

/// Whoever has a certificate of one of the authorities in a PEM is believed.
fn roots(pem: &[u8]) -> Result<RootCerts> {
    let authorities = certificates(pem);
    ensure!(!authorities.is_empty(), "the authority is no certificate in PEM");
    Ok(RootCerts::new_with_certs(&authorities))
}

/// The parameter of a list that goes on at `token`.
fn continue_at(token: &str) -> String {
    let mut text = "&continue=".to_owned();
    for byte in token.bytes() {
        let _ = write!(text, "%{byte:02X}");
    }
    text
}

/// What the API server, or a node behind it, has against a request.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The status of HTTP.
    pub(crate) code: u16,
    message: String,
    /// Where a list that has expired goes on.
    r#continue: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.message, self.code)
    }
}

impl std::error::Error for Refused {}

/// Whether the API server has answered with this status.
pub(crate) fn is_refused(error: &anyhow::Error, code: u16) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.code == code)
}

/// Whether an answer was longer than the 10 MB that are read of one.
fn is_too_large(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ureq::Error::BodyExceedsLimit(_)))
}

/// Whether the same question may be answered another time: nobody did now, or refused to.
pub(crate) fn may_heal(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => false,
        Some(_) => true,
        None => error.is::<Refused>(),
    }
}

fn found(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Err(error) if is_refused(&error, 404) => Ok(None),
        result => result.map(Some),
    }
}

/// The body of an answer, or what it says instead.
fn success(mut answer: Response<ureq::Body>) -> Result<String> {
    let code = answer.status().as_u16();
    let text = answer
        .body_mut()
        .read_to_string()
        .context("the answer broke off")?;
    if (200..300).contains(&code) {
        return Ok(text);
    }
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    let message = status["message"].as_str().unwrap_or(text.trim());
    // It can be the answer of a node, through the API server.
    let message = printable(&message.replace('\n', " "));
    let r#continue = status["metadata"]["continue"].as_str().unwrap_or_default();
    let r#continue = r#continue.to_owned();
    Err(Refused {
        code,
        message,
        r#continue,
    }
    .into())
}

fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("{path}: unexpected answer of the API server"))
}

fn object(answer: Response<ureq::Body>) -> Result<Value> {
    let parsed: Result<Object, _> = serde_json::from_str(&success(answer)?);
    Ok(parsed.map(|Object(value)| value).unwrap_or_default())
}

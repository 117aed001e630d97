//! A person's way to a cluster: the kubeconfig's server, and whom it says that they are.

use crate::kubeconfig::{self, Person};
use anyhow::{Context, Result, anyhow, bail, ensure};
use picolet_tls::P256Key;
use picolet_tls::x509::{self, certificates_from_pem};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
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

/// An object or a list of the API server, without `managedFields`. Only those can be nested deeper than a parser follows, and
/// whoever writes an object chooses them.
pub(crate) struct Object(pub(crate) Value);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ObjectVisitor).map(Self)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Object(item)) = from.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if key == "managedFields" {
                from.next_value::<IgnoredAny>()?;
            } else {
                fields.insert(key, from.next_value::<Object>()?.0);
            }
        }
        Ok(fields.into())
    }
}

impl Client {
    /// The current context of `path`, or of `~/.kube/config`, or in a pod its ServiceAccount.
    pub(crate) fn from_kubeconfig(path: Option<&Path>) -> Result<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"));
        let path = path.map(Path::to_path_buf).or_else(home);
        let service = kubeconfig::SERVICE.map(|name| std::env::var(name).ok());
        let person = match (path, service) {
            (Some(path), [None, _] | [_, None]) => kubeconfig::read_person(&path)?,
            (Some(path), _) if path.exists() => kubeconfig::read_person(&path)?,
            (_, [Some(host), Some(port)]) => {
                kubeconfig::in_cluster(Path::new(kubeconfig::SERVICE_ACCOUNT), &host, &port)?
            }
            (None, _) => bail!("--kubeconfig says which cluster: there is no home directory to look in"),
        };
        Self::new(person)
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

    /// Deletes an object. Returns whether there was one.
    pub(crate) fn delete(&self, path: &str) -> Result<bool> {
        let answer = self.send(Method::DELETE, path, None, REQUEST)?;
        Ok(found(object(answer))?.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    /// Answers requests as an API server, by their paths, until one is for `/end`.
    fn serve(answer: fn(&str) -> String) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let mut paths = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                let first = lines.next().expect("a request").expect("a line");
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let path = first.split(' ').nth(1).expect("a path").to_owned();
                if path == "/end" {
                    break;
                }
                let body = answer(&path);
                let status = match body.contains("\"code\": 410") {
                    true => "410 Gone",
                    false => "200 OK",
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                // A client that has read enough hangs up.
                let _ = stream.write_all((head + &body).as_bytes());
                paths.push(path);
            }
            paths
        });
        (url, server)
    }

    #[test]
    fn list_reads_all_pages_and_smaller_ones_when_a_page_is_too_large() {
        let (url, server) = serve(|path| match path {
            "/l?a=b&limit=250" => " ".repeat(11 << 20),
            "/l?a=b&limit=125" => {
                r#"{"metadata": {"resourceVersion": "7", "continue": "x+/"}, "items": [1, 2]}"#.into()
            }
            "/l?a=b&limit=125&continue=%78%2B%2F" => {
                r#"{"metadata": {"resourceVersion": "7"}, "items": null}"#.into()
            }
            _ => String::new(),
        });
        let client = Client::anonymous(&url, None).expect("a client");
        let mut found = Vec::new();
        let version = client.list("/l?a=b", |number: u32| {
            found.push(number);
            Ok(())
        });
        let _ = client.get("/end");
        let paths = server.join().expect("no panic");
        assert_eq!(version.expect("a list"), "7");
        assert_eq!(found, [1, 2]);
        assert_eq!(paths.len(), 3, "{paths:?}");
    }

    #[test]
    fn list_goes_on_when_it_expires() {
        let (url, server) = serve(|path| match path {
            "/l?limit=250" => {
                r#"{"metadata": {"resourceVersion": "7", "continue": "old"}, "items": [1]}"#.into()
            }
            "/l?limit=250&continue=%6F%6C%64" => {
                r#"{"kind": "Status", "metadata": {"continue": "new"}, "code": 410}"#.into()
            }
            "/l?limit=250&continue=%6E%65%77" => {
                r#"{"metadata": {"resourceVersion": "9"}, "items": [2]}"#.into()
            }
            // Without a place to go on at it is at an end.
            _ => r#"{"kind": "Status", "metadata": {}, "code": 410}"#.into(),
        });
        let client = Client::anonymous(&url, None).expect("a client");
        let mut found = Vec::new();
        let version = client.list("/l", |number: u32| {
            found.push(number);
            Ok(())
        });
        let lost = client.list("/m", |_: Value| Ok(()));
        let _ = client.get("/end");
        server.join().expect("no panic");
        // What came before the second page is missing in it: a watch has to begin at the first one's version.
        assert_eq!(version.expect("a list"), "7");
        assert_eq!(found, [1, 2]);
        assert!(lost.is_err_and(|error| is_refused(&error, 410)));
    }

    #[test]
    fn list_fails_when_one_object_is_too_large() {
        let (url, server) = serve(|_| " ".repeat(11 << 20));
        let client = Client::anonymous(&url, None).expect("a client");
        let listed = client.list("/l", |_: Value| Ok(()));
        let _ = client.get("/end");
        let paths = server.join().expect("no panic");
        assert!(listed.is_err_and(|error| is_too_large(&error)));
        assert_eq!(paths.last().map(String::as_str), Some("/l?limit=1"));
    }

    #[test]
    fn objects_are_read_when_their_managed_fields_are_nested_deeply() {
        let fields = "{\"f:x\":".repeat(1000) + "{}" + &"}".repeat(1000);
        let text = format!(
            r#"{{"items": [{{"metadata": {{"managedFields": [{{"fieldsV1": {fields}}}], "name": "x"}}, "n": [1, -1, 0.5, true, null]}}]}}"#
        );
        assert!(serde_json::from_str::<Value>(&text).is_err());
        let Object(read) = serde_json::from_str(&text).expect("an object");
        let expected =
            serde_json::json!({"items": [{"metadata": {"name": "x"}, "n": [1, -1, 0.5, true, null]}]});
        assert_eq!(read, expected);
    }

    #[test]
    fn refusal_has_no_control_sequences_when_a_node_wrote_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let body = "no\u{1b}[2K\rnode/pico-1 forgets who it is";
            let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).expect("an answer");
        });
        let client = Client::anonymous(&url, None).expect("a client");
        let refused = client.get("/x").expect_err("refused").to_string();
        server.join().expect("no panic");
        assert_eq!(
            refused,
            "no\u{fffd}[2K\u{fffd}node/pico-1 forgets who it is (HTTP 403)"
        );
    }

    #[test]
    fn connection_is_made_when_only_the_last_address_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let live = listener.local_addr().expect("an address");
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
        let dead = closed.local_addr().expect("an address");
        drop(closed);
        let stream = connect([dead, live].into_iter()).expect("a connection");
        assert_eq!(stream.peer_addr().expect("an address"), live);
        let failed = connect([dead].into_iter()).expect_err("nobody is there");
        assert!(format!("{failed:#}").contains(&dead.to_string()), "{failed:#}");
    }

    #[test]
    fn endpoints_are_read_from_urls() {
        for (url, host, port, is_plain) in [
            ("https://192.0.2.10:6443", "192.0.2.10", 6443, false),
            ("https://[2001:db8::1]:6443/prefix", "2001:db8::1", 6443, false),
            ("https://api.example.org", "api.example.org", 443, false),
            ("http://127.0.0.1", "127.0.0.1", 80, true),
        ] {
            let endpoint = Client::anonymous(url, None).expect(url).endpoint().expect(url);
            assert_eq!(
                (&*endpoint.host, endpoint.port, endpoint.is_plain),
                (host, port, is_plain)
            );
        }
    }
}

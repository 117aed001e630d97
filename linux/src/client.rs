//! HTTPS requests to an API server from outside an agent: a cluster is discovered with them before its CA is known, and administered.

use anyhow::{Context, Result, anyhow, bail, ensure};
use picolet_tls::P256Key;
use picolet_tls::x509;
use rustls::InconsistentKeys;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use ureq::http::header::{HeaderName, HeaderValue};
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Proxy, ProxyProtocol};

/// How long a request may take unless it says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of one API server. Its answers are limited to 10 MB, those of [`Client::stream`] by whoever reads them.
pub struct Client {
    agent: Agent,
    server: String,
    /// Fields of each request: who sends it, and as whom.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Client {
    /// A client of `server` (a URL), which is verified by the CA `authority` (PEM) and sees the certificate chain and the key
    /// `identity` (PEM), if there is one.
    ///
    /// # Errors
    /// There is no CA in `authority`, no key in `identity`, or one that does not belong to its certificate.
    pub fn new(server: &str, authority: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<Self> {
        let client = match identity {
            Some((chain, key)) => {
                let chain = certificates(chain);
                let key = private_key(key).context("client-key")?;
                check_pair(&chain, &key)?;
                Some(ClientCert::new_with_certs(&chain, key))
            }
            None => None,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots(authority).context("certificate-authority")?)
            .client_cert(client)
            .build();
        Ok(Self::with(server, tls))
    }

    /// An unauthenticated client. Without an authority (PEM) the server is not verified: believe nothing that is not proved by itself.
    ///
    /// # Errors
    /// There is no CA in `authority`.
    pub fn anonymous(server: &str, authority: Option<&[u8]>) -> Result<Self> {
        let tls = match authority {
            Some(pem) => TlsConfig::builder().root_certs(roots(pem)?),
            None => TlsConfig::builder().disable_verification(true),
        };
        Ok(Self::with(server, tls.build()))
    }

    /// Sends this field with each request. A sensitive one is left out of logs.
    ///
    /// # Errors
    /// The name or the value is not one of HTTP.
    pub fn with_header(mut self, name: &str, value: &str, is_sensitive: bool) -> Result<Self> {
        let name = HeaderName::try_from(name).with_context(|| format!("{name}: not the name of a header"))?;
        let mut parsed =
            HeaderValue::try_from(value).with_context(|| format!("{name}: not the value of a header"))?;
        parsed.set_sensitive(is_sensitive);
        self.headers.push((name, parsed));
        Ok(self)
    }

    /// Sends this credential, a value of `Authorization`, with each request.
    ///
    /// # Errors
    /// It is not the value of a header.
    pub fn authorized(self, authorization: &str) -> Result<Self> {
        self.with_header("authorization", authorization, true)
    }

    /// Sends all requests through the proxy at `url`, in place of that of the environment.
    ///
    /// # Errors
    /// The URL is malformed, or of a kind that is not supported.
    pub fn with_proxy(mut self, url: &str) -> Result<Self> {
        // The URL can hold a password: it is not shown.
        let proxy = Proxy::new(url).context("proxy-url: not the URL of a proxy")?;
        // ureq is built without the others, and panics.
        ensure!(
            matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https),
            "proxy-url: only http:// and https:// proxies are supported"
        );
        self.agent = agent(self.agent.config().tls_config().clone(), Some(proxy));
        Ok(self)
    }

    fn with(server: &str, tls: TlsConfig) -> Self {
        Self {
            agent: agent(tls, Proxy::try_from_env()),
            server: server.trim_end_matches('/').to_owned(),
            headers: Vec::new(),
        }
    }

    /// The URL of the API server, without a slash at its end.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether a proxy stands between, by the environment.
    pub fn is_proxied(&self) -> bool {
        self.agent.config().proxy().is_some()
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
        for (name, value) in &self.headers {
            request = request.header(name, value);
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

    /// Sends a request with a body of that content type, and returns the body of the answer.
    ///
    /// # Errors
    /// The server does not answer within `limit`, or its answer is a [`Refused`].
    pub fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
        limit: Duration,
    ) -> Result<String> {
        success(self.send(method, path, body, limit)?)
    }

    /// Reads `path` as text.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn text(&self, path: &str, limit: Duration) -> Result<String> {
        self.request(Method::GET, path, None, limit)
    }

    /// Reads the object at `path`.
    ///
    /// # Errors
    /// As [`Client::request`], or the object is none that fits.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let text = self.text(path, REQUEST_TIMEOUT)?;
        serde_json::from_str(&text).with_context(|| format!("{path}: unexpected answer of the API server"))
    }

    /// Reads `path` line by line for at most `limit`, such as a watch.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn stream(&self, path: &str, limit: Duration) -> Result<impl BufRead + use<>> {
        let answer = self.send(Method::GET, path, None, limit)?;
        if answer.status() != 200 {
            success(answer)?;
            bail!("the API server does not let itself be watched");
        }
        Ok(BufReader::new(answer.into_body().into_reader()))
    }
}

fn agent(tls: TlsConfig, proxy: Option<Proxy>) -> Agent {
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        // What is behind the API server, such as a stolen node, must not send an administrator's requests elsewhere.
        .max_redirects(0)
        .timeout_global(Some(REQUEST_TIMEOUT));
    config.build().into()
}

/// Checks that `key` belongs to the first certificate of `chain`, and that both can be used: ureq panics where they cannot.
fn check_pair(chain: &[Certificate<'static>], key: &PrivateKey<'static>) -> Result<()> {
    ensure!(!chain.is_empty(), "client-certificate: not a certificate in PEM");
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec()));
    let der = PrivateKeyDer::try_from(key.der().to_vec()).map_err(|what| anyhow!("client-key: {what}"))?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain.collect(), der, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            bail!("client-key: it does not belong to client-certificate")
        }
        Err(error) => Err(anyhow!(error).context(
            "client-certificate and client-key cannot be used (keys are P-256, P-384, Ed25519, or RSA of 2,048 to 8,192 bits)",
        )),
    }
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

/// Makes text of others fit for a terminal: without control sequences.
pub fn printable(text: &str) -> String {
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

/// What the API server, or a node behind it, has against a request.
#[derive(Debug)]
pub struct Refused {
    /// The status of HTTP.
    pub code: u16,
    message: String,
    /// Where a list that has expired goes on; empty without one.
    pub r#continue: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.message, self.code)
    }
}

impl std::error::Error for Refused {}

/// Whether the API server has answered with this status.
pub fn is_refused(error: &anyhow::Error, code: u16) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.code == code)
}

/// What became of each API server of a cluster, where none gave an answer.
#[derive(Debug)]
pub(crate) struct NoServer(pub(crate) Vec<anyhow::Error>);

impl fmt::Display for NoServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no API server answers")?;
        for (n, failure) in self.0.iter().enumerate() {
            write!(f, "{} {failure:#}", if n == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for NoServer {}

/// Whether the same question may be answered another time: nobody did now, or refused to.
pub(crate) fn may_heal(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => false,
        Some(_) => true,
        None => match error.downcast_ref::<NoServer>() {
            Some(NoServer(failures)) => failures.iter().any(may_heal),
            None => error.is::<Refused>(),
        },
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

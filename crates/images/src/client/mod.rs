//! The client's side of the registry protocol (OCI distribution specification 1.1, pull), sans-IO.
//!
//! A [`Client`] fetches one manifest or blob at a time. Whoever drives it sends what [`Client::request`] writes to the origin
//! that it returns, and hands what arrives to [`Client::take`], until that says [`Step::Done`]. Authentication, redirects and
//! resumption are steps in between.

mod error;
mod exchange;

pub use error::PullError;

use crate::challenge::Challenge;
use crate::digest::{Digest, Digester};
use crate::documents::{ACCEPT, Descriptor};
use crate::reference::Reference;
use crate::url::{Origin, Url, push_number, push_query};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use base64ct::{Base64, Encoding};
use exchange::{Exchange, Plan};
use picolet_http::Method;
use zeroize::Zeroizing;

/// Limit for the length of an index or a manifest in bytes.
pub const MANIFEST_BYTES: u32 = 256 * 1024;
/// Limit for the number of redirects of one request.
const REDIRECTS: u8 = 5;
/// Limit for the number of times that one object is resumed.
const RESUMES: u8 = 8;
/// Limit for the length of user name and password together in bytes.
const CREDENTIALS_BYTES: usize = 4096;

/// User name and password, wiped when dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: Zeroizing<String>,
    /// Password, or a token that a registry takes in its place.
    pub password: Zeroizing<String>,
}

impl Credentials {
    /// The value of an `Authorization` field (RFC 7617), or `None` if they are too long.
    fn to_basic(&self) -> Option<Zeroizing<String>> {
        let length = self.username.len() + 1 + self.password.len();
        if length > CREDENTIALS_BYTES {
            return None;
        }
        let mut pair = Zeroizing::new(String::with_capacity(length));
        pair.push_str(&self.username);
        pair.push(':');
        pair.push_str(&self.password);
        let mut buffer = Zeroizing::new(vec![0; Base64::encoded_len(pair.as_bytes())]);
        let encoded = Base64::encode(pair.as_bytes(), &mut buffer).ok()?;
        Some(joined("Basic ", encoded))
    }
}

/// Joins two strings without leaving a copy behind.
fn joined(scheme: &str, value: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(scheme.len() + value.len()));
    text.push_str(scheme);
    text.push_str(value);
    text
}

/// Where a registry is served: its own address, or a mirror's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    origin: Origin,
    /// The registry that a mirror stands for, sent as `ns`.
    namespace: Option<Box<str>>,
}

impl Endpoint {
    /// The registry of a reference, over TLS. That of `docker.io` is `registry-1.docker.io`.
    pub fn of(reference: &Reference) -> Option<Self> {
        let domain = match reference.domain() {
            "docker.io" => "registry-1.docker.io",
            domain => domain,
        };
        Some(Self {
            origin: Origin::parse(domain, true)?,
            namespace: None,
        })
    }

    /// A mirror at `url`, whose path is ignored, for the registry `domain`; over plain HTTP if the URL says so.
    pub fn mirror(url: &str, domain: &str) -> Option<Self> {
        Some(Self {
            origin: Url::parse(url)?.origin,
            namespace: Some(domain.into()),
        })
    }
}

/// What happens next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Everything was taken: receive more.
    More,
    /// The next piece of the content. It is not verified before [`Step::Done`].
    Piece(&'a [u8]),
    /// Send another request. This connection may be used again for the same origin if `reuse` says so.
    Next {
        /// Whether the connection may be used again.
        reuse: bool,
    },
    /// The content is complete and verified.
    Done {
        /// Whether the connection may be used again.
        reuse: bool,
    },
}

/// What is being fetched.
struct Fetch {
    method: Method,
    path: String,
    is_manifest: bool,
    expected: Option<Digest>,
    size: Option<u32>,
    digester: Digester,
    /// Bytes of content that were handed on.
    received: u32,
    /// Where the next request goes instead of the registry.
    elsewhere: Option<Elsewhere>,
    redirects: u8,
    resumes: u8,
    /// Whether credentials were renewed for the current request.
    authenticated: bool,
    /// The digest that the registry or the content has.
    digest: Option<Digest>,
}

/// Another place than the registry.
enum Elsewhere {
    /// A redirect.
    Redirect(Url),
    /// The token endpoint.
    Token(Url),
}

/// Fetches from one repository of a registry.
pub struct Client {
    endpoint: Endpoint,
    repository: Box<str>,
    credentials: Option<Credentials>,
    /// The value of the `Authorization` field for the registry.
    authorization: Option<Zeroizing<String>>,
    fetch: Fetch,
    exchange: Exchange,
    /// What the registry said about its last failure.
    message: Option<String>,
}

impl Client {
    /// A client for the repository of `reference` at `endpoint`. Credentials are sent only where the registry asks for them.
    pub fn new(endpoint: Endpoint, reference: &Reference, credentials: Option<Credentials>) -> Self {
        Self {
            endpoint,
            repository: reference.path().into(),
            credentials,
            authorization: None,
            fetch: Fetch::new(Method::Get, String::new()),
            exchange: Exchange::default(),
            message: None,
        }
    }

    /// Begins to fetch the manifest that `reference`, a tag or a digest, names. With [`Method::Head`] only its digest.
    ///
    /// # Errors
    /// The digest is of an unsupported algorithm.
    pub fn fetch_manifest(&mut self, method: Method, reference: &str) -> Result<(), PullError> {
        let expected = Digest::parse(reference);
        if expected.is_none() && reference.contains(':') {
            return Err(PullError::Algorithm);
        }
        self.begin(method, "/manifests/", reference);
        self.fetch.is_manifest = true;
        self.fetch.expected = expected;
        Ok(())
    }

    /// Begins to fetch the manifest of a descriptor.
    pub fn fetch_described_manifest(&mut self, descriptor: &Descriptor) {
        self.describe("/manifests/", descriptor);
        self.fetch.is_manifest = true;
    }

    /// Begins to fetch a blob: a configuration or a layer.
    pub fn fetch_blob(&mut self, descriptor: &Descriptor) {
        self.describe("/blobs/", descriptor);
    }

    fn describe(&mut self, kind: &str, descriptor: &Descriptor) {
        let mut digest = String::new();
        descriptor.digest.write(&mut digest);
        self.begin(Method::Get, kind, &digest);
        self.fetch.expected = Some(descriptor.digest);
        self.fetch.size = Some(descriptor.size);
    }

    fn begin(&mut self, method: Method, kind: &str, name: &str) {
        let mut path = String::from("/v2/");
        for part in [&self.repository, kind, name] {
            path.push_str(part);
        }
        if let Some(namespace) = &self.endpoint.namespace {
            push_query(&mut path, "ns", namespace);
        }
        self.fetch = Fetch::new(method, path);
        self.exchange = Exchange::default();
        self.message = None;
    }

    /// The digest of what was fetched; after [`Method::Head`] what the registry says, if it says it.
    pub fn digest(&self) -> Option<Digest> {
        self.fetch.digest
    }

    /// Bytes of content that were handed on so far.
    pub fn received(&self) -> u32 {
        self.fetch.received
    }

    /// Appends the head of the next request to `out` and returns where it goes. The head may have credentials: wipe it.
    pub fn request(&mut self, out: &mut String) -> &Origin {
        self.exchange = Exchange::default();
        let (method, origin, target) = match &self.fetch.elsewhere {
            Some(Elsewhere::Token(url)) => (Method::Get, &url.origin, &*url.target),
            Some(Elsewhere::Redirect(url)) => (self.fetch.method, &url.origin, &*url.target),
            None => (self.fetch.method, &self.endpoint.origin, &*self.fetch.path),
        };
        out.push_str(method.as_str());
        out.push(' ');
        out.push_str(target);
        out.push_str(" HTTP/1.1\r\nHost: ");
        origin.write(out);
        out.push_str("\r\nUser-Agent: picolet\r\n");
        let is_token = matches!(self.fetch.elsewhere, Some(Elsewhere::Token(_)));
        if is_token {
            self.exchange.plan = Plan::Token;
            let basic = self.credentials.as_ref().and_then(Credentials::to_basic);
            push_authorization(out, basic.as_ref());
        } else {
            if self.fetch.is_manifest {
                out.push_str("Accept: ");
                out.push_str(ACCEPT);
                out.push_str("\r\n");
            }
            if self.fetch.received > 0 {
                out.push_str("Range: bytes=");
                push_number(out, self.fetch.received);
                out.push_str("-\r\n");
            }
            if *origin == self.endpoint.origin {
                push_authorization(out, self.authorization.as_ref());
            }
        }
        out.push_str("\r\n");
        origin
    }

    /// Handles the end of the connection: what is missing is requested again.
    ///
    /// # Errors
    /// It failed, or was resumed too often.
    pub fn closed(&mut self) -> Result<Step<'static>, PullError> {
        if let Some(result) = self.exchange.end_at_close() {
            return match result {
                Plan::Deliver if self.fetch.size.is_none_or(|size| size == self.fetch.received) => {
                    self.fetch.verify()?;
                    Ok(Step::Done { reuse: false })
                }
                Plan::Deliver => self.resume(),
                Plan::Fail(error) => Err(self.fail(error)),
                Plan::Token => self.adopt_token(false),
                Plan::Discard => Ok(Step::Next { reuse: false }),
            };
        }
        self.resume()
    }

    fn resume(&mut self) -> Result<Step<'static>, PullError> {
        let fetch = &mut self.fetch;
        fetch.resumes += 1;
        if fetch.resumes > RESUMES {
            return Err(PullError::Disconnected);
        }
        // A signed URL may have expired, and a token.
        fetch.elsewhere = None;
        fetch.redirects = 0;
        fetch.authenticated = false;
        Ok(Step::Next { reuse: false })
    }

    /// Takes bytes off the front of `received`: `Ok((taken, step))`. Call it with the rest until it returns [`Step::More`],
    /// with nothing left too.
    ///
    /// # Errors
    /// The fetch failed and cannot go on; close the connection.
    pub fn take<'a>(&mut self, received: &'a [u8]) -> Result<(usize, Step<'a>), PullError> {
        let mut at = 0;
        if !self.exchange.has_head() {
            at = self.exchange.take_head(received)?;
            if !self.exchange.has_head() {
                return Ok((at, Step::More));
            }
            let without_body = self.fetch.method == Method::Head && self.exchange.plan != Plan::Token;
            self.decide()?;
            if without_body {
                self.exchange.end_body();
            }
        }
        loop {
            let rest = received.get(at..).unwrap_or_default();
            let (taken, piece) = self.exchange.take_body(rest)?;
            at += taken;
            match self.exchange.plan {
                Plan::Deliver => {
                    let piece = self.exchange.skip(piece);
                    if !piece.is_empty() {
                        self.fetch.accept(piece)?;
                        return Ok((at, Step::Piece(piece)));
                    }
                }
                Plan::Token | Plan::Fail(_) => self.exchange.answer(piece),
                Plan::Discard => {}
            }
            if self.exchange.is_done() {
                return Ok((at, self.complete()?));
            }
            if taken == 0 {
                return Ok((at, Step::More));
            }
        }
    }

    /// Decides what the head of a response means.
    fn decide(&mut self) -> Result<(), PullError> {
        let may_authenticate = !self.fetch.authenticated && self.at_registry();
        let exchange = &mut self.exchange;
        let status = exchange.status();
        let offset = self.fetch.received;
        let unexpected = PullError::of_status(status, exchange.fields.retry_after);
        if exchange.plan == Plan::Token {
            match status {
                200 => {}
                401 | 403 => exchange.begin_failure(PullError::Unauthorized),
                _ => exchange.begin_failure(unexpected),
            }
            return Ok(());
        }
        let fields = &mut exchange.fields;
        match status {
            200 => {
                self.fetch.digest = fields.digest;
                exchange.skip = offset;
                exchange.plan = Plan::Deliver;
            }
            206 if offset > 0 => {
                if fields.range != Some(offset) {
                    return Err(PullError::Range);
                }
                exchange.plan = Plan::Deliver;
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = fields.location.take();
                exchange.plan = Plan::Discard;
                self.redirect(&location.unwrap_or_default())?;
            }
            401 if may_authenticate => {
                let challenge = fields.challenge.take();
                self.exchange.plan = Plan::Discard;
                self.fetch.authenticated = true;
                if !self.answer_challenge(challenge)? {
                    self.exchange.begin_failure(PullError::Unauthorized);
                }
            }
            401 => exchange.begin_failure(PullError::Unauthorized),
            404 => exchange.begin_failure(PullError::NotFound),
            _ => exchange.begin_failure(unexpected),
        }
        Ok(())
    }

    /// Whether the current request went to the registry itself.
    fn at_registry(&self) -> bool {
        match &self.fetch.elsewhere {
            Some(Elsewhere::Redirect(url)) => url.origin == self.endpoint.origin,
            _ => true,
        }
    }

    fn redirect(&mut self, location: &str) -> Result<(), PullError> {
        let registry;
        let base = match &self.fetch.elsewhere {
            Some(Elsewhere::Redirect(url)) => url,
            _ => {
                registry = Url {
                    origin: self.endpoint.origin.clone(),
                    target: self.fetch.path.as_str().into(),
                };
                &registry
            }
        };
        let next = base.join(location).ok_or(PullError::Redirect)?;
        // Content is verified, but what a plain request shows is the path and its signature.
        if base.origin.tls && !next.origin.tls {
            return Err(PullError::Insecure);
        }
        self.fetch.redirects += 1;
        if self.fetch.redirects > REDIRECTS {
            return Err(PullError::Redirect);
        }
        self.fetch.elsewhere = Some(Elsewhere::Redirect(next));
        Ok(())
    }

    /// Prepares the answer to a challenge; returns false if there is none to give.
    fn answer_challenge(&mut self, challenge: Option<Challenge>) -> Result<bool, PullError> {
        match challenge {
            Some(Challenge::Basic) => {
                self.authorization = self.credentials.as_ref().and_then(Credentials::to_basic);
                Ok(self.authorization.is_some())
            }
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                self.authorization = None;
                let url = Url::parse(&realm).ok_or(PullError::Challenge)?;
                if self.endpoint.origin.tls && !url.origin.tls {
                    return Err(PullError::Insecure);
                }
                let mut target = String::from(url.target);
                if !service.is_empty() {
                    push_query(&mut target, "service", &service);
                }
                if scope.is_empty() {
                    let mut scope = String::from("repository:");
                    scope.push_str(&self.repository);
                    scope.push_str(":pull");
                    push_query(&mut target, "scope", &scope);
                } else {
                    push_query(&mut target, "scope", &scope);
                }
                self.fetch.elsewhere = Some(Elsewhere::Token(Url {
                    origin: url.origin,
                    target: target.into(),
                }));
                Ok(true)
            }
            None => Err(PullError::Challenge),
        }
    }

    /// Handles the end of a response.
    fn complete(&mut self) -> Result<Step<'static>, PullError> {
        let reuse = self.exchange.may_reuse();
        match self.exchange.plan {
            Plan::Deliver if self.fetch.method == Method::Head => Ok(Step::Done { reuse }),
            Plan::Deliver => {
                self.fetch.verify()?;
                Ok(Step::Done { reuse })
            }
            Plan::Token => self.adopt_token(reuse),
            Plan::Discard => Ok(Step::Next { reuse }),
            Plan::Fail(error) => Err(self.fail(error)),
        }
    }

    fn adopt_token(&mut self, reuse: bool) -> Result<Step<'static>, PullError> {
        let token = self.exchange.take_token().ok_or(PullError::Token)?;
        self.authorization = Some(joined("Bearer ", &token));
        self.fetch.elsewhere = None;
        Ok(Step::Next { reuse })
    }

    fn fail(&mut self, error: PullError) -> PullError {
        self.message = self.exchange.take_message();
        error
    }

    /// Returns the message of an event about `reference`, in containerd's words where it has any.
    pub fn describe_error(&self, error: PullError, reference: &Reference) -> String {
        let mut out = String::new();
        match error {
            PullError::NotFound => {
                out.push_str(reference.as_str());
                out.push_str(": not found");
            }
            PullError::Status(status) | PullError::Unavailable { status, .. } => {
                out.push_str("unexpected status from ");
                out.push_str(self.fetch.method.as_str());
                out.push_str(" request to ");
                let registry = Url {
                    origin: self.endpoint.origin.clone(),
                    target: self.fetch.path.as_str().into(),
                };
                match &self.fetch.elsewhere {
                    Some(Elsewhere::Redirect(url) | Elsewhere::Token(url)) => url.write_for_message(&mut out),
                    None => registry.write_for_message(&mut out),
                }
                out.push_str(": ");
                push_number(&mut out, u32::from(status));
            }
            error => out.push_str(error.as_str()),
        }
        if let Some(message) = &self.message {
            out.push_str(": server message: ");
            out.push_str(message);
        }
        out
    }
}

fn push_authorization(out: &mut String, value: Option<&Zeroizing<String>>) {
    if let Some(value) = value {
        out.push_str("Authorization: ");
        out.push_str(value);
        out.push_str("\r\n");
    }
}

impl Fetch {
    fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            is_manifest: false,
            expected: None,
            size: None,
            digester: Digester::default(),
            received: 0,
            elsewhere: None,
            redirects: 0,
            resumes: 0,
            authenticated: false,
            digest: None,
        }
    }

    /// Takes the next piece of content.
    fn accept(&mut self, piece: &[u8]) -> Result<(), PullError> {
        let limit = self.size.unwrap_or(MANIFEST_BYTES);
        let left = limit.saturating_sub(self.received);
        match u32::try_from(piece.len()) {
            Ok(length) if length <= left => self.received += length,
            _ => return Err(PullError::TooLong),
        }
        self.digester.update(piece);
        Ok(())
    }

    /// Verifies the content, of which there is no more.
    fn verify(&mut self) -> Result<(), PullError> {
        if self.size.is_some_and(|size| size != self.received) {
            return Err(PullError::TooShort);
        }
        let digest = core::mem::take(&mut self.digester).finish();
        if self
            .expected
            .or(self.digest)
            .is_some_and(|expected| expected != digest)
        {
            return Err(PullError::Digest);
        }
        self.digest = Some(digest);
        Ok(())
    }
}

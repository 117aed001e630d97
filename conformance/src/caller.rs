//! Calls to the HTTPS API of a node.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use picolet_controlplane::Identity;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// An HTTPS client that trusts one authority, with or without a certificate of its own.
#[derive(Clone, Debug)]
pub struct Caller(Agent);

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The whole body.
    pub body: String,
}

impl Answer {
    /// Returns the body as JSON.
    ///
    /// # Errors
    ///
    /// When it is none; the error shows it.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:?}", self.body))
    }
}

impl Caller {
    /// A client that trusts `authority` and shows the certificate of `identity`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn new(authority: &Path, identity: Option<&Identity>) -> Result<Self> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let authority = Certificate::from_pem(&read(authority)?)?;
        let client = match identity {
            Some(identity) => Some(ClientCert::new_with_certs(
                &[Certificate::from_pem(&read(&identity.certificate)?)?],
                PrivateKey::from_pem(&read(&identity.key)?)?,
            )),
            None => None,
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(client)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            // A board has two connections for callers: one that stays open between calls is one that another cannot have.
            .max_idle_connections(0)
            .proxy(None)
            .build();
        Ok(Self(agent.into()))
    }

    /// GET.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn get(&self, url: &str) -> Result<Answer> {
        answer(self.0.get(url).call().with_context(|| format!("GET {url}"))?)
    }

    /// GET with a bearer token.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn get_with_token(&self, url: &str, token: &str) -> Result<Answer> {
        let request = self.0.get(url).header("Authorization", format!("Bearer {token}"));
        answer(request.call().with_context(|| format!("GET {url}"))?)
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn post(&self, url: &str, body: &str) -> Result<Answer> {
        let request = self.0.post(url).header("Content-Type", "application/json");
        answer(request.send(body).with_context(|| format!("POST {url}"))?)
    }

    /// PUT of a JSON body, as to an API server.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn put(&self, url: &str, body: &str) -> Result<Answer> {
        let request = self.0.put(url).header("Content-Type", "application/json");
        answer(request.send(body).with_context(|| format!("PUT {url}"))?)
    }

    /// PATCH with a JSON merge patch (RFC 7386), as to an API server.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn merge(&self, url: &str, patch: &str) -> Result<Answer> {
        let request = self.0.patch(url);
        let request = request.header("Content-Type", "application/merge-patch+json");
        answer(request.send(patch).with_context(|| format!("PATCH {url}"))?)
    }

    /// GET, or a POST without a body, with or without a bearer token.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn request(&self, method: &str, url: &str, token: Option<&str>) -> Result<Answer> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let context = || format!("{method} {url}");
        let answered = if method == "POST" {
            let mut request = self.0.post(url);
            if let Some(value) = &authorization {
                request = request.header("Authorization", value);
            }
            request.send_empty()
        } else {
            let mut request = self.0.get(url);
            if let Some(value) = &authorization {
                request = request.header("Authorization", value);
            }
            request.call()
        };
        answer(answered.with_context(context)?)
    }

    /// DELETE, which no path of a node allows.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn delete(&self, url: &str) -> Result<Answer> {
        answer(
            self.0
                .delete(url)
                .call()
                .with_context(|| format!("DELETE {url}"))?,
        )
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    Ok(Answer {
        status: response.status().as_u16(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: response
            .body_mut()
            .read_to_string()
            .context("the body broke off")?,
    })
}

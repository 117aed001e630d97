//! A person's way to a cluster: the kubeconfig's server, and whom it says that they are.

use crate::kubeconfig::{self, Person};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(15);

/// A connection to an API server, as a person.
pub(crate) struct Client {
    agent: Agent,
    server: String,
    authorization: Option<String>,
}

impl Client {
    /// The current context of `path`, or of `~/.kube/config`.
    pub(crate) fn from_kubeconfig(path: Option<&Path>) -> Result<Self> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"));
        let path = path.map(Path::to_path_buf).or_else(home);
        let path = path.context("--kubeconfig says which cluster: there is no home directory to look in")?;
        Self::new(kubeconfig::read_person(&path)?)
    }

    fn new(person: Person) -> Result<Self> {
        let client = match (&person.client_certificate, &person.client_key) {
            (Some(chain), Some(key)) => {
                let chain = ureq::tls::parse_pem(chain)
                    .filter_map(|item| match item {
                        Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect::<Vec<_>>();
                let key = PrivateKey::from_pem(key).context("client-key")?;
                Some(ClientCert::new_with_certs(&chain, key))
            }
            _ => None,
        };
        let authority =
            Certificate::from_pem(&person.certificate_authority).context("certificate-authority")?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(client)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST));
        Ok(Self {
            agent: config.build().into(),
            server: person.server.trim_end_matches('/').to_owned(),
            authorization: person.token.map(|token| format!("Bearer {token}")),
        })
    }

    fn ask(&self, path: &str, limit: Duration) -> Result<Response<ureq::Body>> {
        let mut request = self.agent.get(format!("{}{path}", self.server));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.config().timeout_global(Some(limit)).build();
        request
            .call()
            .with_context(|| format!("{} does not answer", self.server))
    }

    /// Reads an object or a list.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.find(path)?.with_context(|| format!("{path}: HTTP 404"))
    }

    /// Reads an object; `None` where there is none.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.ask(path, REQUEST)?;
        if answer.status() == 404 {
            return Ok(None);
        }
        object(answer).map(Some)
    }

    /// Follows a watch: a line for each event.
    pub(crate) fn stream(&self, path: &str, limit: Duration) -> Result<impl BufRead + use<>> {
        let answer = self.ask(path, limit)?;
        if answer.status() != 200 {
            object(answer)?;
            bail!("the API server does not let itself be watched");
        }
        Ok(BufReader::new(answer.into_body().into_reader()))
    }

    /// Replaces an object.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<()> {
        let mut request = self.agent.put(format!("{}{path}", self.server));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.header("Content-Type", "application/json");
        let answer = request.send(body.to_string());
        object(answer.with_context(|| format!("{} does not answer", self.server))?).map(drop)
    }
}

/// The object of an answer, or what the API server has against it.
fn object(mut answer: Response<ureq::Body>) -> Result<Value> {
    let code = answer.status().as_u16();
    let text = answer
        .body_mut()
        .read_to_string()
        .context("the answer broke off")?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    if !(200..300).contains(&code) {
        let message = value["message"].as_str().unwrap_or(text.trim());
        bail!("{message} (HTTP {code})");
    }
    Ok(value)
}

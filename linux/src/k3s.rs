//! A cluster of k3s, found and believed by its token, as its agents do it (`pkg/clientaccess` of k3s).
//!
//! `/cacerts` is what anybody can read, and can be anybody's; the hash in the full token says whether it is right. Who may call
//! nodes is vouched for by another authority than the API server's, which is told to whoever shows the token.

use crate::client::{Client, is_refused};
use anyhow::{Context, Result, bail, ensure};
use base16ct::lower::encode_string as hex;
use picolet_kubelet::k3s::{authorization, credential};
use picolet_store::settings::{is_bootstrap_token, is_k3s_token};
use picolet_tls::x509::{certificates_from_pem, pem};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Where a server of k3s keeps what agents join with.
const TOKEN_FILE: &str = "/var/lib/rancher/k3s/server/node-token";

/// The authorities of a cluster, PEM.
pub struct Cluster {
    /// The token in full.
    pub token: String,
    /// Of the API server's certificate.
    pub authority: Vec<u8>,
    /// Of those who call nodes.
    pub clients: Vec<u8>,
}

/// The full form of a token, if it is one of k3s. The short form does not say which cluster it is for: `authority` (PEM) has to.
/// `from_k3s` says that nothing but a token of k3s is meant.
///
/// # Errors
/// It is a short one, and there is no authority; or it is malformed. The token is not shown.
pub fn full_token(token: &str, authority: Option<&[u8]>, from_k3s: bool) -> Result<Option<String>> {
    if is_k3s_token(token.as_bytes()) {
        return Ok(Some(token.to_owned()));
    }
    if is_bootstrap_token(token.as_bytes()) && !from_k3s {
        return Ok(None);
    }
    let told = match credential(token) {
        Some(told) if token.starts_with("K10::") => told,
        Some(_) => {
            bail!("its hash is not of 64 hexadecimal digits; take the whole token of {TOKEN_FILE}")
        }
        None => token,
    };
    let told = match told.contains(':') || is_bootstrap_token(told.as_bytes()) {
        true => told.to_owned(),
        false => format!("node:{told}"),
    };
    // A bare word can be anything, unless it comes as K3S_TOKEN.
    let is_short = from_k3s || token.contains(':');
    let hash = authority.filter(|_| is_short).map(Sha256::digest).with_context(|| {
        format!(
            "this is neither a bootstrap token (6 lower-case letters and digits, a dot, and 16 more: kubeadm token create \
             prints one) nor the full token of a k3s cluster (K10, a hash, :: and more: {TOKEN_FILE}). k3s's short form, node:SECRET, \
             does not say which cluster it is for: give --certificate-authority too"
        )
    })?;
    let full = format!("K10{}::{told}", hex(&hash));
    ensure!(
        is_k3s_token(full.as_bytes()),
        "this is no token of k3s; take that of {TOKEN_FILE}"
    );
    Ok(Some(full))
}

/// What of `bundle` (PEM) the hash in `token` speaks for: all of it, or the one root whose fingerprint it is.
pub(crate) fn matching(bundle: &[u8], token: &str) -> Result<Vec<u8>> {
    let wanted = token.get(3..67).unwrap_or_default().to_lowercase();
    if hex(&Sha256::digest(bundle)) == wanted {
        return Ok(bundle.to_vec());
    }
    for der in certificates_from_pem(bundle)? {
        if hex(&Sha256::digest(&der)) == wanted {
            return Ok(pem("CERTIFICATE", &der).into_bytes());
        }
    }
    bail!(
        "it is for a cluster whose authority has the hash {wanted}, and the server shows another one, {}. Either the token \
         is another cluster's, or somebody stands between; {TOKEN_FILE} of a server has the right one",
        hex(&Sha256::digest(bundle))
    );
}

impl Cluster {
    /// Asks a server for what `token` (in full, given by `origin`) does not say. An `authority` or `clients` that is given is not asked for.
    pub fn find(
        server: &str,
        (token, origin): (String, &str),
        authority: Option<Vec<u8>>,
        clients: Option<Vec<u8>>,
    ) -> Result<Self> {
        is_secure(server)?;
        let authority = match authority {
            Some(authority) => authority,
            None => {
                let shown = Client::anonymous(server, None)?
                    .text("/cacerts", ANSWER)
                    .with_context(|| {
                        format!("{server} does not show its authority; is it a server of k3s?")
                    })?;
                matching(shown.as_bytes(), &token).with_context(|| origin.to_owned())?
            }
        };
        let clients = match clients {
            Some(clients) => clients,
            None => client_authority(server, &authority, &token).with_context(|| origin.to_owned())?,
        };
        Ok(Self {
            token,
            authority,
            clients,
        })
    }
}

fn is_secure(server: &str) -> Result<()> {
    ensure!(
        server.starts_with("https://"),
        "--server {server}: a k3s token is sent to https:// servers only"
    );
    Ok(())
}

/// The certificates in `text`, which came from `place`.
fn vouching(text: String, place: &str) -> Result<Vec<u8>> {
    certificates_from_pem(text.as_bytes()).with_context(|| place.to_owned())?;
    Ok(text.into_bytes())
}

/// Asks who vouches for those who call nodes. The server proves first to be of that authority.
fn client_authority(server: &str, authority: &[u8], token: &str) -> Result<Vec<u8>> {
    let client = Client::anonymous(server, Some(authority))?.authorized(&authorization(token))?;
    let answer = client.text("/v1-k3s/client-ca.crt", ANSWER);
    let text = answer.map_err(|error| match (is_refused(&error, 401), is_refused(&error, 403)) {
        (true, _) => error.context(format!(
            "the token is wrong or has expired: use that of {TOKEN_FILE}, or create one with `k3s token create`"
        )),
        (_, true) => error.context(format!(
            "this token cannot join nodes: use that of {TOKEN_FILE}, or create one with `k3s token create`"
        )),
        _ => error.context(format!(
            "{server} does not serve the client CA (/v1-k3s/client-ca.crt): is it a k3s server?"
        )),
    })?;
    vouching(text, &format!("{server}: /v1-k3s/client-ca.crt"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn authority() -> (String, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let made = CertificateParams::default().self_signed(&key).expect("made");
        (made.pem(), made.der().to_vec())
    }

    #[test]
    fn a_full_token_says_which_authority_is_right() {
        let ((one, one_der), (other, _)) = (authority(), authority());
        let token = |hash: &[u8]| format!("K10{}::server:s3cret", hex(hash));
        let by_file = token(&Sha256::digest(&one));
        assert_eq!(matching(one.as_bytes(), &by_file).expect("it"), one.as_bytes());
        let refused = matching(other.as_bytes(), &by_file)
            .expect_err("another")
            .to_string();
        assert!(
            refused.contains("somebody stands between") && !refused.contains("s3cret"),
            "{refused}"
        );
        // Of a bundle only the root that was named counts: the rest can be anybody's.
        let by_root = token(&Sha256::digest(&one_der));
        let found = matching(format!("{other}{one}").as_bytes(), &by_root).expect("it");
        assert_eq!(certificates_from_pem(&found).expect("PEM"), [one_der]);
    }

    #[test]
    fn short_tokens_need_an_authority() {
        let bootstrap = "abcdef.0123456789abcdef";
        let full = |token: &str, from_k3s| full_token(token, Some(b"PEM"), from_k3s).expect("a token");
        assert_eq!(full(bootstrap, false), None);
        let hash = hex(&Sha256::digest(b"PEM"));
        assert_eq!(full(bootstrap, true), Some(format!("K10{hash}::{bootstrap}")));
        assert!(full_token("s3cret", Some(b"PEM"), false).is_err());
        assert_eq!(full("s3cret", true), Some(format!("K10{hash}::node:s3cret")));
        assert_eq!(
            full("K10::server:s3cret", false),
            Some(format!("K10{hash}::server:s3cret"))
        );
        let whole = format!("K10{}::server:s3cret", "0".repeat(64));
        assert_eq!(full_token(&whole, None, false).expect("a token"), Some(whole));
        for short in ["s3cret", "K10::server:s3cret"] {
            let refused = format!("{:#}", full_token(short, None, false).expect_err("short"));
            assert!(
                refused.contains("--certificate-authority") && !refused.contains("s3cret"),
                "{refused}"
            );
        }
        assert!(full_token("a b", Some(b"PEM"), true).is_err());
        assert!(full_token("K10abc::server:s3cret", Some(b"PEM"), true).is_err());
    }
}

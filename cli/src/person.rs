//! Who an administrator is to a cluster: by a kubeconfig, or in a pod by its ServiceAccount.

use anyhow::{Context, Result, bail};
use picolet_linux::files;
use picolet_linux::kubeconfig::{CurrentContext, Part};
use std::path::Path;

/// How a person reaches a cluster. Certificates and keys are PEM.
pub(crate) struct Person {
    pub(crate) server: String,
    pub(crate) certificate_authority: Vec<u8>,
    pub(crate) client_certificate: Option<Vec<u8>>,
    pub(crate) client_key: Option<Vec<u8>>,
    pub(crate) token: Option<String>,
}

/// Reads the current context of the kubeconfig at `path`, for somebody with a certificate of any kind or a token.
pub(crate) fn read(path: &Path) -> Result<Person> {
    let read = || {
        let context = CurrentContext::read(path)?;
        let person = Person {
            server: context.server().to_owned(),
            certificate_authority: context
                .pem(Part::CertificateAuthority, None)?
                .context("there is neither certificate-authority nor certificate-authority-data")?,
            client_certificate: context.pem(Part::ClientCertificate, None)?,
            client_key: context.pem(Part::ClientKey, None)?,
            token: context.token()?,
        };
        if person.client_certificate.is_none() && person.token.is_none() {
            bail!(
                "the user has neither a certificate nor a token (a plugin's is not asked for): use kubectl certificate approve NAME, or another kubeconfig"
            );
        }
        Ok(person)
    };
    read().with_context(|| format!("--kubeconfig {}", path.display()))
}

/// Where a pod finds the account that it runs as, and the variables that say where the API server is (client-go's
/// `rest.InClusterConfig`).
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
pub(crate) const SERVICE: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// Who a pod is, by the folder that it has of its ServiceAccount.
pub(crate) fn in_cluster(account: &Path, host: &str, port: &str) -> Result<Person> {
    let server = match host.parse() {
        Ok(std::net::IpAddr::V6(host)) => format!("https://[{host}]:{port}"),
        _ => format!("https://{host}:{port}"),
    };
    let authority = account.join("ca.crt");
    let token = account.join("token");
    let token = files::read_to_string(&token).with_context(|| token.display().to_string())?;
    Ok(Person {
        server,
        certificate_authority: files::read(&authority).with_context(|| authority.display().to_string())?,
        client_certificate: None,
        client_key: None,
        token: Some(token.trim().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=}}]
users: [{name: u, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
current-context: c
";

    #[test]
    fn a_pod_is_its_service_account() {
        let folder = std::env::temp_dir().join(format!("picolet-account-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        assert!(in_cluster(&folder, "192.0.2.1", "443").is_err());
        std::fs::write(folder.join("ca.crt"), "CA").expect("a file");
        std::fs::write(folder.join("token"), "first\n").expect("a file");
        let person = in_cluster(&folder, "192.0.2.1", "443").expect("an account");
        assert_eq!(person.server, "https://192.0.2.1:443");
        assert_eq!(
            (&person.certificate_authority[..], person.token.as_deref()),
            (&b"CA"[..], Some("first"))
        );
        let person = in_cluster(&folder, "2001:db8::1", "6443").expect("an account");
        assert_eq!(person.server, "https://[2001:db8::1]:6443");

        // A kubeconfig too may name the file, which is then read each time.
        let config = GOOD.replace(
            "client-certificate-data: Q0VSVA==, client-key-data: S0VZ",
            "tokenFile: token",
        );
        std::fs::write(folder.join("config"), config).expect("a file");
        for token in ["first", "second"] {
            std::fs::write(folder.join("token"), token).expect("a file");
            let person = read(&folder.join("config")).expect("a kubeconfig");
            assert_eq!(person.token.as_deref(), Some(token));
        }
        std::fs::remove_dir_all(&folder).expect("it is gone");
    }
}

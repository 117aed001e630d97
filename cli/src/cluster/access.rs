//! Which cluster an administrator means, and as whom: by a kubeconfig, or in a pod by its ServiceAccount.

use super::plugin;
use anyhow::{Context, Result, bail};
use clap::Args;
use picolet_linux::files;
use picolet_linux::kubeconfig::{Impersonation, Part, ResolvedContext};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where a pod finds its ServiceAccount, and the variables that name the API server (client-go's `rest.InClusterConfig`).
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const SERVICE: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// The flags that select a cluster.
#[derive(Args, Clone, Default)]
pub(crate) struct ClusterArguments {
    /// Kubeconfig of the cluster's administrator [default: the files in $KUBECONFIG, ~/.kube/config, or in a pod its
    /// ServiceAccount]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// API server and credentials of an administrator. Certificates and keys are PEM.
pub(crate) struct Access {
    pub(crate) server: String,
    pub(crate) certificate_authority: Vec<u8>,
    /// Certificate chain and key.
    pub(crate) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) token: Option<String>,
    pub(crate) proxy: Option<String>,
    pub(crate) impersonation: Option<Impersonation>,
}

/// What the environment of the process says of clusters.
pub(crate) struct Environment {
    /// `$KUBECONFIG`: paths, separated as in `$PATH`.
    kubeconfig: Option<OsString>,
    /// `~/.kube/config`
    home: Option<PathBuf>,
    /// Host and port of the API server that a pod may call.
    service: [Option<String>; 2],
    /// Directory of a pod's ServiceAccount.
    account: PathBuf,
}

/// Where access comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Kubeconfig {
        /// In messages.
        origin: String,
        paths: Vec<PathBuf>,
    },
    ServiceAccount {
        host: String,
        port: String,
    },
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG"),
            home: std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config")),
            service: SERVICE.map(|name| std::env::var(name).ok()),
            account: SERVICE_ACCOUNT.into(),
        }
    }

    /// Whether it names a kubeconfig, which need not exist.
    pub(crate) fn names_kubeconfig(&self) -> bool {
        !self.listed().is_empty()
    }

    /// The files in `$KUBECONFIG`. An empty variable is as none.
    fn listed(&self) -> Vec<PathBuf> {
        let paths = std::env::split_paths(self.kubeconfig.as_deref().unwrap_or_default());
        paths.filter(|path| !path.as_os_str().is_empty()).collect()
    }

    /// Selects the source. A file that is named and missing is an error: no other identity acts in its place. Among several in
    /// `$KUBECONFIG` missing ones are skipped, as client-go does.
    fn source(&self, flag: Option<&Path>) -> Result<Source> {
        if let Some(path) = flag {
            return Ok(Source::Kubeconfig {
                origin: format!("--kubeconfig {}", path.display()),
                paths: vec![path.to_owned()],
            });
        }
        let listed = self.listed();
        if !listed.is_empty() {
            let existing: Vec<PathBuf> = listed.iter().filter(|path| path.exists()).cloned().collect();
            return Ok(Source::Kubeconfig {
                origin: "KUBECONFIG".to_owned(),
                paths: if existing.is_empty() { listed } else { existing },
            });
        }
        let of_home = |home: &Path| Source::Kubeconfig {
            origin: "kubeconfig".to_owned(),
            paths: vec![home.to_owned()],
        };
        match (&self.home, &self.service) {
            (Some(home), _) if home.exists() => Ok(of_home(home)),
            (_, [Some(host), Some(port)]) => Ok(Source::ServiceAccount {
                host: host.clone(),
                port: port.clone(),
            }),
            (Some(home), _) => Ok(of_home(home)),
            (None, _) => {
                bail!("no kubeconfig: pass --kubeconfig or set KUBECONFIG (there is no home directory)")
            }
        }
    }
}

impl ClusterArguments {
    /// Reads the credentials, and asks the credential plugin of the user for them if there is one.
    ///
    /// # Errors
    /// A file is missing, or has a field that is not supported; the plugin fails.
    pub(crate) fn resolve(&self, environment: &Environment) -> Result<Access> {
        match environment.source(self.kubeconfig.as_deref())? {
            Source::Kubeconfig { origin, paths } => {
                from_kubeconfig(&paths, self.context.as_deref()).context(origin)
            }
            Source::ServiceAccount { .. } if self.context.is_some() => {
                bail!("--context needs a kubeconfig, and there is none in this pod")
            }
            Source::ServiceAccount { host, port } => from_service_account(&environment.account, &host, &port),
        }
    }
}

fn from_kubeconfig(paths: &[PathBuf], context: Option<&str>) -> Result<Access> {
    let context = ResolvedContext::load(paths, context)?;
    let mut access = Access {
        server: context.server()?.to_owned(),
        certificate_authority: context
            .pem(Part::CertificateAuthority, None)?
            .context("neither certificate-authority nor certificate-authority-data is set")?,
        client_certificate: None,
        token: context.token()?,
        proxy: context.proxy().map(str::to_owned),
        impersonation: context.impersonation()?,
    };
    let certificate = context.pem(Part::ClientCertificate, None)?;
    access.client_certificate = match (certificate, context.pem(Part::ClientKey, None)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => bail!("client-certificate is set, and client-key is not"),
        (None, Some(_)) => bail!("client-key is set, and client-certificate is not"),
    };
    // As in client-go, a plugin is asked only where nothing else says who the user is.
    if access.client_certificate.is_none()
        && access.token.is_none()
        && let Some((plugin, cluster)) = context.plugin()
    {
        let credential = plugin::run(plugin, cluster, &access.certificate_authority)?;
        access.client_certificate = credential.client_certificate;
        access.token = credential.token;
    }
    if access.client_certificate.is_none() && access.token.is_none() {
        bail!("the user has no credentials: set client-certificate and client-key, token, tokenFile or exec");
    }
    Ok(access)
}

fn from_service_account(account: &Path, host: &str, port: &str) -> Result<Access> {
    let server = match host.parse() {
        Ok(std::net::IpAddr::V6(host)) => format!("https://[{host}]:{port}"),
        _ => format!("https://{host}:{port}"),
    };
    let authority = account.join("ca.crt");
    let token = account.join("token");
    let token = files::read_to_string(&token).with_context(|| token.display().to_string())?;
    Ok(Access {
        server,
        certificate_authority: files::read(&authority).with_context(|| authority.display().to_string())?,
        client_certificate: None,
        token: Some(token.trim().to_owned()),
        proxy: None,
        impersonation: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=}}]
users: [{name: u, user: {tokenFile: token}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
current-context: c
";

    /// The environment of a pod with the home directory `folder`.
    fn pod(folder: &Path) -> Environment {
        Environment {
            kubeconfig: None,
            home: Some(folder.join("config")),
            service: [Some("192.0.2.1".into()), Some("443".into())],
            account: folder.to_owned(),
        }
    }

    #[test]
    fn access_is_the_service_account_when_a_pod_has_no_kubeconfig() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut pod = pod(folder.path());
        let arguments = ClusterArguments::default();
        assert!(arguments.resolve(&pod).is_err());
        std::fs::write(folder.path().join("ca.crt"), "CA").expect("a file");
        std::fs::write(folder.path().join("token"), "first\n").expect("a file");
        let access = arguments.resolve(&pod).expect("an account");
        assert_eq!(access.server, "https://192.0.2.1:443");
        assert_eq!(
            (&access.certificate_authority[..], access.token.as_deref()),
            (&b"CA"[..], Some("first"))
        );
        pod.service = [Some("2001:db8::1".into()), Some("6443".into())];
        let access = arguments.resolve(&pod).expect("an account");
        assert_eq!(access.server, "https://[2001:db8::1]:6443");
        let with_context = ClusterArguments {
            context: Some("c".into()),
            ..ClusterArguments::default()
        };
        assert!(with_context.resolve(&pod).is_err());
    }

    #[test]
    fn token_file_is_read_each_time_when_access_is_resolved() {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("config"), GOOD).expect("a file");
        for token in ["first", "second"] {
            std::fs::write(folder.path().join("token"), token).expect("a file");
            let access = ClusterArguments::default().resolve(&pod(folder.path()));
            assert_eq!(access.expect("a kubeconfig").token.as_deref(), Some(token));
        }
    }

    #[test]
    fn source_is_never_another_one_when_a_named_file_is_missing() {
        let folder = tempfile::tempdir().expect("a directory");
        let missing = folder.path().join("missing");
        let there = folder.path().join("config");
        std::fs::write(&there, GOOD).expect("a file");
        let mut pod = pod(folder.path());
        let paths = |pod: &Environment, flag: Option<&Path>| match pod.source(flag).expect("a source") {
            Source::Kubeconfig { paths, .. } => paths,
            source => panic!("{source:?}"),
        };
        assert_eq!(paths(&pod, Some(&missing)), std::slice::from_ref(&missing));
        pod.kubeconfig = Some(missing.clone().into());
        assert_eq!(paths(&pod, None), std::slice::from_ref(&missing));
        assert!(ClusterArguments::default().resolve(&pod).is_err());
        // A list skips what is missing, and an empty variable is none.
        let list = std::env::join_paths([Path::new(""), &missing, &there]).expect("a list");
        pod.kubeconfig = Some(list);
        assert_eq!(paths(&pod, None), std::slice::from_ref(&there));
        pod.kubeconfig = Some(OsString::new());
        assert!(!pod.names_kubeconfig());
        assert_eq!(paths(&pod, None), [there]);
    }
}

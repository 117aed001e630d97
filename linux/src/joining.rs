//! What a node joins its cluster with, and where that was given: by a flag, in a file, or by an environment variable.
//!
//! A variable fills in what no flag says. Where a flag has decided already, the variable is ignored with a warning that names
//! it: variables are often exported for something else, and a node must not become another one because of them.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The variables of tokens; that of k3s as its own agents read it.
const TOKEN: &str = "PICOLET_TOKEN";
const K3S_TOKEN: &str = "K3S_TOKEN";
/// The variable that says where the API server is, as agents of k3s read it.
pub const K3S_URL: &str = "K3S_URL";

/// The longest file that may hold a token; k3s has tokens of a few hundred characters.
const LONGEST: usize = 4096;

/// A bootstrap token, or one of k3s.
pub struct Token {
    /// The token itself, of at most a few hundred characters.
    pub secret: String,
    /// The flag or the variable that it came from.
    pub origin: String,
}

impl Token {
    /// Whether nothing but a token of k3s is meant.
    pub fn is_of_k3s(&self) -> bool {
        self.origin == K3S_TOKEN
    }
}

/// What was given on the command line.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// `--token`
    pub token: Option<&'a str>,
    /// `--token-file`
    pub token_file: Option<&'a Path>,
    /// `--server`
    pub servers: &'a [String],
    /// `--kubeconfig` or `--client-certificate`, if one of them says already who the node is.
    pub identity: Option<&'static str>,
    /// Whether that flag says where the API server is, too.
    pub names_server: bool,
}

/// What counts, and what a person should know of it.
pub struct Joining {
    /// The token, unless none was given or a certificate says who the node is.
    pub token: Option<Token>,
    /// The URLs of the API servers, in order; not checked.
    pub servers: Vec<String>,
    /// Variables that are ignored, and why.
    pub warnings: Vec<String>,
}

impl Joining {
    /// Takes what was `given`, and the rest from the environment.
    ///
    /// # Errors
    /// The token's file cannot be read, or holds no token.
    pub fn new(given: Given<'_>) -> Result<Self> {
        Self::with(given, |name| std::env::var(name).ok())
    }

    fn with(given: Given<'_>, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        // An empty variable is one that is not set, as in a unit file or a manifest.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut warnings = Vec::new();
        let mut token = match (given.token, given.token_file) {
            (Some(secret), _) => Some(Token {
                secret: secret.to_owned(),
                origin: "--token".to_owned(),
            }),
            (None, Some(path)) => Some(read(path)?),
            (None, None) => None,
        };
        let is_given = token.is_some();
        for name in [TOKEN, K3S_TOKEN] {
            let Some(secret) = variable(name).filter(|_| !is_given) else {
                continue;
            };
            match (given.identity, &token) {
                (Some(flag), _) => warnings.push(format!(
                    "{name} is ignored: {flag} says who the node is; unset one of them"
                )),
                (None, Some(other)) => {
                    warnings.push(format!("{name} is ignored: {} is set, too", other.origin));
                }
                (None, None) => {
                    token = Some(Token {
                        secret,
                        origin: name.to_owned(),
                    });
                }
            }
        }
        let mut servers = given.servers.to_vec();
        if let Some(server) = variable(K3S_URL).filter(|_| servers.is_empty()) {
            match given.identity.filter(|_| given.names_server) {
                Some(flag) => warnings.push(format!(
                    "{K3S_URL} is ignored: {flag} says where the API server is; pass --server for another one"
                )),
                None => servers.push(server),
            }
        }
        Ok(Self {
            token,
            servers,
            warnings,
        })
    }
}

/// Reads a token from the first line of a file.
fn read(path: &Path) -> Result<Token> {
    let origin = format!("--token-file {}", path.display());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| origin.clone())?;
    let text = str::from_utf8(&bytes).unwrap_or_default();
    let secret = text.lines().next().unwrap_or_default().trim();
    ensure!(
        bytes.len() <= LONGEST && !secret.is_empty(),
        "{origin}: its first line has to be a token"
    );
    Ok(Token {
        secret: secret.to_owned(),
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(&str, &str); 3] = [
        (TOKEN, "s3cret-1"),
        (K3S_TOKEN, "s3cret-2"),
        (K3S_URL, "https://k3s"),
    ];

    fn with(given: Given<'_>, variables: &[(&str, &str)]) -> Joining {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Joining::with(given, find).expect("it can be read")
    }

    fn told(joining: &Joining) -> Option<(&str, &str)> {
        let token = joining.token.as_ref()?;
        Some((&token.secret, &token.origin))
    }

    #[test]
    fn variables_fill_in_what_no_flag_says() {
        let joining = with(Given::default(), &ALL);
        assert_eq!(told(&joining), Some(("s3cret-1", TOKEN)));
        assert_eq!(joining.servers, ["https://k3s"]);
        assert_eq!(
            joining.warnings.len(),
            1,
            "the other token: {:?}",
            joining.warnings
        );
        assert!(joining.warnings[0].contains(K3S_TOKEN), "{:?}", joining.warnings);

        let servers = ["https://flag".to_owned()];
        let given = Given {
            token: Some("flag"),
            servers: &servers,
            ..Given::default()
        };
        let joining = with(given, &ALL);
        assert_eq!(told(&joining), Some(("flag", "--token")));
        assert_eq!(joining.servers, servers);
        assert!(joining.warnings.is_empty(), "{:?}", joining.warnings);

        assert!(with(Given::default(), &[(TOKEN, "")]).token.is_none());
        let joining = with(Given::default(), &[(K3S_TOKEN, "two")]);
        assert!(joining.token.is_some_and(|token| token.is_of_k3s()));
    }

    #[test]
    fn variables_are_ignored_by_name_when_a_flag_says_who_the_node_is() {
        for (flag, names_server) in [("--kubeconfig", true), ("--client-certificate", false)] {
            let given = Given {
                identity: Some(flag),
                names_server,
                ..Given::default()
            };
            let joining = with(given, &ALL);
            assert!(joining.token.is_none());
            assert_eq!(joining.servers.is_empty(), names_server);
            let mut ignored = vec![TOKEN, K3S_TOKEN];
            ignored.extend(names_server.then_some(K3S_URL));
            assert_eq!(joining.warnings.len(), ignored.len());
            for (warning, name) in joining.warnings.iter().zip(ignored) {
                assert!(warning.contains(name) && warning.contains(flag), "{warning}");
                assert!(!warning.contains("s3cret"), "{warning}");
            }
        }
    }

    #[test]
    fn token_file_holds_one_token() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("token");
        let given = Given {
            token_file: Some(&path),
            ..Given::default()
        };
        let read = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            Joining::with(given, |_| None)
        };
        let joining = read("abcdef.0123456789abcdef\r\n# from kubeadm\n").expect("a token");
        let (secret, origin) = told(&joining).expect("a token");
        assert_eq!(secret, "abcdef.0123456789abcdef");
        assert!(origin.starts_with("--token-file") && !origin.contains(secret));
        for wrong in ["", "\n", &"x".repeat(LONGEST + 1)] {
            let error = read(wrong).err().expect("no token");
            assert!(error.to_string().contains("--token-file"), "{error}");
        }
    }
}

//! Who calls, and what they may do.
//!
//! A caller is known by a client certificate of the cluster's CA or by a bearer token; nobody else learns more than
//! that they are nobody. Kubernetes' own table says which part of a node a path belongs to
//! (`pkg/kubelet/server/auth.go`), so that access can be granted to that part alone. No secret is ever written
//! anywhere from here.

use crate::address::Address;
use crate::agent::Agent;
use crate::server::http::Method;
use crate::server::routes::Route;
use crate::settings::Settings;
use core::fmt;
use core::net::IpAddr;
use picolet_platform::{Credential, Network};
use subtle::ConstantTimeEq;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity<'a> {
    /// Somebody with a certificate of the client CA.
    Certificate,
    /// The holder of a static token, by name.
    Token(&'a str),
    /// Anybody, on the read-only port of lab mode.
    ReadOnlyPort,
}

/// A caller as the log shows it: `192.0.2.7`, `prometheus@192.0.2.7`.
pub(super) struct Caller<'a> {
    pub(super) peer: IpAddr,
    pub(super) identity: Option<Identity<'a>>,
}

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity {
            Some(Identity::Certificate) => f.write_str("certificate@")?,
            Some(Identity::Token(user)) => write!(f, "{user}@")?,
            Some(Identity::ReadOnlyPort) | None => {}
        }
        Address(self.peer).fmt(f)
    }
}

/// Finds out who calls. `None` is nobody: 401.
pub(super) fn authenticate<'a>(
    settings: &'a Settings,
    credential: Credential,
    token: Option<&str>,
) -> Option<Identity<'a>> {
    match credential {
        Credential::Certificate => return Some(Identity::Certificate),
        Credential::ReadOnlyPort => return Some(Identity::ReadOnlyPort),
        Credential::None => {}
    }
    let token = token.filter(|token| !token.is_empty())?;
    // All are compared, each in a time that tells nothing but its length.
    let mut found = None;
    for known in &settings.static_tokens {
        if bool::from(known.token.as_bytes().ct_eq(token.as_bytes())) {
            found = Some(Identity::Token(&known.user));
        }
    }
    found
}

/// Which subresources of `nodes` a path belongs to; access to one of them is enough (
/// `GetRequestAttributes` of Kubernetes 1.36).
const SUBRESOURCES: [(&str, &[&str]); 10] = [
    ("/pods", &["pods", "proxy"]),
    ("/healthz", &["healthz", "proxy"]),
    ("/configz", &["configz", "proxy"]),
    ("/runningpods", &["pods", "proxy"]),
    ("/stats", &["stats"]),
    ("/metrics", &["metrics"]),
    ("/logs", &["log"]),
    ("/checkpoint", &["checkpoint"]),
    ("/statusz", &["statusz"]),
    ("/flagz", &["configz"]),
];

/// The subresources of `nodes` that `path` belongs to, the narrowest first.
pub(super) fn subresources(path: &str) -> &'static [&'static str] {
    SUBRESOURCES
        .iter()
        .find(|(prefix, _)| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .map_or(&["proxy"], |(_, subresources)| subresources)
}

/// The verb that a method stands for. `HEAD` shows no more than `GET`.
pub(super) const fn verb(method: Method) -> &'static str {
    match method {
        Method::Get | Method::Head => "get",
        Method::Post => "create",
        Method::Put => "update",
        Method::Patch => "patch",
        Method::Delete => "delete",
        Method::Other => "",
    }
}

/// Whether `identity` may do this. Whoever the cluster's CA or the settings vouch for may do everything, as with a
/// kubelet whose authorization mode is `AlwaysAllow`; this is where the API server is asked instead.
pub(super) async fn authorize<P, N: Network, R>(
    _agent: &Agent<P, N, R>,
    identity: Identity<'_>,
    verb: &str,
    route: Route,
    _subresources: &[&str],
) -> bool {
    match identity {
        Identity::Certificate | Identity::Token(_) => true,
        Identity::ReadOnlyPort => verb == "get" && (route.is_public_in_lab_mode() || route == Route::Other),
    }
}

/// What somebody is told who may not: as a kubelet says it.
pub(super) struct Forbidden<'a> {
    pub(super) identity: Identity<'a>,
    pub(super) verb: &'static str,
    pub(super) subresources: &'static [&'static str],
}

impl fmt::Display for Forbidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = match self.identity {
            Identity::ReadOnlyPort => {
                return f
                    .write_str("the read-only port serves /healthz, /metrics, /pods and /spec to be read");
            }
            Identity::Certificate => "certificate",
            Identity::Token(user) => user,
        };
        write!(
            f,
            "Forbidden (user={user}, verb={}, resource=nodes, subresource(s)=[",
            self.verb
        )?;
        for (index, subresource) in self.subresources.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(subresource)?;
        }
        f.write_str("])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::StaticToken;
    use crate::testing::settings;
    use std::string::ToString;

    #[test]
    fn who_is_somebody() {
        let mut settings = settings();
        settings.static_tokens = std::vec![
            StaticToken {
                token: "s3cret".into(),
                user: "prometheus".into()
            },
            StaticToken {
                token: "other".into(),
                user: "ops".into()
            },
        ];
        let token = |token| authenticate(&settings, Credential::None, token);
        assert_eq!(token(Some("s3cret")), Some(Identity::Token("prometheus")));
        assert_eq!(token(Some("other")), Some(Identity::Token("ops")));
        for wrong in [None, Some(""), Some("s3cre"), Some("s3crets"), Some("S3cret")] {
            assert_eq!(token(wrong), None, "{wrong:?}");
        }
        assert_eq!(
            authenticate(&settings, Credential::Certificate, None),
            Some(Identity::Certificate)
        );
        settings.static_tokens.push(StaticToken {
            token: "".into(),
            user: "nobody".into(),
        });
        assert_eq!(
            authenticate(&settings, Credential::None, Some("")),
            None,
            "an empty token is none"
        );
    }

    #[test]
    fn the_table_of_a_kubelet() {
        for (path, expected) in [
            ("/pods", &["pods", "proxy"][..]),
            ("/pods/", &["pods", "proxy"]),
            ("/podsmith", &["proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/ping", &["healthz", "proxy"]),
            ("/configz", &["configz", "proxy"]),
            ("/stats/summary", &["stats"]),
            ("/metrics", &["metrics"]),
            ("/metrics/resource", &["metrics"]),
            ("/logs/x", &["log"]),
            ("/checkpoint/a/b/c", &["checkpoint"]),
            ("/statusz", &["statusz"]),
            ("/flagz", &["configz"]),
            ("/readyz", &["proxy"]),
            ("/containerLogs/a/b/c", &["proxy"]),
            ("/pico/command", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
    }

    #[test]
    fn a_refusal_says_what_it_would_take() {
        let forbidden = Forbidden {
            identity: Identity::Token("ops"),
            verb: "get",
            subresources: subresources("/pods"),
        };
        assert_eq!(
            forbidden.to_string(),
            "Forbidden (user=ops, verb=get, resource=nodes, subresource(s)=[pods proxy])"
        );
    }
}

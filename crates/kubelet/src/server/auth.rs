//! Who calls, and what they may do.
//!
//! A caller is known by a client certificate of the cluster's CA or by a bearer token; nobody else learns more than
//! that they are nobody. What somebody may do the cluster's own authorizers say, and Kubernetes' own table which part of a
//! node a path belongs to (`pkg/kubelet/server/auth.go`), so that access can be granted to that part alone. No secret is
//! ever written anywhere from here.

use super::ServedNode;
use crate::client::ApiError;
use crate::host::Host;
use crate::server::reviews::Reviews;
use crate::server::routes::Route;
use crate::settings::Settings;
use alloc::rc::Rc;
use core::fmt;
use core::net::IpAddr;
use picolet_http::Method;
use picolet_kube::Address;
use picolet_kube::review::User;
use subtle::ConstantTimeEq;

/// What is known of a caller when its connection is there.
pub(super) enum Shown {
    Nothing,
    /// A certificate of the client CA.
    User(Rc<User>),
    /// The read-only port of lab mode.
    ReadOnlyPort,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Whom a certificate or a token names.
    User(Rc<User>),
    /// Nobody, where nobody has to be anybody.
    Anonymous,
    /// Anybody, on the read-only port of lab mode.
    ReadOnlyPort,
}

/// A caller as the log shows it: `192.0.2.7`, `prometheus@192.0.2.7`.
pub(super) struct Caller<'a> {
    pub(super) peer: IpAddr,
    pub(super) identity: Option<&'a Identity>,
}

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Identity::User(user)) = self.identity {
            write!(f, "{user}@")?;
        }
        Address(self.peer).fmt(f)
    }
}

/// Finds out who calls as far as nobody has to be asked.
pub(super) fn recognize(
    settings: &Settings,
    shown: &Shown,
    token: Option<&str>,
    method: Method,
    route: Route,
) -> Option<Identity> {
    match shown {
        Shown::User(user) => return Some(Identity::User(user.clone())),
        Shown::ReadOnlyPort => return Some(Identity::ReadOnlyPort),
        Shown::Nothing => {}
    }
    let Some(token) = token else {
        let open = settings.anonymous_health && route == Route::Healthz && method.reads();
        return open.then_some(Identity::Anonymous);
    };
    // All are compared, each in a time that tells nothing but its length.
    let mut found = None;
    for known in settings
        .static_tokens
        .iter()
        .filter(|known| !known.token.is_empty())
    {
        if bool::from(known.token.as_bytes().ct_eq(token.as_bytes())) {
            found = Some(&known.user);
        }
    }
    found.map(|user| Identity::User(Rc::new(User::new(user, []))))
}

/// Which subresources of `nodes` a path belongs to; access to one of them is enough (
/// `GetRequestAttributes` of Kubernetes 1.36). What is read below `/pico` are figures; its commands are nobody's who may only
/// read them.
const SUBRESOURCES: [(&str, &[&str]); 12] = [
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
    ("/pico/command", &["proxy"]),
    ("/pico", &["metrics"]),
];

/// Paths below which a command is run or a connection is opened in a container, whatever the method: `GET` opens a
/// WebSocket. A kubelet takes the verb of the method (`pkg/kubelet/server/auth.go`, `GetRequestAttributes`), so that the
/// right to read `nodes/proxy` is enough to run commands as root there. Here `create` is needed.
const COMMANDS: [&str; 4] = ["/exec", "/attach", "/portForward", "/run"];

/// Whether `path` is `prefix` or lies below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("/"))
}

/// The subresources of `nodes` that `path` belongs to, the narrowest first.
pub(super) fn subresources(path: &str) -> &'static [&'static str] {
    SUBRESOURCES
        .iter()
        .find(|(prefix, _)| is_below(path, prefix))
        .map_or(&["proxy"], |(_, subresources)| subresources)
}

/// The verb that a request stands for. `HEAD` shows no more than `GET`.
pub(super) fn verb(method: Method, path: &str) -> &'static str {
    if COMMANDS.iter().any(|command| is_below(path, command)) {
        return "create";
    }
    match method {
        Method::Get | Method::Head => "get",
        Method::Post => "create",
        Method::Put => "update",
        Method::Patch => "patch",
        Method::Delete => "delete",
        Method::Other => "",
    }
}

/// Whether `identity` may do this, which one of the subresources is enough for.
///
/// # Errors
/// When it is not known and the API server does not say; and of which subresource.
pub(super) async fn authorize<H: Host>(
    node: &ServedNode<'_, H>,
    reviews: &Reviews,
    identity: &Identity,
    verb: &str,
    route: Route,
    subresources: &[&'static str],
) -> Result<bool, (ApiError, &'static str)> {
    let user = match identity {
        Identity::User(user) => user,
        Identity::ReadOnlyPort => {
            return Ok(verb == "get" && (route.is_public_in_lab_mode() || route == Route::Other));
        }
        Identity::Anonymous => return Ok(verb == "get" && route == Route::Healthz),
    };
    for subresource in subresources {
        let allowed = reviews.allows(node, user, verb, subresource).await;
        if allowed.map_err(|error| (error, *subresource))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What somebody is told who may not: as a kubelet says it.
pub(super) struct Forbidden<'a> {
    pub(super) identity: &'a Identity,
    pub(super) verb: &'static str,
    pub(super) subresources: &'static [&'static str],
}

impl fmt::Display for Forbidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity::User(user) = self.identity else {
            return f.write_str("the read-only port serves /healthz, /metrics, /pods and /spec to be read");
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

    fn named(name: &str) -> Identity {
        Identity::User(Rc::new(User::new(name, [])))
    }

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
            StaticToken {
                token: "".into(),
                user: "nobody".into(),
            },
        ];
        let recognize = |settings: &Settings, token, method, route| {
            recognize(settings, &Shown::Nothing, token, method, route)
        };
        let token = |token| recognize(&settings, token, Method::Get, Route::Pods);
        assert_eq!(token(Some("s3cret")), Some(named("prometheus")));
        assert_eq!(token(Some("other")), Some(named("ops")));
        for wrong in [None, Some(""), Some("s3cre"), Some("s3crets"), Some("S3cret")] {
            assert_eq!(token(wrong), None, "{wrong:?}");
        }
        assert_eq!(recognize(&settings, None, Method::Get, Route::Healthz), None);
        settings.anonymous_health = true;
        for (token, method, route, known) in [
            (None, Method::Get, Route::Healthz, true),
            (None, Method::Head, Route::Healthz, true),
            (None, Method::Post, Route::Healthz, false),
            (None, Method::Get, Route::Livez, false),
            (None, Method::Get, Route::Pods, false),
            (Some("wrong"), Method::Get, Route::Healthz, false),
        ] {
            let found = recognize(&settings, token, method, route);
            assert_eq!(found, known.then_some(Identity::Anonymous), "{token:?} {route:?}");
        }
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
            ("/pico/status", &["metrics"]),
            ("/pico/memory", &["metrics"]),
            ("/pico/command", &["proxy"]),
            ("/picolet", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
    }

    #[test]
    fn commands_need_create_whatever_the_method() {
        for path in [
            "/exec/a/b/c",
            "/attach/a/b/c",
            "/portForward/a/b",
            "/run/a/b/c",
            "/run",
        ] {
            for method in [
                Method::Get,
                Method::Head,
                Method::Post,
                Method::Delete,
                Method::Other,
            ] {
                assert_eq!(verb(method, path), "create", "{method:?} {path}");
            }
        }
        for path in ["/runningpods/", "/containerLogs/a/b/c", "/executable", "/pods"] {
            assert_eq!(verb(Method::Get, path), "get", "{path}");
            assert_eq!(verb(Method::Post, path), "create", "{path}");
        }
    }

    #[test]
    fn a_refusal_says_what_it_would_take() {
        let forbidden = Forbidden {
            identity: &named("ops"),
            verb: "get",
            subresources: subresources("/pods"),
        };
        assert_eq!(
            forbidden.to_string(),
            "Forbidden (user=ops, verb=get, resource=nodes, subresource(s)=[pods proxy])"
        );
    }
}

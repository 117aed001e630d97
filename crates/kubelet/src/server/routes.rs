//! The paths of the kubelet API, and what may be done at each.

use picolet_http::Method;

/// Where a request goes. Also what a request is counted as, so that the label has few values whatever is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Healthz,
    Livez,
    Readyz,
    Pods,
    RunningPods,
    Spec,
    Configz,
    Metrics,
    MetricsResource,
    MetricsCadvisor,
    MetricsProbes,
    StatsSummary,
    ContainerLogs,
    Exec,
    Attach,
    PortForward,
    Run,
    PicoStatus,
    PicoMemory,
    PicoGpio,
    PicoCommand,
    /// Nothing that is known here.
    Other,
}

/// A path, how many segments may follow it, and whether it is read, written to, or both.
struct Entry {
    path: &'static str,
    route: Route,
    parameters: (usize, usize),
    get: bool,
    post: bool,
}

const fn get(path: &'static str, route: Route) -> Entry {
    Entry {
        path,
        route,
        parameters: (0, 0),
        get: true,
        post: false,
    }
}

/// `/{namespace}/{pod}/{container}`, for streams with the pod's uid before the container.
const fn stream(
    path: &'static str,
    route: Route,
    parameters: (usize, usize),
    get: bool,
    post: bool,
) -> Entry {
    Entry {
        path,
        route,
        parameters,
        get,
        post,
    }
}

const TABLE: [Entry; 21] = [
    get("/healthz", Route::Healthz),
    get("/livez", Route::Livez),
    get("/readyz", Route::Readyz),
    get("/pods", Route::Pods),
    get("/runningpods", Route::RunningPods),
    get("/spec", Route::Spec),
    get("/configz", Route::Configz),
    get("/metrics", Route::Metrics),
    get("/metrics/resource", Route::MetricsResource),
    get("/metrics/cadvisor", Route::MetricsCadvisor),
    get("/metrics/probes", Route::MetricsProbes),
    get("/stats/summary", Route::StatsSummary),
    stream("/containerLogs", Route::ContainerLogs, (3, 3), true, false),
    stream("/exec", Route::Exec, (3, 4), true, true),
    stream("/attach", Route::Attach, (3, 4), true, true),
    stream("/portForward", Route::PortForward, (2, 3), true, true),
    stream("/run", Route::Run, (3, 4), false, true),
    get("/pico/status", Route::PicoStatus),
    get("/pico/memory", Route::PicoMemory),
    get("/pico/gpio", Route::PicoGpio),
    Entry {
        path: "/pico/command",
        route: Route::PicoCommand,
        parameters: (0, 0),
        get: false,
        post: true,
    },
];

/// Where a path leads.
pub(super) struct Found<'a> {
    pub(super) route: Route,
    /// The segments behind the path that has parameters.
    pub(super) parameters: &'a str,
    /// What `Allow` says where the method is not one of them.
    pub(super) allow: Option<&'static str>,
}

/// Finds where `path` leads. A slash at its end changes nothing.
pub(super) fn find(method: Method, path: &str) -> Found<'_> {
    let path = path.strip_suffix("/").unwrap_or(path);
    for entry in &TABLE {
        let Some(parameters) = path.strip_prefix(entry.path) else {
            continue;
        };
        let (least, most) = entry.parameters;
        let count = parameters.bytes().filter(|byte| *byte == b'/').count();
        let whole = parameters.is_empty() || parameters.starts_with("/");
        if !whole || !(least..=most).contains(&count) {
            continue;
        }
        let allow = match (entry.get, entry.post) {
            (true, false) if !method.reads() => Some("GET, HEAD"),
            (false, true) if method != Method::Post => Some("POST"),
            (true, true) if !method.reads() && method != Method::Post => Some("GET, HEAD, POST"),
            _ => None,
        };
        return Found {
            route: entry.route,
            parameters: parameters.get(1..).unwrap_or_default(),
            allow,
        };
    }
    Found {
        route: Route::Other,
        parameters: "",
        allow: None,
    }
}

impl Route {
    /// Its name in metrics and in the log.
    pub(super) fn name(self) -> &'static str {
        TABLE
            .iter()
            .find(|entry| entry.route == self)
            .map_or("other", |entry| entry.path)
    }

    /// Whether the read-only port of lab mode serves it.
    pub(super) const fn is_public_in_lab_mode(self) -> bool {
        matches!(self, Self::Healthz | Self::Metrics | Self::Pods | Self::Spec)
    }
}

/// Whether errors at `path` have the form of `/pico/*` instead of a Kubernetes `Status`.
pub(super) fn is_pico(path: &str) -> bool {
    path.starts_with("/pico/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let found = |path| {
            let found = find(Method::Get, path);
            (found.route, found.parameters)
        };
        assert_eq!(found("/healthz"), (Route::Healthz, ""));
        assert_eq!(found("/runningpods/"), (Route::RunningPods, ""));
        assert_eq!(found("/metrics/resource"), (Route::MetricsResource, ""));
        assert_eq!(
            found("/containerLogs/ns/pod/c"),
            (Route::ContainerLogs, "ns/pod/c")
        );
        assert_eq!(found("/exec/ns/pod/uid/c"), (Route::Exec, "ns/pod/uid/c"));
        assert_eq!(found("/portForward/ns/pod"), (Route::PortForward, "ns/pod"));
        for nowhere in [
            "",
            "/",
            "/healthzz",
            "/healthz/x",
            "/containerLogs",
            "/containerLogs/ns/pod",
            "/exec/a/b/c/d/e",
            "//pods",
        ] {
            assert_eq!(found(nowhere), (Route::Other, ""), "{nowhere}");
        }
    }

    #[test]
    fn methods() {
        let allow = |method, path| find(method, path).allow;
        assert_eq!(allow(Method::Head, "/pods"), None);
        assert_eq!(allow(Method::Post, "/pods"), Some("GET, HEAD"));
        assert_eq!(allow(Method::Get, "/pico/command"), Some("POST"));
        assert_eq!(allow(Method::Other, "/exec/a/b/c"), Some("GET, HEAD, POST"));
        assert_eq!(allow(Method::Post, "/exec/a/b/c"), None);
    }
}

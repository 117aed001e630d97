//! Containers of pods, for `kubectl logs`, `exec`, `attach` and `port-forward`.
//!
//! What is not there is said in the very words of Kubernetes' kubelet (`pkg/kubelet/server/server.go`,
//! `pkg/kubelet/kubelet_pods.go`): `kubectl` shows them to a person as they are.

use crate::server::kubelet::query_value;
use crate::server::response::{Answer, Quoted};
use crate::server::routes::Route;
use picolet_kube::pod::Pod;

/// Answers `/{namespace}/{pod}[/{uid}][/{container}]` below one of the paths that lead into a container. `find` looks for
/// the pod.
pub(super) fn answer<'p>(
    route: Route,
    parameters: &str,
    query: &str,
    find: impl FnOnce(&str, &str) -> Option<&'p Pod>,
) -> Answer<'static> {
    let mut segments = [""; 4];
    for (segment, text) in segments.iter_mut().zip(parameters.split('/')) {
        *segment = text;
    }
    let [namespace, name, third, fourth] = segments;
    // The uid, where there is one, stands before the container.
    let container = if fourth.is_empty() { third } else { fourth };
    let logs = route == Route::ContainerLogs;
    if logs {
        for (part, missing) in [
            (name, "podID"),
            (container, "container name"),
            (namespace, "podNamespace"),
        ] {
            if part.is_empty() {
                return Answer::text(400, &format_args!(r#"{{"message": "Missing {missing}."}}"#));
            }
        }
    }
    let streams = ["input", "output", "error"];
    if matches!(route, Route::Exec | Route::Attach)
        && !streams
            .iter()
            .any(|stream| query_value(query, stream) == Some("1"))
    {
        return Answer::text(400, &"you must specify at least 1 of stdin, stdout, stderr");
    }
    let quoted = (Quoted(name), Quoted(container));
    let Some(pod) = find(namespace, name) else {
        return if logs {
            Answer::text(404, &format_args!("pod {} does not exist", quoted.0))
        } else {
            Answer::text(404, &"pod does not exist")
        };
    };
    match route {
        Route::ContainerLogs => {
            let mut containers = pod.init_containers.iter().chain(&pod.containers);
            if containers.any(|known| *known.name == *container) {
                Answer::text(
                    400,
                    &format_args!("container {} in pod {} is not available", quoted.1, quoted.0),
                )
            } else {
                Answer::text(
                    404,
                    &format_args!("container {} not found in pod {}", quoted.1, quoted.0),
                )
            }
        }
        Route::Attach => Answer::text(
            500,
            &format_args!("container {container} not found in pod {name}_{namespace}"),
        ),
        Route::PortForward if !third.is_empty() && *third != *pod.metadata.uid => {
            Answer::text(404, &"pod not found")
        }
        Route::PortForward => Answer::text(500, &format_args!("pod not found (\"{name}_{namespace}\")")),
        _ => Answer::text(500, &format_args!("container not found ({})", quoted.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::Method;
    use crate::server::response::Body;
    use crate::server::routes;
    use picolet_kube::pod::Container;

    #[test]
    fn containers_that_do_not_run() {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.namespace = "default".into();
        pod.metadata.uid = "uid-web".into();
        pod.init_containers.push(Container {
            name: "init".into(),
            ..Container::default()
        });
        pod.containers.push(Container {
            name: "app".into(),
            ..Container::default()
        });
        for (method, path, query, code, want) in [
            (
                Method::Get,
                "/containerLogs/default/web/app",
                "",
                400,
                r#"container "app" in pod "web" is not available"#,
            ),
            (
                Method::Get,
                "/containerLogs/default/web/init",
                "follow=true",
                400,
                r#"container "init" in pod "web" is not available"#,
            ),
            (
                Method::Get,
                "/containerLogs/default/web/c2",
                "",
                404,
                r#"container "c2" not found in pod "web""#,
            ),
            (
                Method::Get,
                "/containerLogs/default/none/app",
                "",
                404,
                r#"pod "none" does not exist"#,
            ),
            (
                Method::Get,
                "/containerLogs/other/web/app",
                "",
                404,
                r#"pod "web" does not exist"#,
            ),
            (
                Method::Get,
                r#"/containerLogs/other/a\"b/app"#,
                "",
                404,
                r#"pod "a\\\"b" does not exist"#,
            ),
            (
                Method::Get,
                "/containerLogs/default//app",
                "",
                400,
                r#"{"message": "Missing podID."}"#,
            ),
            (
                Method::Get,
                "/containerLogs//web/app",
                "",
                400,
                r#"{"message": "Missing podNamespace."}"#,
            ),
            (
                Method::Get,
                "/exec/default/web/app",
                "command=ls",
                400,
                "you must specify at least 1 of stdin, stdout, stderr",
            ),
            (
                Method::Get,
                "/exec/default/none/app",
                "output=1&command=ls",
                404,
                "pod does not exist",
            ),
            (
                Method::Post,
                "/exec/default/web/app",
                "error=1",
                500,
                r#"container not found ("app")"#,
            ),
            (
                Method::Get,
                "/exec/default/web/uid-web/app",
                "output=1",
                500,
                r#"container not found ("app")"#,
            ),
            (
                Method::Get,
                "/attach/default/web/app",
                "input=1",
                500,
                "container app not found in pod web_default",
            ),
            (
                Method::Get,
                "/portForward/default/none",
                "",
                404,
                "pod does not exist",
            ),
            (
                Method::Get,
                "/portForward/default/web/uid-other",
                "",
                404,
                "pod not found",
            ),
            (
                Method::Get,
                "/portForward/default/web/uid-web",
                "",
                500,
                r#"pod not found ("web_default")"#,
            ),
            (
                Method::Get,
                "/portForward/default/web",
                "",
                500,
                r#"pod not found ("web_default")"#,
            ),
            (
                Method::Post,
                "/run/default/none/app",
                "cmd=ls",
                404,
                "pod does not exist",
            ),
            (
                Method::Post,
                "/run/default/web/app",
                "cmd=ls",
                500,
                r#"container not found ("app")"#,
            ),
        ] {
            let found = routes::find(method, path);
            assert_eq!(found.allow, None, "{path}");
            let answer = answer(found.route, found.parameters, query, |namespace, name| {
                Some(&pod).filter(|_| (namespace, name) == ("default", "web"))
            });
            let Body::Whole(body) = answer.body else {
                panic!("{path} is answered in pieces");
            };
            assert_eq!((answer.code, &*body), (code, want), "{path}");
            assert!(answer.media_type.starts_with("text/plain"), "{path}");
        }
    }
}

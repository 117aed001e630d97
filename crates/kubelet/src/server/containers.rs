//! Containers of pods, for `kubectl logs`, `exec`, `attach` and `port-forward`.
//!
//! What is not there is said in the very words of Kubernetes' kubelet (`pkg/kubelet/server/server.go`,
//! `pkg/kubelet/kubelet_pods.go`): `kubectl` shows them to a person as they are.

use crate::server::kubelet::query_value;
use crate::server::log_reader::Options;
use crate::server::response::{Answer, Quoted};
use crate::server::routes::Route;
use alloc::string::String;
use picolet_kube::pod::Pod;
use picolet_kube::{Timestamp, integer};

/// Answers `/{namespace}/{pod}[/{uid}][/{container}]` below one of the paths that lead into a container. `find` looks for
/// the pod, `read` reads its log: `None` of a pod that has none, and `None` in it where there was no container before.
// In a frame of its own, as most that a server answers is.
#[inline(never)]
pub(super) fn answer<'p, 's>(
    route: Route,
    parameters: &str,
    query: &str,
    find: impl FnOnce(&str, &str) -> Option<&'p Pod>,
    read: impl Fn(&Pod, Options) -> Option<Option<Answer<'s>>>,
) -> Answer<'s> {
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
    let options = match log_options(query) {
        Err((code, message)) if logs => return Answer::text(*code, message),
        options => options.unwrap_or_default(),
    };
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
            let stream = query_value(query, "stream").filter(|stream| *stream != "All");
            if !containers.any(|known| *known.name == *container) {
                Answer::text(
                    404,
                    &format_args!("container {} not found in pod {}", quoted.1, quoted.0),
                )
            } else if let Some(stream) = stream {
                Answer::text(
                    400,
                    &format_args!(
                        "unable to return the given log stream: {}. Please enable PodLogsQuerySplitStreams feature gate in kubelet",
                        Quoted(stream)
                    ),
                )
            } else {
                match read(pod, options) {
                    Some(Some(log)) => log,
                    Some(None) => Answer::text(
                        400,
                        &format_args!(
                            "previous terminated container {} in pod {} not found",
                            quoted.1, quoted.0
                        ),
                    ),
                    None => Answer::text(
                        400,
                        &format_args!("container {} in pod {} is not available", quoted.1, quoted.0),
                    ),
                }
            }
        }
        Route::Exec | Route::Run | Route::Attach | Route::PortForward
            if (fourth.is_empty() || *third == *pod.metadata.uid)
                && (route == Route::PortForward
                    || pod.containers.iter().any(|known| *known.name == *container))
                && read(pod, options).is_some() =>
        {
            no_processes(route, quoted.0, quoted.1)
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

/// Answers for the node's own pod, which runs and has neither processes nor a network namespace.
fn no_processes<'s>(route: Route, pod: Quoted<'_>, container: Quoted<'_>) -> Answer<'s> {
    if route == Route::PortForward {
        return Answer::text(
            500,
            &format_args!("pod {pod} has no processes that listen on a port"),
        );
    }
    let verb = match route {
        Route::Attach => "attach to",
        _ => "execute",
    };
    Answer::text(
        500,
        &format_args!(
            "container {container} in pod {pod} has no processes to {verb}: it is the log of the node"
        ),
    )
}

/// The options of a request for logs, or what is wrong with them, which a kubelet looks at before it looks for the pod
/// (`getContainerLogs`; `ValidatePodLogOptions` in `pkg/apis/core/v1/validation/validation.go`).
fn log_options(query: &str) -> Result<Options, &'static (u16, &'static str)> {
    const UNREADABLE: &(u16, &str) = &(400, r#"{"message": "Unable to decode query."}"#);
    const INVALID: &(u16, &str) = &(422, r#"{"message": "Invalid request."}"#);
    let number = |key: &str| match query_value(query, key) {
        None => Ok(None),
        Some(text) => integer(text, 10).map(Some).ok_or(UNREADABLE),
    };
    // `tail` is the older name of `tailLines`, and comes before it.
    let tail = match query_value(query, "tail") {
        Some("all") => None,
        Some("") | None => number("tailLines")?,
        Some(_) => number("tail")?,
    };
    let limit = number("limitBytes")?;
    let seconds = number("sinceSeconds")?;
    let time = query_value(query, "sinceTime");
    let since_time = match time {
        None | Some("" | "null") => None,
        Some(text) => Some(Timestamp::parse(&decoded(text)).ok_or(UNREADABLE)?),
    };
    let stream = query_value(query, "stream");
    if tail.is_some_and(|lines| lines < 0)
        || limit.is_some_and(|bytes| bytes < 1)
        || seconds.is_some_and(|seconds| seconds < 1)
        || (seconds.is_some() && time.is_some())
        || stream.is_some_and(|stream| !matches!(stream, "All" | "Stdout" | "Stderr"))
        || (tail.is_some() && stream.is_some_and(|stream| stream != "All"))
    {
        return Err(INVALID);
    }
    // Whatever does not say no says yes (`Convert_Slice_string_To_bool` in `k8s.io/apimachinery/pkg/runtime`).
    let flag = |key: &str| {
        query_value(query, key).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    };
    // As much as nothing on this device has.
    let whole = |number: Option<i64>| number.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    Ok(Options {
        follow: flag("follow"),
        previous: flag("previous"),
        timestamps: flag("timestamps"),
        tail: whole(tail),
        limit: whole(limit),
        since_seconds: whole(seconds),
        since_time,
    })
}

/// A time out of a query: its colons and its plus may be written as `%3A` and `%2B`. What is longer than a time is none, nor is
/// what is not ASCII.
fn decoded(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.as_bytes();
    while out.len() <= 40 {
        let (byte, tail) = match rest {
            [] => return out,
            [b'%', b'3', b'A' | b'a', tail @ ..] => (b':', tail),
            [b'%', b'2', b'B' | b'b', tail @ ..] => (b'+', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        out.push(byte.into());
        rest = tail;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::response::Body;
    use crate::server::routes;
    use picolet_http::Method;
    use picolet_kube::pod::Container;

    fn web() -> Pod {
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
        pod
    }

    #[test]
    fn containers_that_do_not_run() {
        let pod = web();
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
                "/containerLogs/default/web/app",
                "stream=Stdout",
                400,
                r#"unable to return the given log stream: "Stdout". Please enable PodLogsQuerySplitStreams feature gate in kubelet"#,
            ),
            (
                Method::Get,
                "/containerLogs/default/none/app",
                "tailLines=-1",
                422,
                r#"{"message": "Invalid request."}"#,
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
            let find =
                |namespace: &str, name: &str| Some(&pod).filter(|_| (namespace, name) == ("default", "web"));
            let answer = answer(found.route, found.parameters, query, find, |_, _| None);
            let Body::Whole(body) = answer.body else {
                panic!("{path} is answered in pieces");
            };
            assert_eq!((answer.code, &*body), (code, want), "{path}");
            assert!(answer.media_type.starts_with("text/plain"), "{path}");
        }
    }

    #[test]
    fn exec_says_that_there_are_no_processes_when_the_container_runs_without_any() {
        let pod = web();
        for (method, path, query, want) in [
            (
                Method::Post,
                "/exec/default/web/app",
                "output=1&command=ls",
                r#"container "app" in pod "web" has no processes to execute: it is the log of the node"#,
            ),
            (
                Method::Post,
                "/run/default/web/app",
                "cmd=ls",
                r#"container "app" in pod "web" has no processes to execute: it is the log of the node"#,
            ),
            (
                Method::Get,
                "/attach/default/web/uid-web/app",
                "input=1",
                r#"container "app" in pod "web" has no processes to attach to: it is the log of the node"#,
            ),
            (
                Method::Get,
                "/portForward/default/web",
                "",
                r#"pod "web" has no processes that listen on a port"#,
            ),
            (
                Method::Post,
                "/exec/default/web/other",
                "output=1",
                r#"container not found ("other")"#,
            ),
        ] {
            let found = routes::find(method, path);
            let answer = answer(
                found.route,
                found.parameters,
                query,
                |_, _| Some(&pod),
                |_, _| Some(None),
            );
            let Body::Whole(body) = answer.body else {
                panic!("{path} is answered in pieces");
            };
            assert_eq!((answer.code, &*body), (500, want), "{path}");
        }
    }

    #[test]
    fn options_of_logs() {
        let unreadable = (400, r#"{"message": "Unable to decode query."}"#);
        let invalid = (422, r#"{"message": "Invalid request."}"#);
        for query in [
            "",
            "follow=true&previous=&timestamps=yes",
            "tailLines=0&limitBytes=1&sinceSeconds=1",
            "tail=all&tailLines=x",
            "tail=&tailLines=3",
            "sinceTime=2026-11-22T12%3A00%3A00Z",
            "sinceTime=2026-11-22T12:00:00.5%2b01%3a00",
            "sinceTime=",
            "stream=All&tailLines=3",
            "stream=Stderr",
        ] {
            assert!(log_options(query).is_ok(), "{query}");
        }
        assert_eq!(
            log_options("follow=true&timestamps=1&previous=false&tailLines=3&limitBytes=9&sinceSeconds=5"),
            Ok(Options {
                follow: true,
                timestamps: true,
                previous: false,
                tail: Some(3),
                limit: Some(9),
                since_seconds: Some(5),
                since_time: None,
            })
        );
        assert_eq!(
            log_options("follow=0&previous&timestamps=False").map(|o| (o.follow, o.previous, o.timestamps)),
            Ok((false, true, false))
        );
        assert_eq!(
            log_options("sinceTime=2026-11-22T12%3A00%3A00Z").map(|o| o.since_time),
            Ok(Some(crate::testing::START))
        );
        for query in [
            "tailLines=x",
            "tailLines=",
            "tailLines=1.5",
            "tail=x&tailLines=3",
            "limitBytes=99999999999999999999",
            "sinceSeconds=1h",
            "sinceTime=yesterday",
            "sinceTime=%3",
            "sinceTime=%C3%BC&tailLines=-1",
            "sinceTime=2026-11-22T12:00:00.00000000000000000000000000000000Z",
        ] {
            assert_eq!(log_options(query), Err(&unreadable), "{query}");
        }
        for query in [
            "tailLines=-1",
            "tail=-1",
            "limitBytes=0",
            "limitBytes=-1",
            "sinceSeconds=0",
            "sinceSeconds=1&sinceTime=2026-11-22T12:00:00Z",
            "sinceSeconds=1&sinceTime=",
            "stream=stdout",
            "stream=",
            "stream=Stdout&tailLines=3",
        ] {
            assert_eq!(log_options(query), Err(&invalid), "{query}");
        }
    }
}

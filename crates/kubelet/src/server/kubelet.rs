//! What a kubelet tells about itself: whether it is well, what runs on it, which machine it is, how it is set.

use crate::health::LOW_MEMORY;
use crate::host::Host;
use crate::node::pod_capacity;
use crate::server::Server;
use crate::server::response::{Answer, JSON, Quoted};
use alloc::string::String;
use core::fmt::{self, Display};
use picolet_kube::json::Writer;
use picolet_platform::{Clock, Duration, Memory, Network, System};

/// A node that was not heard for so long is not ready to be relied on: by then the control plane doubts it, too.
const HEARTBEAT_AGE: Duration = Duration::from_secs(60);
/// Where the API server looks for a kubelet that reports no port of its own.
const PORT: u16 = 10250;

/// Whether the API server hears the node.
#[derive(Clone, Copy)]
enum Heartbeat {
    Fresh,
    /// So long ago.
    Old(Duration),
    Never,
}

impl Display for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("ok"),
            Self::Old(age) => write!(
                f,
                "no heartbeat has reached the API server for {} s",
                age.as_secs()
            ),
            Self::Never => f.write_str("no heartbeat has reached the API server yet"),
        }
    }
}

/// The value of `key` in a query. Values are not decoded: none that is looked at needs it.
pub(super) fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name == key).then_some(value),
        None => (pair == key).then_some(""),
    })
}

/// A `PodList` of what `write_nth` writes, one pod at a time; it says whether there was an `n`th.
fn pod_list<'a>(mut write_nth: impl FnMut(usize, &mut Writer<'_>) -> bool + 'a) -> Answer<'a> {
    let mut next = 0;
    Answer::pieces(JSON, move |out| {
        out.push_str(match next {
            0 => r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#,
            _ => ",",
        });
        let more = write_nth(next, &mut Writer::new(out));
        next += 1;
        if !more {
            if out.ends_with(",") {
                out.pop();
            }
            out.push_str("]}");
        }
        more
    })
}

impl<H: Host> Server<'_, H> {
    fn heartbeat(&self) -> Heartbeat {
        let Some((at, _)) = self.node.health.heartbeat() else {
            return Heartbeat::Never;
        };
        match self.node.machine.uptime().saturating_sub(at) {
            age if age > HEARTBEAT_AGE => Heartbeat::Old(age),
            _ => Heartbeat::Fresh,
        }
    }

    /// Well, as long as it can say so; with `?verbose=1` each thing that it depends on.
    pub(super) fn healthz(&self, query: &str) -> Answer<'_> {
        if query_value(query, "verbose").is_none_or(|value| value == "0" || value == "false") {
            return Answer::text(200, &"ok");
        }
        let connected = self.node.network.address().is_some();
        let heartbeat = self.heartbeat();
        let memory = self.node.machine.heap().free() >= LOW_MEMORY;
        let well = connected && matches!(heartbeat, Heartbeat::Fresh) && memory;
        Answer::json(format_args!(
            r#"{{"status":"{}","checks":{{"wifi":"{}","k8s_api":"{heartbeat}","memory":"{}","uptime":"{}s"}}}}"#,
            if well { "ok" } else { "degraded" },
            if connected {
                "ok"
            } else {
                "the node has no address"
            },
            if memory { "ok" } else { "less than 16 KiB are free" },
            self.node.machine.uptime().as_secs(),
        ))
    }

    /// Whether the node can be relied on.
    pub(super) fn readyz(&self) -> Answer<'_> {
        if self.node.network.address().is_none() {
            return Answer::error(false, 503, &"the network is down: the node has no address");
        }
        match self.heartbeat() {
            Heartbeat::Fresh => Answer::text(200, &"ok"),
            late => Answer::error(false, 503, &late),
        }
    }

    /// The pods that are bound here, or only those that run.
    pub(super) fn pods(&self, running: bool) -> Answer<'_> {
        pod_list(move |n, w| self.node.pods.borrow().write_nth(n, running, w))
    }

    /// The machine, as cAdvisor's `MachineInfo` names its parts.
    pub(super) fn spec(&self) -> Answer<'_> {
        let machine = self.node.machine.machine();
        Answer::json(format_args!(
            r#"{{"num_cores":{},"cpu_frequency_khz":{},"memory_capacity":{},"machine_id":{},"system_uuid":{},"boot_id":{}}}"#,
            machine.cores,
            machine.cpu_khz,
            machine.memory_bytes,
            Quoted(machine.machine_id),
            Quoted(machine.system_uuid),
            Quoted(machine.boot_id),
        ))
    }

    /// How the node is set, in the words of `KubeletConfiguration` (`kubelet.config.k8s.io/v1beta1`).
    pub(super) fn configz(&self) -> Answer<'_> {
        let settings = &self.node.settings;
        let mut taints = String::new();
        let mut w = Writer::new(&mut taints);
        w.array();
        for taint in &settings.taints {
            w.object();
            w.string_at("key", &taint.key);
            w.string_at("value", &taint.value);
            w.string_at("effect", &taint.effect);
            w.end();
        }
        w.end();
        Answer::json(format_args!(
            concat!(
                r#"{{"kubeletconfig":{{"kind":"KubeletConfiguration","apiVersion":"kubelet.config.k8s.io/v1beta1","#,
                r#""enableServer":true,"port":{},"tlsMinVersion":"VersionTLS13","#,
                r#""authentication":{{"webhook":{{"enabled":true,"cacheTTL":"2m0s"}},"anonymous":{{"enabled":false}}}},"#,
                r#""authorization":{{"mode":"Webhook","webhook":{{"cacheAuthorizedTTL":"5m0s","cacheUnauthorizedTTL":"30s"}}}},"#,
                r#""registerNode":true,"registerWithTaints":{},"#,
                r#""nodeStatusUpdateFrequency":"10s","nodeStatusReportFrequency":"5m0s","#,
                r#""nodeLeaseDurationSeconds":40,"configMapAndSecretChangeDetectionStrategy":"Watch","maxPods":{}}}}}"#
            ),
            u32::from(settings.reported_port.unwrap_or(PORT)),
            taints,
            pod_capacity(settings).value(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::response::Body;
    use picolet_kube::pod::{Container, Pod, write_pod};
    use std::format;

    #[test]
    fn a_list_of_pods_is_one_document() {
        let mut pods = std::vec::Vec::new();
        for name in ["web", "job"] {
            let mut pod = Pod::default();
            pod.metadata.name = name.into();
            pod.metadata.namespace = "default".into();
            pod.metadata.uid = format!("uid-{name}").into();
            pod.node_name = "pico-1".into();
            pod.containers.push(Container {
                name: "app".into(),
                image: "a/b:1".into(),
                ..Container::default()
            });
            pods.push(pod);
        }
        for count in 0..=2 {
            let answer = pod_list(|n, w| pods[..count].get(n).map(|pod| write_pod(w, pod, None)).is_some());
            let Body::Pieces(mut next) = answer.body else {
                panic!("a list is made piece by piece");
            };
            let (mut body, mut pieces) = (String::new(), 1);
            while next(&mut body) {
                pieces += 1;
            }
            assert_eq!(pieces, count + 1);
            insta::assert_snapshot!(format!("pods_{count}"), body);
        }
    }
}

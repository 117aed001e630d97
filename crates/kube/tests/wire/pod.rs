//! Pods: what a node reads of them, and what it writes into their status.

use super::{NOW, lossless, pretty};
use k8s_openapi::api::core::v1 as core;
use picolet_kube::envelope::Single;
use picolet_kube::json::Writer;
use picolet_kube::pod::{
    self, ContainerState, ContainerStatus, KnownEnd, KnownState, KnownStatus, Phase, Pod, PodReader,
    PullPolicy, RestartPolicy, StatusPatch,
};
use picolet_kube::selector::Operator;
use picolet_kube::{Quantity, Timestamp};
use serde_json::{Value, json};

pub(super) fn pod_value() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "9",
            "deletionTimestamp": "2026-11-22T13:18:42Z", "deletionGracePeriodSeconds": 30,
            "annotations": {"a": "b"},
            "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {}}}}}]},
        "spec": {
            "nodeName": "pico", "os": {"name": "linux"}, "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5,
            "nodeSelector": {"kubernetes.io/arch": "wasm"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "x", "operator": "In", "values": ["1", "2"]}],
                 "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["pico"]}]}]}}},
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}],
            "initContainers": [{"name": "i", "image": "i:1", "resources": {"requests": {"memory": "32Ki"}}}],
            "containers": [
                {"name": "c", "image": "c:1", "resources": {"requests": {"memory": "10Ki", "cpu": "250m"}}},
                {"name": "d", "image": "d:1", "resources": {"requests": {"memory": "10Ki", "picolet.dev/led": "1"}}}],
            "volumes": [{"name": "kube-api-access-abcde", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        },
        "status": {"phase": "Running"}
    })
}

fn read_pod(value: &Value) -> Pod {
    let mut single = Single::<PodReader>::default();
    single.feed(value.to_string().as_bytes()).expect("JSON");
    single.finish().expect("whole").pod
}

#[test]
fn pod() {
    let value = pod_value();
    serde_json::from_value::<core::Pod>(value.clone()).expect("a Pod");
    let pod = read_pod(&value);
    assert_eq!(
        (&*pod.metadata.name, &*pod.metadata.uid, &*pod.node_name, &*pod.os),
        ("p", "u", "pico", "linux")
    );
    assert_eq!(
        (pod.restart_policy, pod.termination_grace_seconds, pod.phase),
        (RestartPolicy::OnFailure, Some(5), Phase::Running)
    );
    assert_eq!(pod.metadata.deletion_grace_seconds, Some(30));
    let term = &pod.node_affinity.as_ref().expect("an affinity")[0];
    assert_eq!(
        (
            term.expressions.len(),
            term.expressions[0].operator,
            term.expressions[1].on_field
        ),
        (2, Operator::In, true)
    );
    assert_eq!(term.expressions[0].values.len(), 2);
    assert!(pod.tolerations[0].exists && &*pod.tolerations[0].effect == "NoExecute");
    assert_eq!(
        pod.request("memory"),
        Quantity::new(32 * 1024),
        "the init container's, which is the larger"
    );
    assert_eq!(pod.request("cpu"), Quantity::from_milli(250));
    assert_eq!(pod.resources(), ["memory", "cpu", "picolet.dev/led"]);
    assert_eq!((pod.unsupported, &pod.mirror), (None, &None));
}

#[test]
fn what_no_picolet_does_is_named() {
    for (path, value, named) in [
        ("/spec/hostNetwork", json!(true), Some("spec.hostNetwork")),
        ("/spec/hostNetwork", json!(false), None),
        (
            "/spec/volumes",
            json!([{"name": "data", "emptyDir": {}}]),
            Some("spec.volumes other than the service account's token"),
        ),
        (
            "/spec/volumes",
            json!([{"name": "kube-api-access-x", "emptyDir": {}}]),
            Some("spec.volumes other than the service account's token"),
        ),
        (
            "/spec/containers/0/lifecycle",
            json!({"preStop": {}}),
            Some("spec.containers[].lifecycle"),
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"exec": {"command": ["x"]}}),
            Some("spec.containers[].livenessProbe, readinessProbe or startupProbe"),
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"httpGet": {"port": 80}}),
            Some("spec.containers[].livenessProbe, readinessProbe or startupProbe"),
        ),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 80, "hostPort": 80}]),
            Some("spec.containers[].ports[].hostPort"),
        ),
        ("/spec/containers/0/ports", json!([{"containerPort": 80}]), None),
        (
            "/spec/containers/0/securityContext",
            json!({"privileged": true}),
            Some("spec.containers[].securityContext.privileged"),
        ),
        (
            "/spec/initContainers/0/restartPolicy",
            json!("Always"),
            Some("spec.initContainers[].restartPolicy"),
        ),
        (
            "/spec/containers",
            json!(vec![json!({"name": "c"}); 9]),
            Some("a spec of more containers, tolerations or selectors than a device of this size keeps"),
        ),
    ] {
        let mut pod = pod_value();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        pod.pointer_mut(parent).expect("there")[key] = value.clone();
        assert_eq!(read_pod(&pod).unsupported, named, "{path} = {value}");
    }
}

#[test]
fn what_a_node_that_was_restarted_knows() {
    let mut value = pod_value();
    value["metadata"]["generation"] = json!(3);
    value["metadata"]["labels"] = json!({"app": "x", "kubernetes.io/os": "linux"});
    value["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!("hash");
    value["spec"]["securityContext"] = json!({"supplementalGroupsPolicy": "Strict"});
    value["spec"]["containers"][1]["imagePullPolicy"] = json!("Never");
    value["status"] = json!({
        "phase": "Running", "startTime": "2026-11-22T13:18:40Z",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-22T13:18:39Z"},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": "2026-11-22T13:18:41Z"},
            {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-22T13:18:42Z"}],
        "initContainerStatuses": [{"name": "i", "image": "i:1", "imageID": "", "ready": true, "restartCount": 1,
            "lastState": {"terminated": {"exitCode": 9, "reason": "Error"}},
            "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": "2026-11-22T13:18:41Z", "finishedAt": "2026-11-22T13:18:42Z"}}}],
        "containerStatuses": [
            {"name": "c", "image": "c:1", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-11-22T13:18:42Z"}}},
            {"name": "d", "image": "d:1", "imageID": "", "ready": false, "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}],
    });
    serde_json::from_value::<core::Pod>(value.clone()).expect("a Pod");
    let pod = read_pod(&value);
    let at = |text| Timestamp::parse(text).expect("a time");
    assert_eq!(
        (
            pod.generation,
            &*pod.os_label,
            pod.mirror.as_deref(),
            pod.strict_supplemental_groups
        ),
        (3, "linux", Some("hash"), true)
    );
    assert_eq!(
        pod.containers.iter().map(|c| c.pull_policy).collect::<Vec<_>>(),
        [PullPolicy::IfNotPresent, PullPolicy::Never]
    );
    assert_eq!(pod.start_time, Some(at("2026-11-22T13:18:40Z")));
    let initialized = Some((true, at("2026-11-22T13:18:42Z")));
    assert_eq!(
        pod.conditions,
        [None, initialized, Some((false, at("2026-11-22T13:18:41Z"))), None]
    );
    let known = |name: &str, restart_count, state, ended| KnownStatus {
        name: name.into(),
        restart_count,
        state,
        ended,
    };
    let end = |exit_code, reason: &str, started, finished| {
        Some(KnownEnd {
            exit_code,
            reason: reason.into(),
            started,
            finished,
        })
    };
    let (started, finished) = (Some(at("2026-11-22T13:18:41Z")), Some(at("2026-11-22T13:18:42Z")));
    // `serde_json` sorts the keys: containerStatuses, initContainerStatuses.
    assert_eq!(
        pod.statuses,
        [
            known("c", 0, KnownState::Running(at("2026-11-22T13:18:42Z")), None),
            known("d", 2, KnownState::Waiting, end(137, "OOMKilled", None, None)),
            known(
                "i",
                1,
                KnownState::Terminated,
                end(0, "Completed", started, finished)
            ),
        ]
    );
    // The older end must not win where it comes behind the newer one.
    let status = &mut value["status"]["initContainerStatuses"][0];
    let older = status["lastState"].take();
    let read =
        |status: &Value| read_pod(&json!({"status": {"containerStatuses": [status]}})).statuses[0].clone();
    let text = format!(
        r#"{{"status":{{"containerStatuses":[{{"state":{},"lastState":{older}}}]}}}}"#,
        status["state"]
    );
    let mut single = Single::<PodReader>::default();
    single.feed(text.as_bytes()).expect("JSON");
    assert_eq!(
        single.finish().expect("whole").pod.statuses[0].ended,
        read(status).ended
    );
}

fn waiting<'a>(name: &'a str, reason: &'a str) -> ContainerStatus<'a> {
    ContainerStatus {
        name,
        image: "x:1",
        image_id: "",
        container_id: "",
        state: ContainerState::Waiting { reason, message: "" },
        last_state: None,
        ready: false,
        restart_count: 0,
    }
}

#[test]
fn pod_status() {
    let containers = [ContainerStatus {
        container_id: "wasm://1",
        state: ContainerState::Waiting {
            reason: "CrashLoopBackOff",
            message: "back-off",
        },
        last_state: Some(ContainerState::Terminated {
            exit_code: 1,
            reason: "Error",
            message: "",
            started: Some(NOW),
            finished: NOW,
        }),
        restart_count: 2,
        ..waiting("c", "")
    }];
    let init_containers = [ContainerStatus {
        ready: true,
        ..waiting("i", "PodInitializing")
    }];
    let patch = StatusPatch {
        uid: "u",
        generation: 2,
        phase: Phase::Running,
        reason: "",
        message: "",
        start_time: NOW,
        now: NOW,
        before: [
            None,
            Some((true, Timestamp::from_seconds(1))),
            Some((true, Timestamp::from_seconds(1))),
            None,
        ],
        host_ip: "127.0.77.1",
        pod_ip: "127.0.77.1",
        init_containers: &init_containers,
        containers: &containers,
    };
    let mut out = String::new();
    patch.write(&mut out);
    lossless::<core::Pod>(&out);
    insta::assert_snapshot!("pod_status", pretty(&out));
    out.clear();
    pod::write_pod(&mut Writer::new(&mut out), &read_pod(&pod_value()), Some(&patch));
    lossless::<core::Pod>(&out);
    assert!(!out.contains("null"), "{out}");
    insta::assert_snapshot!("pod", pretty(&out));
    out.clear();
    pod::write_delete_options(&mut out, "u");
    lossless::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>(&out);
}

#[test]
fn pod_conditions() {
    let running = |name| ContainerStatus {
        state: ContainerState::Running { started: NOW },
        ready: true,
        ..waiting(name, "")
    };
    let ended = |name, exit_code| ContainerStatus {
        state: ContainerState::Terminated {
            exit_code,
            reason: "",
            message: "",
            started: Some(NOW),
            finished: NOW,
        },
        ready: exit_code == 0,
        ..waiting(name, "")
    };
    type Statuses<'a> = &'a [ContainerStatus<'a>];
    let cases: [(Phase, Statuses<'_>, Statuses<'_>, &str); 8] = [
        (
            Phase::Pending,
            &[],
            &[waiting("a", ""), waiting("b", "")],
            "PodReadyToStartContainers=False Initialized=True Ready=False(ContainersNotReady: containers with unready status: [a b]) ContainersReady=False(ContainersNotReady: containers with unready status: [a b])",
        ),
        (
            Phase::Pending,
            &[ended("i", 0), running("j")],
            &[waiting("a", "")],
            "PodReadyToStartContainers=True Initialized=True Ready=False(ContainersNotReady: containers with unready status: [a]) ContainersReady=False(ContainersNotReady: containers with unready status: [a])",
        ),
        (
            Phase::Pending,
            &[ended("i", 1), waiting("j", "")],
            &[waiting("a", "")],
            "PodReadyToStartContainers=False Initialized=False(ContainersNotInitialized: containers with incomplete status: [i j]) Ready=False(ContainersNotReady: containers with unready status: [a]) ContainersReady=False(ContainersNotReady: containers with unready status: [a])",
        ),
        (
            Phase::Running,
            &[],
            &[running("a")],
            "PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True",
        ),
        (
            Phase::Running,
            &[],
            &[
                running("a"),
                ContainerStatus {
                    ready: false,
                    ..ended("b", 0)
                },
            ],
            "PodReadyToStartContainers=True Initialized=True Ready=False(ContainersNotReady: containers with unready status: [b]) ContainersReady=False(ContainersNotReady: containers with unready status: [b])",
        ),
        (
            Phase::Succeeded,
            &[],
            &[ended("a", 0)],
            "PodReadyToStartContainers=False Initialized=True(PodCompleted: ) Ready=False(PodCompleted: ) ContainersReady=False(PodCompleted: )",
        ),
        (
            Phase::Failed,
            &[],
            &[ended("a", 1)],
            "PodReadyToStartContainers=False Initialized=True Ready=False(PodFailed: ) ContainersReady=False(PodFailed: )",
        ),
        (
            Phase::Failed,
            &[],
            &[],
            "Ready=False(PodFailed: ) ContainersReady=False(PodFailed: )",
        ),
    ];
    for (phase, init_containers, containers, want) in cases {
        let patch = StatusPatch {
            uid: "u",
            generation: 0,
            phase,
            reason: "",
            message: "",
            start_time: NOW,
            now: NOW,
            before: [None; 4],
            host_ip: "",
            pod_ip: "",
            init_containers,
            containers,
        };
        let mut out = String::new();
        patch.write(&mut out);
        lossless::<core::Pod>(&out);
        let written: Value = serde_json::from_str(&out).expect("JSON");
        let text = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let conditions: Vec<_> = written["status"]["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .map(|c| {
                let said = if c["reason"].is_null() {
                    String::new()
                } else {
                    format!("({}: {})", text(c, "reason"), text(c, "message"))
                };
                format!("{}={}{said}", text(c, "type"), text(c, "status"))
            })
            .collect();
        assert_eq!(conditions.join(" "), want);
        assert!(!out.contains("observedGeneration"));
    }
}

//! Everything that we write is read by Kubernetes' own types without loss, and stands in golden files; everything that
//! we read is what those types write.

use k8s_openapi::api::authentication::v1 as authentication;
use k8s_openapi::api::authorization::v1 as authorization;
use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use picolet_kube::certificate::{self, CertificateSigningRequest, Decision, Signer};
use picolet_kube::config_map::{ConfigMap, Data};
use picolet_kube::envelope::{Each, Envelope, Event, Object, Single};
use picolet_kube::event::{self, Reference, Severity};
use picolet_kube::json::Writer;
use picolet_kube::lease::{self, Lease};
use picolet_kube::node::{self, ConditionReport, Node, StatusReport, SystemInfo, Truth};
use picolet_kube::pod::{
    self, ContainerState, ContainerStatus, KnownEnd, KnownState, KnownStatus, Phase, Pod, PodReader,
    PullPolicy, RestartPolicy, StatusPatch,
};
use picolet_kube::review::{self, Access, SubjectAccessReview, TokenReview, USER_BYTES, User};
use picolet_kube::selector::{Operator, Taint};
use picolet_kube::{Quantity, Timestamp};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Reads `text` as `T` and back: nothing of it may be lost.
fn lossless<T: Serialize + DeserializeOwned>(text: &str) {
    let ours: Value = serde_json::from_str(text).expect("JSON");
    let theirs: T = serde_json::from_str(text).expect("Kubernetes' type");
    let back = serde_json::to_value(theirs).expect("JSON");
    contained(&ours, &back, "$");
}

/// All that is in `ours` is in `theirs` (which may have gained `kind` and the like); times may be written differently.
fn contained(ours: &Value, theirs: &Value, path: &str) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let empty = value.is_null()
                    || matches!(value, Value::Object(o) if o.is_empty())
                    || matches!(value, Value::Array(o) if o.is_empty());
                match b.get(key) {
                    Some(other) if !value.is_null() => contained(value, other, &format!("{path}.{key}")),
                    _ => assert!(empty, "{path}.{key} was lost"),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                contained(a, b, &format!("{path}[{n}]"));
            }
        }
        (Value::String(a), Value::String(b)) if Timestamp::parse(a).is_some() => {
            assert_eq!(Timestamp::parse(a), Timestamp::parse(b), "{path}");
        }
        _ => assert_eq!(ours, theirs, "{path}"),
    }
}

const NOW: Timestamp = Timestamp::from_micros(1_795_353_522_000_042);

fn pretty(text: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).expect("JSON")).expect("JSON")
}

fn report<'a>(
    conditions: &'a [ConditionReport<'a>],
    capacity: &'a [(&'a str, Quantity)],
) -> StatusReport<'a> {
    StatusReport {
        name: "pico",
        address: "127.0.77.1",
        port: Some(10250),
        capacity,
        allocatable: capacity,
        info: SystemInfo {
            machine_id: "m",
            boot_id: "b",
            kubelet_version: "v1.36.0-picolet.0.1.0",
            ..Default::default()
        },
        conditions,
        heartbeat: NOW,
    }
}

#[test]
fn node() {
    let conditions = [ConditionReport {
        kind: "Ready",
        status: Truth::True,
        reason: "KubeletReady",
        message: "kubelet is posting ready status",
        last_transition: NOW,
    }];
    let capacity = [
        ("cpu", Quantity::new(2)),
        ("memory", Quantity::new(264 * 1024)),
        ("picolet.dev/gpio", Quantity::new(24)),
    ];
    let status = report(&conditions, &capacity);
    let taints = [Taint::parse("picolet.dev/microcontroller=true:NoSchedule").expect("a taint")];
    let mut out = String::new();
    node::write_node(&mut out, &[("kubernetes.io/os", "wasip1")], &taints, &status);
    lossless::<core::Node>(&out);
    insta::assert_snapshot!("node", pretty(&out));
    let mut single = Single::<Node>::default();
    single.feed(out.as_bytes()).expect("JSON");
    let read = single.finish().expect("whole");
    assert_eq!(
        (read.label("kubernetes.io/os"), &*read.boot_id, &read.taints[..]),
        (Some("wasip1"), "b", &taints[..])
    );
    assert_eq!(
        (&*read.conditions[0].kind, read.conditions[0].status),
        ("Ready", Truth::True)
    );
    assert_eq!(
        read.conditions[0].last_transition.map(Timestamp::seconds),
        Some(NOW.seconds())
    );

    out.clear();
    node::write_status_patch(&mut out, &status);
    lossless::<core::Node>(&out);
    out.clear();
    node::write_labels_patch(&mut out, &[("a", "b")]);
    assert_eq!(out, r#"{"metadata":{"labels":{"a":"b"}}}"#);
}

#[test]
fn lease() {
    let mut out = String::new();
    lease::write(&mut out, "pico", "uid", Some("7"), NOW, 40);
    lossless::<coordination::Lease>(&out);
    insta::assert_snapshot!("lease", pretty(&out));
    let mut single = Single::<Lease>::default();
    single.feed(out.as_bytes()).expect("JSON");
    let read = single.finish().expect("whole");
    assert_eq!(
        (read.renew_time, &*read.metadata.resource_version),
        (Some(NOW), "7")
    );
}

#[test]
fn event() {
    let event = event::Event {
        name: "pico.17",
        about: Reference {
            kind: "ConfigMap",
            namespace: "default",
            name: "pico-config",
            uid: "u",
        },
        severity: Severity::Warning,
        reason: "InvalidConfiguration",
        message: "memory_values: \"x\"",
        host: "pico",
        first: NOW,
        last: NOW,
        count: 3,
    };
    let mut out = String::new();
    event.write(&mut out);
    lossless::<core::Event>(&out);
    insta::assert_snapshot!("event", pretty(&out));
    out.clear();
    event.write_count(&mut out);
    assert_eq!(out, r#"{"lastTimestamp":"2026-11-22T13:18:42Z","count":3}"#);
}

/// The user that an API server names for a token.
fn token_review(user: &serde_json::Value) -> Option<User> {
    let answer = json!({"kind": "TokenReview", "status": {"authenticated": true, "user": user}});
    let mut single = Single::<TokenReview>::default();
    single.feed(answer.to_string().as_bytes()).expect("JSON");
    single.finish().expect("whole").into_user()
}

/// What a SubjectAccessReview says of a user.
fn spec(user: &User) -> serde_json::Value {
    let mut out = String::new();
    let access = Access {
        user,
        verb: "get",
        node: "pico",
        subresource: "proxy",
    };
    access.write(&mut out);
    lossless::<authorization::SubjectAccessReview>(&out);
    let mut review: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    review["spec"].take()
}

#[test]
fn user_keeps_all_groups_and_extra_of_a_token() {
    let groups: Vec<_> = (0..40).map(|n| format!("oidc:team-\"{n}\"")).collect();
    let extra = json!({"authentication.kubernetes.io/pod-name": ["prometheus-0"], "scopes": ["a\\b", "", "["], "none": []});
    let spec = spec(
        &token_review(&json!({"username": "p\n", "uid": "7\u{7f}", "groups": groups, "extra": extra}))
            .expect("a user"),
    );
    let mut expected = groups;
    expected.push("system:authenticated".into());
    assert_eq!(spec["groups"], json!(expected));
    assert_eq!(spec["extra"], extra);
    assert_eq!((&spec["user"], &spec["uid"]), (&json!("p\n"), &json!("7\u{7f}")));
    let nobody = token_review(&json!({"groups": ["system:masters"]}));
    assert_eq!(nobody, None);
}

#[test]
fn user_has_no_attributes_when_it_is_too_large() {
    let long = "x".repeat(600);
    let groups: Vec<_> = (0..200)
        .map(|n| format!("oidc:some-team-with-a-long-name-{n}"))
        .collect();
    for user in [
        json!({"username": "p", "groups": groups}),
        json!({"username": "p", "groups": ["a", long, "b"]}),
        json!({"username": "p", "uid": long}),
        json!({"username": long, "groups": ["a"]}),
        json!({"username": "p", "extra": {"scopes": vec!["scope"; 1000]}}),
        json!({"username": "p", "extra": {"scopes": [long]}}),
        json!({"username": "p", "extra": {long.clone(): ["a"]}}),
        json!({"extra": {long.clone(): ["a"]}, "groups": ["a"], "username": "p"}),
    ] {
        let found = token_review(&user).expect("a user");
        assert_eq!(found.attributes(), None, "{user}");
        assert!(found.bytes() <= USER_BYTES);
    }
    let long = "x".repeat(USER_BYTES + 1);
    assert_eq!(User::new(&long, []).attributes(), None);
    assert_eq!(User::new("p", [&*long]).attributes(), None);
    assert!(User::new("p", [&long[..4000]]).attributes().is_some());
}

#[test]
fn reviews() {
    let mut out = String::new();
    review::write_token_review(&mut out, "token");
    lossless::<authentication::TokenReview>(&out);
    out.clear();
    let user = token_review(
        &json!({"username": "admin", "uid": "1", "groups": ["system:masters"], "extra": {"scopes": ["a", "b"], "none": []}}),
    );
    let access = Access {
        user: &user.expect("a user"),
        verb: "get",
        node: "pico",
        subresource: "proxy",
    };
    access.write(&mut out);
    lossless::<authorization::SubjectAccessReview>(&out);
    insta::assert_snapshot!("subject_access_review", pretty(&out));

    let mut single = Single::<SubjectAccessReview>::default();
    single
        .feed(br#"{"status":{"allowed":true,"reason":"RBAC"}}"#)
        .expect("JSON");
    assert!(single.finish().expect("whole").allowed);
}

#[test]
fn certificate_signing_request() {
    let mut out = String::new();
    certificate::write(&mut out, "csr-pico", Signer::Serving, "QQ==");
    lossless::<certificates::CertificateSigningRequest>(&out);
    insta::assert_snapshot!("certificate_signing_request", pretty(&out));
    let mut single = Single::<CertificateSigningRequest>::default();
    let answer = json!({"metadata": {"name": "csr-1"}, "status": {"certificate": "Q".repeat(4000), "conditions": [{"type": "Approved", "message": "ok"}]}});
    single.feed(answer.to_string().as_bytes()).expect("JSON");
    let request = single.finish().expect("whole");
    assert_eq!(
        (request.decision, request.certificate.len()),
        (Decision::Approved, 4000)
    );
    let mut single = Single::<CertificateSigningRequest>::default();
    single
        .feed(br#"{"status":{"conditions":[{"type":"Denied","message":"not yours"}]}}"#)
        .expect("JSON");
    assert_eq!(
        single.finish().expect("whole").decision,
        Decision::Denied("not yours".into())
    );
}

fn pod_value() -> Value {
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
    assert_eq!((pod.unsupported, pod.mirror), (None, false));
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
            pod.mirror,
            pod.strict_supplemental_groups
        ),
        (3, "linux", true, true)
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

/// Keeps all data, for comparison.
#[derive(Default)]
struct Whole(Vec<(String, Vec<u8>)>);
impl Data for Whole {
    fn key(&mut self, key: &str) {
        self.0.push((key.into(), Vec::new()));
    }
    fn piece(&mut self, piece: &[u8], _last: bool) {
        self.0.last_mut().expect("a key").1.extend_from_slice(piece);
    }
    fn reset(&mut self) {
        self.0.clear();
    }
}

#[test]
fn watch_and_list() {
    let config_map = |name: &str, version: &str| json!({"kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": version, "labels": {"data": "no"}}, "data": {"led": "on"}, "binaryData": {"led": "b24="}});
    let mut events = String::new();
    for event in [
        json!({"type": "ADDED", "object": config_map("a", "5")}),
        json!({"object": config_map("b", "6"), "type": "MODIFIED"}),
        json!({"type": "DELETED", "object": config_map("a", "7")}),
        json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "metadata": {"resourceVersion": "9"}}}),
        json!({"type": "NOVEL", "object": config_map("c", "10")}),
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "metadata": {}}}),
    ] {
        events += &format!("{event}\n");
    }
    for step in [1, 7, 10_000] {
        let mut seen = Vec::new();
        let mut watch = Envelope::watch(<ConfigMap<Whole>>::SHAPE, "4");
        let mut maps = Each {
            object: ConfigMap::new(Whole::default()),
            on: |event: Event<'_>, map: &mut ConfigMap<Whole>| {
                seen.push(match event {
                    Event::Applied => format!("applied {} {:?}", map.metadata.name, map.data.0[0].0),
                    Event::Deleted => format!("deleted {}", map.metadata.name),
                    Event::Bookmark => "bookmark".into(),
                    Event::Error(status) => format!("error {} {}", status.code, status.reason),
                });
            },
        };
        for piece in events.as_bytes().chunks(step) {
            watch.feed(piece, &mut maps).expect("JSON");
        }
        assert!(watch.has_failed());
        assert_eq!(
            seen,
            [
                "applied a \"led\"",
                "applied b \"led\"",
                "deleted a",
                "bookmark",
                "error 410 Expired"
            ]
        );
        assert_eq!(watch.place(), Some("9"));
    }

    let list = json!({"kind": "ConfigMapList", "metadata": {"resourceVersion": "12"}, "items": [config_map("a", "1"), config_map("b", "2")]}).to_string();
    let mut names = Vec::new();
    let mut reader = Envelope::list(<ConfigMap<Whole>>::SHAPE);
    let mut maps = Each {
        object: ConfigMap::new(Whole::default()),
        on: |_: Event<'_>, map: &mut ConfigMap<Whole>| {
            names.push((map.metadata.name.clone(), map.data.0.len()));
        },
    };
    for byte in list.as_bytes() {
        assert_eq!(reader.place(), None, "a list that was cut is no list");
        reader.feed(&[*byte], &mut maps).expect("JSON");
    }
    assert_eq!(reader.place(), Some("12"));
    assert_eq!(names, [("a".into(), 1), ("b".into(), 1)]);
}

proptest! {
    #[test]
    fn any_condition_is_reported_without_loss(message in any::<String>(), reason in "[A-Z][A-Za-z]{0,30}", seconds in 0u64..4_000_000_000) {
        let conditions = [ConditionReport { kind: "X", status: Truth::Unknown, reason: &reason, message: &message, last_transition: Timestamp::from_seconds(seconds) }];
        let mut out = String::new();
        node::write_status_patch(&mut out, &report(&conditions, &[]));
        lossless::<core::Node>(&out);
    }

    #[test]
    fn any_event_is_reported_without_loss(message in any::<String>(), name in "[a-z0-9.]{1,40}", count in 1u32..1000) {
        let event = event::Event { name: &name, about: Reference::node("pico"), severity: Severity::Normal, reason: "R", message: &message, host: "pico", first: NOW, last: NOW, count };
        let mut out = String::new();
        event.write(&mut out);
        lossless::<core::Event>(&out);
    }

    #[test]
    fn data_comes_whole_however_it_arrives(data in prop::collection::hash_map("[a-z]{1,9}", any::<String>(), 0..6), step in 1usize..40) {
        let map = json!({"metadata": {"name": "m"}, "data": data});
        let mut single = ConfigMap::new(Whole::default());
        let mut decoder = picolet_kube::json::Decoder::new(<ConfigMap<Whole> as Object>::SHAPE);
        for piece in map.to_string().as_bytes().chunks(step) {
            decoder.feed(piece, &mut single).expect("JSON");
        }
        let mut want: Vec<_> = data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        let mut got = single.data.0;
        want.sort();
        got.sort();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_watch_stream_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>()) {
        let mut text = json!({"type": "ADDED", "object": pod_value()}).to_string().into_bytes();
        let at = at.index(text.len());
        text.splice(at..at, bytes);
        let mut pods = Each { object: PodReader::default(), on: |_: Event<'_>, _: &mut PodReader| {} };
        let _ = Envelope::watch(PodReader::SHAPE, "").feed(&text, &mut pods);
    }
}

//! The commands that people use, with the real kubectl.

mod common;

use common::run;
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write as _};
use picolet_controlplane::Binaries;
use picolet_devcluster::host::DevCluster;
use picolet_tls::x509::CertificateInfo;
use picolet_tls::{Acceptor, Clients};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns a kubectl: the one of the control plane, else an installed one that is not too old.
fn kubectl() -> Option<PathBuf> {
    if let Ok(binaries) = Binaries::build() {
        return Some(binaries.kubectl);
    }
    let output = Command::new("kubectl")
        .args(["version", "--client", "--output=json"])
        .output()
        .ok();
    let version: Option<serde_json::Value> =
        output.and_then(|output| serde_json::from_slice(&output.stdout).ok());
    let minor = version.and_then(|version| {
        let minor = version["clientVersion"]["minor"].as_str()?;
        minor
            .trim_end_matches(|letter: char| !letter.is_ascii_digit())
            .parse::<u32>()
            .ok()
    });
    if minor.is_some_and(|minor| minor >= 30) {
        return Some("kubectl".into());
    }
    picolet_oracle::not_run("install kubectl 1.30 or later, or Go");
    None
}

struct Kubectl {
    program: PathBuf,
    config: tempfile::NamedTempFile,
    /// Where kubectl caches what it discovered.
    home: tempfile::TempDir,
}

impl Kubectl {
    fn new(program: &Path, kubeconfig: &str) -> Self {
        let mut config = tempfile::NamedTempFile::new().expect("a file");
        config.write_all(kubeconfig.as_bytes()).expect("written");
        Self {
            program: program.into(),
            config,
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Runs a command with `input`; returns what it printed, on both streams, and whether it was content.
    async fn try_with(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut command = Command::new(&self.program);
        command
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.config.path())
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = input.to_owned();
        let ran = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("kubectl runs");
            let mut stdin = child.stdin.take().expect("a pipe");
            // A kubectl that does not read its input has closed it.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            child.wait_with_output().expect("kubectl ends")
        });
        let output = ran.await.expect("it ran");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    async fn with(&self, arguments: &str, input: &str) -> String {
        let (ok, text) = self.try_with(arguments, input).await;
        assert!(ok, "kubectl {arguments}: {text}");
        text
    }

    async fn run(&self, arguments: &str) -> String {
        self.with(arguments, "").await
    }
}

async fn start() -> Option<(DevCluster, Kubectl, Kubectl)> {
    let program = kubectl()?;
    let cluster = common::cluster().await;
    let node = cluster.kubeconfig_of("node", &cluster.node_identity("pico-1").expect("an identity"));
    let (admin, node) = (
        Kubectl::new(&program, &cluster.kubeconfig()),
        Kubectl::new(&program, &node),
    );
    Some((cluster, admin, node))
}

const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "pico-1",
    "labels": {"kubernetes.io/os": "wasip1"}},
  "spec": {"taints": [{"key": "picolet.dev/microcontroller", "value": "true", "effect": "NoSchedule"}]},
  "status": {"capacity": {"cpu": "2", "memory": "264Ki", "pods": "8"},
    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
      "message": "kubelet is posting ready status", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
      "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    "nodeInfo": {"kubeletVersion": "v1.36.0-picolet.0.1.0"}}}"#;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: blink}
spec:
  nodeName: pico-1
  containers: [{name: c, image: registry.example/blink:1, resources: {limits: {cpu: 1}}}]
";

fn cells(text: &str, row: usize) -> Vec<String> {
    text.lines()
        .nth(row)
        .unwrap_or("")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn config_maps() {
    run(async {
        let Some((cluster, kubectl, _)) = start().await else {
            return;
        };
        let created = kubectl
            .run("create configmap pico-config --from-literal=memory_values=0=0x42,1=0x43,2=0xFF")
            .await;
        assert_eq!(created, "configmap/pico-config created\n");
        let found = cluster
            .get("configmaps", "default", "pico-config")
            .expect("there");
        assert_eq!(found["data"]["memory_values"], "0=0x42,1=0x43,2=0xFF");
        assert_eq!(
            cells(&kubectl.run("get configmaps pico-config").await, 0),
            ["NAME", "DATA", "AGE"]
        );
        assert_eq!(
            cells(&kubectl.run("get configmaps pico-config").await, 1)[..2],
            ["pico-config", "1"]
        );
        assert!(
            kubectl
                .run("describe configmap pico-config")
                .await
                .contains("0=0x42,1=0x43,2=0xFF")
        );

        let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: applied}, data: {led: 'on'}}";
        assert!(kubectl.with("apply -f -", manifest).await.contains("created"));
        assert!(kubectl.with("apply -f -", manifest).await.contains("unchanged"));
        assert!(
            kubectl
                .with("apply -f -", &manifest.replace("'on'", "'off'"))
                .await
                .contains("configured")
        );
        assert_eq!(
            cluster.get("configmaps", "default", "applied").expect("there")["data"]["led"],
            "off"
        );
        let (ok, refused) = kubectl
            .try_with("apply -f -", &manifest.replace(" data:", " dta:"))
            .await;
        assert!(!ok && refused.contains("unknown field \"dta\""), "{refused}");

        assert!(
            kubectl
                .run("patch configmap applied --type=merge -p {\"data\":{\"led\":\"blink:5\"}}")
                .await
                .contains("patched")
        );
        assert!(
            kubectl
                .run("label configmap applied picolet.dev/node=all")
                .await
                .contains("labeled")
        );
        assert!(
            kubectl
                .run("get configmaps -l picolet.dev/node=all -o name")
                .await
                .contains("configmap/applied")
        );
        assert!(
            kubectl
                .run("delete configmap applied pico-config")
                .await
                .contains("deleted")
        );
        let (ok, gone) = kubectl.try_with("get configmap applied", "").await;
        assert!(!ok && gone.contains("NotFound"));
    });
}

#[test]
fn nodes() {
    run(async {
        let Some((cluster, admin, node)) = start().await else {
            return;
        };
        node.with("create -f -", NODE).await;
        let row = cells(&admin.run("get nodes").await, 1);
        assert_eq!(row[..3], ["pico-1", "Ready", "<none>"]);
        assert_eq!(row[4], "v1.36.0-picolet.0.1.0");
        assert!(admin.run("get nodes -o wide").await.contains("INTERNAL-IP"));
        let described = admin.run("describe node pico-1").await;
        for expected in [
            "KubeletReady",
            "picolet.dev/microcontroller=true:NoSchedule",
            "InternalIP:  127.0.0.1",
            "264Ki",
        ] {
            assert!(described.contains(expected), "{expected}: {described}");
        }
        admin.run("cordon pico-1").await;
        assert!(admin.run("get nodes").await.contains("SchedulingDisabled"));
        admin.run("uncordon pico-1").await;
        admin.run("taint node pico-1 a=b:NoExecute").await;
        admin.run("annotate node pico-1 a=b").await;
        let (ok, refused) = node.try_with("taint node pico-1 a-", "").await;
        assert!(
            !ok && refused.contains("not allowed to modify taints"),
            "{refused}"
        );
        let (ok, refused) = node.try_with("get nodes", "").await;
        assert!(!ok && refused.contains("Forbidden"), "{refused}");
        let (ok, refused) = admin.try_with("get secrets --as=somebody", "").await;
        assert!(!ok && refused.contains("Forbidden"), "{refused}");
        assert!(
            admin
                .run("auth can-i get nodes/pico-1 --as=system:node:pico-1 --as-group=system:nodes")
                .await
                .contains("yes")
        );
        admin.run("delete node pico-1").await;
        assert!(cluster.get("nodes", "", "pico-1").is_err());
    });
}

#[test]
fn pods_leases_and_events() {
    run(async {
        let Some((cluster, admin, node)) = start().await else {
            return;
        };
        node.with("create -f -", NODE).await;
        admin.with("create -f -", POD).await;
        assert_eq!(
            cells(&admin.run("get pods").await, 1)[..4],
            ["blink", "0/1", "Pending", "0"]
        );
        assert!(admin.run("describe pod blink").await.contains("kube-api-access-"));
        assert!(
            admin
                .run("describe node pico-1")
                .await
                .contains("default                     blink")
        );
        assert!(
            node.run("get pods --field-selector=spec.nodeName=pico-1 -A")
                .await
                .contains("blink")
        );
        let lease = "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: pico-1, namespace: kube-node-lease},
            spec: {holderIdentity: pico-1, renewTime: '2026-01-01T00:00:00.000000Z', leaseDurationSeconds: 40}}";
        node.with("create -f -", lease).await;
        assert_eq!(
            cells(&admin.run("get leases -n kube-node-lease").await, 1)[..2],
            ["pico-1", "pico-1"]
        );
        assert!(
            admin
                .run("describe node pico-1")
                .await
                .contains("HolderIdentity:  pico-1")
        );
        let event = "{apiVersion: v1, kind: Event, metadata: {name: e, namespace: default}, reason: NodeReady, type: Normal,
            message: it is ready, lastTimestamp: '2026-01-01T00:00:00Z', involvedObject: {kind: Node, name: pico-1, uid: pico-1}}";
        node.with("create -f -", event).await;
        let events = admin.run("get events").await;
        assert!(
            events.contains("NodeReady") && events.contains("node/pico-1"),
            "{events}"
        );
        let described = admin.run("describe node pico-1").await;
        assert!(described.contains("it is ready"), "{described}");

        // Deleted with its time of grace; the node carries it to its end.
        assert!(
            admin
                .run("delete pod blink --wait=false")
                .await
                .contains("deleted")
        );
        assert!(admin.run("get pods").await.contains("Terminating"));
        let pod = cluster.get("pods", "default", "blink").expect("there still");
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
        node.run("delete pod blink --grace-period=0 --force").await;
        assert!(cluster.get("pods", "default", "blink").is_err());
        let (ok, refused) = admin.try_with("logs nobody", "").await;
        assert!(!ok && refused.contains("NotFound"), "{refused}");
    });
}

#[test]
fn watching() {
    run(async {
        let Some((cluster, kubectl, _)) = start().await else {
            return;
        };
        kubectl.run("create configmap a --from-literal=x=y").await;
        let (watched, ()) = tokio::join!(
            kubectl.try_with("get configmap a -w --request-timeout=3s", ""),
            async {
                while cluster.counters().open_watches == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                let patch = serde_json::json!({"data": {"y": "z", "z": "z"}});
                cluster
                    .patch("configmaps", "default", "a", &patch)
                    .expect("patched");
            }
        );
        let rows: Vec<_> = watched
            .1
            .lines()
            .map(|line| line.split_whitespace().nth(1).unwrap_or("").to_owned())
            .collect();
        assert_eq!(rows[..3], ["DATA", "1", "3"], "{}", watched.1);
        for plural in ["configmaps", "nodes", "runtimeclasses", "leases"] {
            assert!(kubectl.run("api-resources").await.contains(plural));
        }
    });
}

/// A kubelet that has one log. It comes in chunks, and with a length where a range of lines is asked for.
async fn kubelet(listener: tokio::net::TcpListener, acceptor: Acceptor) {
    while let Ok((tcp, _)) = listener.accept().await {
        let mut stream = acceptor.accept(FromTokio::new(tcp)).await.expect("a handshake");
        let certificate = stream.peer_certificate().expect("a certificate").to_vec();
        let caller = CertificateInfo::from_der(&certificate)
            .expect("a certificate")
            .common_name;
        assert_eq!(caller.as_deref(), Some("kube-apiserver-kubelet-client"));
        let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer).await.expect("a request");
            request.extend_from_slice(&buffer[..count]);
        }
        let request = String::from_utf8(request).expect("text");
        let answer = if request.starts_with("GET /containerLogs/default/blink/c?tailLines=1 ") {
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ntwo\n"
        } else if request.starts_with("GET /containerLogs/default/blink/c ") {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"
        } else if request.starts_with("GET /healthz ") {
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
        } else {
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        };
        stream.write_all(answer.as_bytes()).await.expect("written");
        stream.flush().await.expect("sent");
        // The caller may be gone already.
        let _ = stream.close().await;
    }
}

#[test]
fn logs_come_from_the_kubelet() {
    run(async {
        let Some((cluster, admin, _)) = start().await else {
            return;
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = cluster
            .pki()
            .node_serving("pico-1", &["127.0.0.1".parse().expect("an address")])
            .expect("signed");
        let identity =
            picolet_tls::Identity::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes());
        let now = || {
            std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .ok()
                .map(|since| since.as_secs())
        };
        let roots = [cluster.pki().ca().certificate_der.clone()];
        let acceptor =
            Acceptor::new(&identity.expect("an identity"), Clients::Required(&roots), now).expect("set up");
        tokio::task::spawn_local(kubelet(listener, acceptor));

        let mut node: serde_json::Value = serde_json::from_str(NODE).expect("JSON");
        node["status"]["daemonEndpoints"] = serde_json::json!({"kubeletEndpoint": {"Port": port}});
        cluster.create("nodes", "", node).expect("created");
        admin.with("create -f -", POD).await;
        assert_eq!(admin.run("logs blink").await, "one\ntwo\n");
        assert_eq!(admin.run("logs blink --tail=1").await, "two\n");
        assert_eq!(
            admin.run("get --raw /api/v1/nodes/pico-1/proxy/healthz").await,
            "ok"
        );
        let (ok, refused) = admin.try_with("logs blink -c other", "").await;
        assert!(!ok && refused.contains("other"), "{refused}");
    });
}

//! What the API server grants to a node's certificate, and what it denies.

use anyhow::{Result, ensure};
use picolet_conformance::{Case, until};
use serde_json::{Value, json};

use super::{
    ANY_CLIENT, CREATE, LIMIT, NODE_CLIENT, SERVING, Thief, is_undecided, node_addresses, node_info,
    signing_request, wait_issued,
};
use crate::pods::forced;

/// What is tried with the node's certificate.
struct Attempt {
    name: &'static str,
    granted: bool,
    action: Action,
}

enum Action {
    /// A line for kubectl, and its standard input where it reads `--filename=-`.
    Kubectl(String, String),
    /// A merge patch of the object at a path.
    Merge(String, String),
}

impl Action {
    /// Whether the API server grants it. An error is any other outcome than a right or the lack of it.
    fn run(&self, thief: &Thief) -> Result<bool> {
        match self {
            Self::Kubectl(line, input) => match thief.kubectl.run_with_input(line.split(' '), input) {
                Err(error) if error.message.to_lowercase().contains("forbidden") => Ok(false),
                result => Ok(result.map(|_| true)?),
            },
            Self::Merge(path, patch) => {
                let answer = thief.caller.merge(&format!("{}{path}", thief.server), patch)?;
                ensure!([200, 403].contains(&answer.status), "{answer:?}");
                Ok(answer.status == 200)
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Attempts(Vec<Attempt>);

impl Attempts {
    fn add(&mut self, granted: bool, name: &'static str, action: Action) {
        self.0.push(Attempt {
            name,
            granted,
            action,
        });
    }

    pub(super) fn denied(&mut self, name: &'static str, line: &str) {
        self.add(false, name, Action::Kubectl(line.to_owned(), String::new()));
    }

    pub(super) fn denied_object(&mut self, name: &'static str, object: &Value) {
        self.add(false, name, Action::Kubectl(CREATE.join(" "), object.to_string()));
    }

    pub(super) fn denied_delete(&mut self, name: &'static str, path: &str) {
        self.denied(name, &format!("delete --raw={path}"));
    }

    pub(super) fn merge(&mut self, granted: bool, name: &'static str, path: &str, patch: &Value) {
        self.add(granted, name, Action::Merge(path.to_owned(), patch.to_string()));
    }

    fn granted(&mut self, name: &'static str, line: &str) {
        self.add(true, name, Action::Kubectl(line.to_owned(), String::new()));
    }

    fn granted_object(&mut self, name: &'static str, object: &Value) {
        self.add(true, name, Action::Kubectl(CREATE.join(" "), object.to_string()));
    }

    /// Makes all of them, and reports every one that ends otherwise than expected.
    pub(super) fn run(&self, thief: &Thief) -> Result<()> {
        let mut wrong = Vec::new();
        for attempt in &self.0 {
            match attempt.action.run(thief) {
                Ok(granted) if granted == attempt.granted => {}
                Ok(granted) => wrong.push(format!("{}: granted is {granted}", attempt.name)),
                Err(error) => wrong.push(format!("{}: {error:#}", attempt.name)),
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// The thief's node, another one, and where their pods are.
struct Scene {
    own: String,
    other: String,
    namespace: String,
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}

fn lease(name: &str, namespace: &str) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata})
}

fn csi_node(name: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": []}})
}

impl Scene {
    fn secret(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.namespace},
            "stringData": {"key": "value"}})
    }

    /// A pod of a node that mounts a Secret.
    fn mounting(&self, name: &str, node: &str, secret: &str) -> Value {
        let volumes = json!({"volumes": [{"name": "v", "secret": {"secretName": secret}}]});
        forced(name, &self.namespace, node, &volumes)
    }

    /// A request for a client certificate.
    fn client(&self, suffix: &str, signer: &str, user: &str, organization: &str) -> Result<Value> {
        let name = format!("{}-{suffix}", self.own);
        signing_request(&name, signer, "client auth", (user, organization), &[], &[])
    }

    /// Makes what the other node has, and a pod of each.
    fn prepare(&self, case: &Case<'_>) -> Result<()> {
        for object in [
            node(&self.other),
            lease(&self.other, "kube-node-lease"),
            csi_node(&self.other),
            self.secret("of-victim"),
            self.secret("of-thief"),
            self.mounting("of-victim", &self.other, "of-victim"),
            self.mounting("of-thief", &self.own, "of-thief"),
        ] {
            case.kubectl().apply(&object.to_string())?;
        }
        Ok(())
    }

    /// What the certificate grants: the approver must not rely on any of it.
    fn granted(&self, tried: &mut Attempts, thief: &Thief) -> Result<()> {
        let status = format!("/api/v1/nodes/{}/status", self.own);
        let addresses = [
            ("InternalDNS", "kubernetes.default.svc"),
            ("ExternalIP", "10.96.0.1"),
        ];
        let addresses = json!({"status": {"addresses": node_addresses(&addresses)}});
        tried.merge(true, "own_addresses_changed", &status, &addresses);
        let forged = json!({"status": {"nodeInfo": node_info("forged")}});
        tried.merge(true, "own_machine_id_changed", &status, &forged);
        tried.granted("requests_of_others_listed", "get csr");
        tried.granted_object(
            "serving_request_for_the_api_server_created",
            &thief.serving("as-api-server", &["kubernetes.default.svc"], &["10.96.0.1"])?,
        );
        tried.granted_object(
            "client_request_for_an_administrator_created",
            &self.client(
                "administrator",
                ANY_CLIENT,
                "kubernetes-admin",
                "kubeadm:cluster-admins",
            )?,
        );
        let own_user = format!("system:node:{}", self.own);
        tried.granted_object(
            "node_client_request_in_masters_created",
            &self.client("in-masters", NODE_CLIENT, &own_user, "system:masters")?,
        );
        Ok(())
    }

    fn certificates(&self, tried: &mut Attempts) -> Result<()> {
        let Self { own, other, .. } = self;
        let user = format!("system:node:{other}");
        let name = format!("{own}-other-serving");
        let subject = (&*user, "system:nodes");
        tried.denied_object(
            "client_request_for_another_node",
            &self.client("as-other", NODE_CLIENT, &user, "system:nodes")?,
        );
        tried.denied_object(
            "serving_request_for_another_node",
            &signing_request(&name, SERVING, "server auth", subject, &[other], &[])?,
        );
        tried.denied_object(
            "client_request_for_masters_created",
            &self.client("masters", ANY_CLIENT, "kubernetes-admin", "system:masters")?,
        );
        tried.denied(
            "request_approved",
            &format!("certificate approve {own}-as-api-server"),
        );
        let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        tried.denied_delete("request_deleted", &format!("{requests}/{own}-as-api-server"));
        Ok(())
    }

    fn nodes(&self, tried: &mut Attempts) {
        let Self { own, other, .. } = self;
        let own_path = format!("/api/v1/nodes/{own}");
        let label =
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/picolet-machine-id": "x"}}});
        let taints = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
        tried.denied_delete("own_node_deleted", &own_path);
        tried.merge(false, "own_restricted_label", &own_path, &label);
        tried.merge(
            false,
            "own_restricted_label_by_status",
            &format!("{own_path}/status"),
            &label,
        );
        tried.merge(false, "own_taints", &own_path, &taints);
        tried.denied(
            "own_kubelet_api_by_proxy",
            &format!("get --raw={own_path}/proxy/pods"),
        );
        let path = format!("/api/v1/nodes/{other}");
        let cordon = json!({"spec": {"unschedulable": true}});
        let forged = json!({"status": {"nodeInfo": node_info("forged")}});
        tried.denied("all_nodes_read", "get --raw=/api/v1/nodes");
        tried.denied("another_node_read", &format!("get --raw={path}"));
        tried.merge(false, "another_node_changed", &path, &cordon);
        tried.merge(
            false,
            "another_nodes_status_changed",
            &format!("{path}/status"),
            &forged,
        );
        tried.denied_delete("another_node_deleted", &path);
        tried.denied_object("another_node_created", &node(&format!("{own}-new")));
        tried.denied(
            "another_kubelet_api_by_proxy",
            &format!("get --raw={path}/proxy/pods"),
        );
        tried.denied_object("another_csi_node_created", &csi_node(&format!("{own}-new")));
        let csi_nodes = "/apis/storage.k8s.io/v1/csinodes";
        tried.denied_delete("another_csi_node_deleted", &format!("{csi_nodes}/{other}"));
    }

    fn leases(&self, tried: &mut Attempts) {
        let Self {
            own,
            other,
            namespace,
        } = self;
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{other}");
        let holder = json!({"spec": {"holderIdentity": own}});
        tried.denied("another_lease_read", &format!("get --raw={path}"));
        tried.merge(false, "another_lease_renewed", &path, &holder);
        tried.denied_delete("another_lease_deleted", &path);
        tried.denied_object(
            "another_lease_created",
            &lease(&format!("{own}-new"), "kube-node-lease"),
        );
        tried.denied_object("lease_elsewhere_created", &lease(own, namespace));
    }

    fn secrets(&self, tried: &mut Attempts) {
        let core = format!("/api/v1/namespaces/{}", self.namespace);
        let system = "/api/v1/namespaces/kube-system";
        tried.denied(
            "secret_of_another_nodes_pod",
            &format!("get --raw={core}/secrets/of-victim"),
        );
        tried.denied("all_secrets", &format!("get --raw={core}/secrets"));
        tried.denied("bootstrap_tokens", &format!("get --raw={system}/secrets"));
        tried.denied(
            "configmap_of_others",
            &format!("get --raw={system}/configmaps/kube-root-ca.crt"),
        );
        let token = format!("create token default --namespace={}", self.namespace);
        tried.denied("token_of_a_service_account", &token);
    }

    fn pods_and_rights(&self, tried: &mut Attempts) {
        let Self {
            own,
            other,
            namespace,
        } = self;
        let path = format!("/api/v1/namespaces/{namespace}/pods/of-victim");
        let failed = json!({"status": {"phase": "Failed"}});
        tried.merge(
            false,
            "status_of_another_nodes_pod",
            &format!("{path}/status"),
            &failed,
        );
        tried.denied_delete("another_nodes_pod_deleted", &path);
        tried.denied_object("pod_created", &forced("new", namespace, own, &json!({})));
        for (name, mut pod) in [
            (
                "mirror_pod_of_another_node",
                forced("mirror", namespace, other, &json!({})),
            ),
            (
                "mirror_pod_with_a_secret",
                self.mounting("mirror", own, "of-victim"),
            ),
        ] {
            pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
            tried.denied_object(name, &pod);
        }
        let binding =
            format!("create clusterrolebinding {own} --clusterrole=cluster-admin --user=system:node:{own}");
        tried.denied("rights_granted", &binding);
        let service = "/api/v1/namespaces/default/services/kubernetes";
        let label = json!({"metadata": {"labels": {"x": "y"}}});
        tried.merge(false, "service_changed", service, &label);
    }
}

pub(super) fn confined_by_the_api_server(case: &Case<'_>) -> Result<()> {
    let thief = Thief::new(case)?;
    let scene = Scene {
        own: thief.name.clone(),
        other: format!("{}-victim", thief.name),
        namespace: case.namespace()?,
    };
    thief.register("own-machine", None, &[("InternalIP", "198.51.100.10")])?;
    scene.prepare(case)?;
    let mut tried = Attempts::default();
    scene.granted(&mut tried, &thief)?;
    scene.certificates(&mut tried)?;
    scene.nodes(&mut tried);
    scene.leases(&mut tried);
    scene.secrets(&mut tried);
    scene.pods_and_rights(&mut tried);
    tried.run(&thief)?;

    let Scene {
        own,
        other,
        namespace,
    } = &scene;
    // A secret of a pod of its own, as soon as the authorizer knows of the pod.
    until(LIMIT, "a node reads a secret of its own pod", || {
        let read = ["get", "secret", "of-thief", "--namespace", namespace];
        Ok(thief.kubectl.run(read).is_ok().then_some(()))
    })?;
    // Without an approver nothing is issued but the renewal of its own client certificate, which is asked for last.
    let renewal = scene.client(
        "renewal",
        NODE_CLIENT,
        &format!("system:node:{own}"),
        "system:nodes",
    )?;
    thief.kubectl.run_with_input(CREATE, &renewal.to_string())?;
    wait_issued(case, &format!("{own}-renewal"))?;
    for request in ["as-api-server", "administrator", "in-masters"] {
        let request = format!("{own}-{request}");
        ensure!(is_undecided(case, &request)?, "{request} was decided");
    }
    let admin = case.kubectl();
    for pod in ["of-victim", "of-thief"] {
        admin.run(["delete", "pod", pod, "--namespace", namespace, "--force"])?;
    }
    for node in [own, other] {
        admin.run(["delete", "node", node])?;
    }
    Ok(())
}

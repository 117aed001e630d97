//! What becomes of certificate requests: the approver and the signer of kube-controller-manager
//! (pkg/controller/certificates/approver/sarapprove.go, pkg/controller/certificates/signer/signer.go), done at once.
//!
//! Client certificates of nodes are approved where a bootstrap token asks, or the node itself; serving certificates
//! wait for somebody.

use crate::json::text;
use crate::sign::Wanted;
use crate::state::State;
use crate::target::By;
use crate::timestamp::rfc3339;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_platform::Duration;
use serde_json::{Value, json};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

/// Approves and signs a request about to be stored, if it is one that can be.
pub(crate) fn process(state: &State, by: &By<'_>, request: &mut Value) {
    let Some(signer) = &state.signer else {
        return;
    };
    if text(request, "/status/certificate").is_some_and(|certificate| !certificate.is_empty()) {
        return;
    }
    let has = |request: &Value, kind: &str| {
        let conditions = request["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == kind)
    };
    if has(request, "Denied") || has(request, "Failed") {
        return;
    }
    let serving = match text(request, "/spec/signerName") {
        Some(CLIENT) => false,
        Some(SERVING) => true,
        _ => return,
    };
    let user = text(request, "/spec/username").unwrap_or("").to_owned();
    let groups = request["spec"]["groups"].as_array();
    let bootstraps = groups
        .into_iter()
        .flatten()
        .any(|group| group == "system:bootstrappers");
    // Whoever has a bootstrap token may become any node, a node only itself.
    let user = if bootstraps { String::new() } else { user };
    let is_node = user.starts_with("system:node:");
    if !has(request, "Approved") {
        if serving || !(bootstraps || is_node) {
            return;
        }
        let message = "Auto approving kubelet client certificate.";
        condition(request, by, "Approved", "AutoApproved", message);
    }
    let pem = text(request, "/spec/request").and_then(|text| STANDARD.decode(text).ok());
    let pem = pem
        .and_then(|pem| String::from_utf8(pem).ok())
        .unwrap_or_default();
    let life = request["spec"]["expirationSeconds"]
        .as_u64()
        .map(Duration::from_secs);
    let wanted = Wanted {
        request: &pem,
        user: &user,
        serving,
        now: by.now,
        life: life.map_or(state.options.certificate_life, |life| {
            life.min(state.options.certificate_life)
        }),
    };
    match signer.sign(&wanted) {
        Ok(certificate) => request["status"]["certificate"] = STANDARD.encode(certificate).into(),
        Err(why) => condition(request, by, "Failed", "SignerValidationFailure", &why),
    }
}

fn condition(request: &mut Value, by: &By<'_>, kind: &str, reason: &str, message: &str) {
    let now = rfc3339(by.now);
    let condition = json!({"type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now});
    match request["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => request["status"]["conditions"] = json!([condition]),
    }
}

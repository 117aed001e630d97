//! What k3s serves to nodes beside the API, for tests of those who join it: made from reading k3s
//! (`pkg/server/handlers`, `pkg/nodepassword`), and only where a token was set.

use crate::answer::Answer;
use crate::authentication::K3S_AGENTS;
use crate::error::ApiError;
use crate::http::Head;
use crate::identity::Identity;
use crate::request::Request;
use crate::resources::ResourceId;
use crate::sign::Wanted;
use crate::state::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_platform::UnixMicros;

/// Answers a request for a path of k3s's own; `None` where it is none.
pub(crate) fn handle(
    state: &mut State,
    now: UnixMicros,
    request: &Request,
) -> Option<Result<Answer, ApiError>> {
    state.options.k3s_token.as_ref()?;
    let path = request.head.path.as_str();
    if path == "/cacerts" {
        return Some(Ok(Answer::text(state.options.ca_pem.clone())));
    }
    let file = path.strip_prefix("/v1-k3s/")?;
    let groups = [K3S_AGENTS, "system:nodes", "system:bootstrappers"];
    if !groups.iter().any(|group| request.identity.is_in(group)) {
        return Some(Err(ApiError::refused("forbidden")));
    }
    match file {
        "client-ca.crt" | "server-ca.crt" => Some(Ok(Answer::text(state.options.ca_pem.clone()))),
        "client-kubelet.crt" => Some(sign(state, now, request, false)),
        "serving-kubelet.crt" => Some(sign(state, now, request, true)),
        _ => None,
    }
}

fn sign(state: &mut State, now: UnixMicros, request: &Request, serving: bool) -> Result<Answer, ApiError> {
    let node = known_node(state, &request.identity, &request.head)?;
    let lines = STANDARD.encode(&request.body);
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{lines}\n-----END CERTIFICATE REQUEST-----\n");
    let wanted = Wanted {
        request: &pem,
        user: &format!("system:node:{node}"),
        serving,
        now,
        life: state.options.certificate_life,
    };
    let signer = state
        .signer
        .as_ref()
        .ok_or_else(|| ApiError::internal("nobody signs"))?;
    let certificate = signer.sign(&wanted).map_err(ApiError::internal)?;
    Ok(Answer::text(certificate + &state.options.ca_pem))
}

/// The name of the node that asks, if it is its own.
fn known_node(state: &mut State, identity: &Identity, head: &Head) -> Result<String, ApiError> {
    let needed = |value: &Option<String>, what: &str| {
        let value = value.clone().filter(|value| !value.is_empty());
        value.ok_or_else(|| ApiError::bad_request(format!("{what} not set")))
    };
    let node = needed(&head.k3s_node, "node name")?.to_lowercase();
    let password = needed(&head.k3s_password, "node password")?;
    let nodes = ResourceId::known("nodes");
    let exists = state.store.get(nodes, "", &node).is_some();
    if let Some(own) = identity.user.strip_prefix("system:node:") {
        if own != node {
            return Err(ApiError::bad_request(
                "header node name does not match auth node name",
            ));
        }
        if !exists {
            return Err(ApiError::unauthorized());
        }
    }
    match state.k3s_passwords.get(&node) {
        // With its Node the password goes, by its owner reference.
        Some(known) if *known != password && exists => Err(ApiError::refused(format!(
            "unable to verify password for node {node}: hash does not match"
        ))),
        _ => {
            state.k3s_passwords.insert(node.clone(), password);
            Ok(node)
        }
    }
}

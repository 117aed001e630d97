//! Kubeconfigs: where a cluster is and as whom to go there, in one file.

use super::pki::Certified;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Writes a kubeconfig with everything in it. JSON is YAML, and needs no escaping of ours.
pub(super) fn write(url: &str, ca_pem: &str, user: &str, identity: &Certified) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "picolet", "cluster": {
            "server": url, "certificate-authority-data": STANDARD.encode(ca_pem)}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&identity.certificate_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem)}}],
        "contexts": [{"name": "picolet", "context": {"cluster": "picolet", "user": user}}],
        "current-context": "picolet",
    });
    format!("{config:#}\n")
}

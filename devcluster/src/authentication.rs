//! Who asks: certificates, tokens, and the credential of k3s.

use crate::error::ApiError;
use crate::http::Head;
use crate::identity::Identity;
use crate::state::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The group of those who show k3s's token.
pub(crate) const K3S_AGENTS: &str = "k3s:agent";

/// Who asks: a certificate counts before a token, nothing at all is anonymous.
pub(crate) fn authenticate(
    state: &State,
    certificate: Option<&Identity>,
    head: &Head,
) -> Result<Identity, ApiError> {
    if let Some(identity) = certificate {
        return Ok(identity.clone());
    }
    match &head.authorization {
        None => Ok(Identity::anonymous()),
        Some(value) => {
            let token = value.strip_prefix("Bearer ").map(str::trim);
            token
                .and_then(|token| state.options.tokens.get(token))
                .cloned()
                .or_else(|| k3s_node(state, value))
                .ok_or_else(ApiError::unauthorized)
        }
    }
}

/// Who shows this credential, if k3s knows it.
fn k3s_node(state: &State, authorization: &str) -> Option<Identity> {
    let token = state.options.k3s_token.as_deref()?;
    let known = authorization == format!("Basic {}", STANDARD.encode(token));
    known.then(|| Identity::authenticated("node", [K3S_AGENTS.to_owned()]))
}

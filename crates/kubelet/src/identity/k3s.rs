//! The other way to certificates: k3s signs them at once, for its token and then for the certificate of before.
//!
//! k3s knows the machine behind a name by a password that the machine made (`pkg/nodepassword` of k3s): it is made once, kept
//! before it is told, and outlives every certificate. Whoever loses it loses the name, until the Node is deleted.

use super::IdentityController;
use super::failure::Failure;
use super::request::{Pending, decoded};
use crate::client::Reader;
use crate::host::Host;
use crate::k3s::{FirstCertificate, Signing};
use alloc::string::String;
use alloc::vec::Vec;
use picolet_kube::request::{Foreign, Request, Resource, Verb};
use picolet_platform::{Entropy, Identities, Network, Purpose, Record, RecordError, Records};
use zeroize::Zeroize;

/// Bytes of a node's password, which is told in hexadecimal.
const PASSWORD: usize = 16;

impl<H: Host> IdentityController<'_, H> {
    /// Whether the node has joined a k3s before.
    pub(super) async fn was_joined_to_k3s(&self) -> bool {
        let mut password = [0; PASSWORD];
        self.machine
            .load(Record::NodePassword, &mut password)
            .await
            .is_some()
    }

    /// The node's password, made now if there is none.
    async fn password(&self) -> Result<String, Failure> {
        let mut bytes = [0; PASSWORD];
        let platform = self.machine;
        if platform.load(Record::NodePassword, &mut bytes).await != Some(PASSWORD) {
            // A node with a certificate has told one, which only cannot be read at the moment: with another the name is lost.
            let identities = self.network.identities();
            if identities.lifetime(Purpose::Client).is_some() {
                return Err(Failure::Password(RecordError::Io));
            }
            platform.fill(&mut bytes);
            platform
                .store(Record::NodePassword, &bytes)
                .await
                .map_err(Failure::Password)?;
        }
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
        let mut text = String::with_capacity(2 * PASSWORD);
        text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
        bytes.zeroize();
        Ok(text)
    }

    /// Has a request signed, and returns the certificate (PEM).
    pub(super) async fn sign_by_k3s(
        &self,
        purpose: Purpose,
        pending: &mut Pending,
    ) -> Result<Vec<u8>, Failure> {
        let password = self.password().await?;
        let (node, address) = (&*self.node.name, self.network.address());
        let identities = self.network.identities();
        let request = der(&identities.request(purpose, node, address, &mut pending.key)?)?;
        let signing = Signing {
            serving: purpose == Purpose::Serving,
            node,
            password: &password,
            address,
        };
        let foreign = Foreign {
            path: signing.path(),
            fields: &signing.fields(),
            content_type: "application/pkcs10",
            body: &request,
        };
        let mut answer = FirstCertificate::default();
        let request = Request {
            resource: Resource::Foreign(&foreign),
            verb: Verb::Post,
            body: "",
        };
        self.client.read(&request, &mut answer).await?;
        answer.finish().ok_or(Failure::Answer)
    }
}

/// What is in a PEM of one item.
fn der(pem: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::with_capacity(pem.len());
    for line in pem.as_bytes().split(|byte| *byte == b'\n') {
        if !line.starts_with(b"-") {
            text.extend_from_slice(line);
        }
    }
    decoded(text)
}

impl Reader for FirstCertificate {
    fn feed(&mut self, piece: &[u8]) -> bool {
        self.push(piece);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_comes_out_of_pem() {
        let pem = "-----BEGIN CERTIFICATE REQUEST-----\nMAMC\nAQU=\n-----END CERTIFICATE REQUEST-----\n";
        assert_eq!(der(pem).ok().as_deref(), Some(&[0x30, 3, 2, 1, 5][..]));
        assert!(der("-----\n???\n").is_err());
    }
}

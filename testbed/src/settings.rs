//! Settings for the board, as a person would write them.

use crate::{BOARD, K3S_SECRET, PASSPHRASE, SERVER, SERVER_PORT, SSID, TOKEN, Testbed};
use anyhow::{Context, Result};
use picolet_emulator::Image;
use picolet_store::layout::PICO_W;
use picolet_store::settings::{Field, SLOT, Writer};
use picolet_store::uf2;
use std::net::IpAddr;

impl Testbed {
    /// Certificates, Wi-Fi and the API server for the node `name`, to be loaded over the firmware. `more` is put beside, or in the
    /// place of the same fields.
    ///
    /// # Errors
    /// When the name is none for a node.
    pub fn settings(&self, name: &str, more: &[(Field, &[u8])]) -> Result<Image> {
        let client = self.pki.node(name)?;
        let serving = self.pki.node_serving(name, &[IpAddr::V4(BOARD)])?;
        let own: [(Field, &[u8]); 5] = [
            (Field::ClientCertificate, &client.certificate_der),
            (Field::ClientKey, &client.key_der),
            (Field::ServingCertificate, &serving.certificate_der),
            (Field::ServingKey, &serving.key_der),
            (Field::ClientAuthority, &self.pki.ca().certificate_der),
        ];
        self.settings_with(name, &own, more)
    }

    /// The same with [`TOKEN`] in place of the node's certificates.
    ///
    /// # Errors
    /// When the name is none for a node.
    pub fn joining_settings(&self, name: &str, more: &[(Field, &[u8])]) -> Result<Image> {
        self.settings_with(name, &[(Field::BootstrapToken, TOKEN.as_bytes())], more)
    }

    /// The same with the token of k3s. The board does not look at its hash: whoever made the settings has.
    ///
    /// # Errors
    /// When the name is none for a node.
    pub fn k3s_settings(&self, name: &str, more: &[(Field, &[u8])]) -> Result<Image> {
        let token = format!("K10{}::server:{K3S_SECRET}", "5a".repeat(32));
        self.settings_with(name, &[(Field::BootstrapToken, token.as_bytes())], more)
    }

    fn settings_with(
        &self,
        name: &str,
        credentials: &[(Field, &[u8])],
        more: &[(Field, &[u8])],
    ) -> Result<Image> {
        let server = format!("https://{SERVER}:{SERVER_PORT}");
        let mut block = [0; SLOT];
        let mut writer = Writer::new(&mut block);
        let own: [(Field, &[u8]); 5] = [
            (Field::Ssid, SSID.as_bytes()),
            (Field::Passphrase, PASSPHRASE.as_bytes()),
            (Field::Server, server.as_bytes()),
            (Field::CertificateAuthority, &self.pki.ca().certificate_der),
            (Field::NodeName, name.as_bytes()),
        ];
        let replaced = |field: Field| more.iter().any(|(other, _)| *other == field);
        let own = own.iter().filter(|(field, _)| !replaced(*field));
        for (field, value) in own.chain(credentials).chain(more) {
            writer.put(*field, value)?;
        }
        let blocks = uf2::settings(&PICO_W, writer.finish()?);
        Image::parse(&blocks.flatten().collect::<Vec<u8>>()).context("settings")
    }
}

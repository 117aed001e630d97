//! `picolet provision`: settings for a board, as a file to drag onto it or over its serial line.
//!
//! What a person gives is checked here as far as a computer can: files are read, certificates matched with keys. The
//! form of each value is checked by `picolet-store`, by the very rules of the board. Secrets come from
//! files or variables, since arguments are for everybody on the machine to read; a bootstrap token, which is soon worth nothing, may
//! be an argument, too. None is ever printed.

mod check;
mod country;
mod k3s_cluster;
mod material;
mod onboarding;
mod questions;
mod serial;
mod target;

use crate::cluster::{ClusterArguments, Environment};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use material::{Material, read};
use onboarding::Onboarding;
use picolet_kube::selector::Taint;
use picolet_linux::discovery::{self, KeyHash};
use picolet_linux::joining::{Given, Joining, K3S_URL, Token};
use picolet_linux::k3s;
use picolet_store::layout::Layout;
use picolet_store::settings::{Field, SLOT, Security, SettingsError, Writer};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use target::Target;

/// Make the settings of a board: a file to drag onto it, or sent over its serial line.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Which board it is for.
    #[arg(long, value_name = "BOARD", value_parser = ["pico-w", "pico-2-w"], required_unless_present = "serial")]
    board: Option<String>,
    /// Where to write the settings: a UF2 file to drag onto the board. It holds secrets, and only you can read it.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "serial",
        conflicts_with = "serial"
    )]
    output: Option<PathBuf>,
    /// The board's serial line, such as /dev/ttyACM0, to send the settings over.
    #[arg(long, value_name = "DEVICE")]
    serial: Option<PathBuf>,

    /// The name of the Wi-Fi network. Without it a person at a terminal is asked for network and passphrase.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    ssid: String,
    /// Its passphrase, 8 to 63 characters, from the first line of a file. [default: an open network]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// What was typed in its place.
    #[arg(skip)]
    passphrase: Option<String>,
    /// How it is protected. [default: wpa2-wpa3 with a passphrase, open without]
    #[arg(long, value_name = "MODE")]
    wifi_security: Option<WifiSecurity>,
    /// The network does not tell its name.
    #[arg(long)]
    hidden: bool,
    /// The country that the board is in, as DE or US: the radio keeps its rules. [default: what is allowed everywhere]
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// The board's name for DHCP. [default: the node's name up to its first dot]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// A static address with the length of its network's prefix, as 192.168.1.50/24. [default: DHCP]
    #[arg(long, value_name = "IP/PREFIX")]
    address: Option<String>,
    /// The gateway beside a static address.
    #[arg(long, value_name = "IP", requires = "address")]
    gateway: Option<Ipv4Addr>,
    /// A name server, beside a static address. May repeat.
    #[arg(long, value_name = "IP", requires = "address")]
    dns: Vec<Ipv4Addr>,
    /// A time server. May repeat. [default: the API server's word]
    #[arg(long, value_name = "HOST")]
    ntp: Vec<String>,

    /// Prepare this cluster for the board, as its administrator: apply the rights of deploy/bootstrap.yaml and deploy/rbac.yaml,
    /// create a bootstrap token that expires, and take server and CA from the kubeconfig. In a cluster of k3s the token is one of
    /// k3s, and no approval is needed. Without it $KUBECONFIG is read where no other option says how the board joins.
    #[arg(long, value_name = "FILE", conflicts_with_all = JOINING)]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME", conflicts_with_all = JOINING)]
    context: Option<String>,
    /// Lifetime of the token that is created with a kubeconfig: 30m, 12h or 2d
    #[arg(long, value_name = "TIME", default_value = "1h", conflicts_with_all = JOINING, value_parser = onboarding::lifetime)]
    token_ttl: u64,
    /// The API server. May repeat: the next is tried when one fails. [default: the kubeconfig's; without one, env: K3S_URL]
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// The authority of the API server's certificate (PEM or DER).
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// In place of --certificate-authority: ask the server for the authority of its cluster, and believe it by the hash of its
    /// public key, sha256:…, as kubeadm prints it. May repeat. The settings have the authority itself.
    #[arg(long, value_name = "HASH", conflicts_with = "certificate_authority")]
    discovery_token_ca_cert_hash: Vec<KeyHash>,
    /// Have the board join the cluster with this bootstrap token, abcdef.0123456789abcdef, in place of a certificate: it makes
    /// its keys itself, and asks for certificates and renews them. Or with the token of a k3s cluster, which says by itself what its
    /// authority is. Everybody on this machine can read it here: prefer --token-file. [env: PICOLET_TOKEN, or for k3s K3S_TOKEN, unless
    /// --kubeconfig or --client-certificate is given]
    #[arg(long, value_name = "TOKEN",
        conflicts_with_all = ["client_certificate", "client_key", "serving_certificate", "serving_key"])]
    token: Option<String>,
    /// The same, from the first line of a file.
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["token", "client_certificate", "client_key", "serving_certificate", "serving_key"])]
    token_file: Option<PathBuf>,
    /// The node's certificate (PEM or DER), of CN=system:node:NAME, O=system:nodes.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its key (PEM or DER, P-256).
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// The certificate of the kubelet API (PEM or DER). Without it the port stays closed.
    #[arg(long, value_name = "FILE", requires = "serving_key")]
    serving_certificate: Option<PathBuf>,
    /// Its key (PEM or DER, P-256).
    #[arg(long, value_name = "FILE", requires = "serving_certificate")]
    serving_key: Option<PathBuf>,
    /// The authority of those who may call the kubelet API (PEM or DER). On k3s it is not the server's.
    /// [default: the certificate authority]
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,

    /// The node's name. Without it a person at a terminal is asked.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    node_name: String,
    /// The address that the node reports, where it is not its own.
    #[arg(long, value_name = "IP")]
    node_ip: Option<Ipv4Addr>,
    /// Leave the port out of the node's status, so that k3s dials it directly. A board that joins k3s with its token does so by itself.
    #[arg(long)]
    hide_port: bool,
    /// The namespace whose ConfigMaps drive the device. [default: default]
    #[arg(long, value_name = "NAMESPACE")]
    config_namespace: Option<String>,
    /// Open a read-only port 10255 without TLS, and allow an http:// server. For those who terminate TLS in a proxy.
    #[arg(long)]
    lab_mode: bool,
    /// Bearer tokens for the kubelet API: lines of TOKEN,USER.
    #[arg(long, value_name = "FILE")]
    static_token_file: Option<PathBuf>,
    /// Taints to register with, KEY[=VALUE]:EFFECT, separated by commas; "" for none.
    /// [default: picolet.dev/microcontroller=true:NoSchedule]
    #[arg(long, value_name = "TAINTS")]
    register_with_taints: Option<String>,
    /// Make the board forget who it is, once: the key and the certificates that it got for itself.
    #[arg(long)]
    reset_identity: bool,
    /// Send no log to the UART: GPIO 0 and 1 are yours then.
    #[arg(long)]
    free_uart: bool,

    /// Public key that firmware updates must be signed with: P-256, PEM or DER, as `picolet firmware keygen`, openssl and cosign
    /// write it. May repeat, up to 4 times. [default: the board takes no updates]
    #[arg(long, value_name = "FILE")]
    firmware_key: Vec<PathBuf>,
}

/// The options that say how a board joins without a kubeconfig.
const JOINING: [&str; 6] = [
    "certificate_authority",
    "discovery_token_ca_cert_hash",
    "token",
    "token_file",
    "client_certificate",
    "serving_certificate",
];

const EXAMPLES: &str = "\
Examples:
  A file to drag onto the board, which is plugged in with its BOOTSEL button held; the board joins by itself:
    picolet provision --board pico-w --ssid attic --passphrase-file wifi.txt --country DE \\
      --server https://192.168.1.10:6443 --certificate-authority ca.crt \\
      --token-file token.txt --node-name pico-1 -o settings.uf2
  The same, with a kubeconfig at hand, of k3s too; nothing else has to be prepared in the cluster:
    picolet provision --board pico-w --ssid attic --passphrase-file wifi.txt --country DE \\
      --kubeconfig ~/.kube/config --node-name pico-1 -o settings.uf2
  The same for a k3s cluster, with what k3s token create prints on a server:
    picolet provision --board pico-w --ssid attic --passphrase-file wifi.txt --country DE \\
      --server https://192.168.1.10:6443 --token K10…::abcdef.0123456789abcdef --node-name pico-1 -o settings.uf2
  The same for a board that is given its certificate:
    picolet provision --board pico-w --ssid attic --passphrase-file wifi.txt --country DE \\
      --server https://192.168.1.10:6443 --certificate-authority ca.crt \\
      --client-certificate pico-1.crt --client-key pico-1.key --node-name pico-1 -o settings.uf2
  The same over USB, to a board that runs picolet already: --serial /dev/ttyACM0 in place of -o";

/// How a Wi-Fi network is protected.
#[derive(Clone, Copy, ValueEnum)]
enum WifiSecurity {
    Open,
    Wpa2,
    #[value(name = "wpa2-wpa3")]
    Wpa2Wpa3,
    Wpa3,
}

impl From<WifiSecurity> for Security {
    fn from(security: WifiSecurity) -> Self {
        match security {
            WifiSecurity::Open => Self::Open,
            WifiSecurity::Wpa2 => Self::Wpa2,
            WifiSecurity::Wpa2Wpa3 => Self::Wpa2Wpa3,
            WifiSecurity::Wpa3 => Self::Wpa3,
        }
    }
}

/// Makes settings, and brings them on their way.
///
/// The cluster is changed last: once the settings are complete, and the board answers or the file can be written. What fails
/// after that takes the token back.
pub(crate) fn run(mut arguments: Arguments) -> Result<()> {
    arguments.complete()?;
    let mut block = [0; SLOT];
    let mut writer = Writer::new(&mut block);
    let cluster = arguments.cluster()?;
    for note in arguments.put_all(&mut writer, &cluster)? {
        eprintln!("note: {note}");
    }
    let block = writer.finish()?;
    let target = arguments.target()?;
    if let Some(onboarding) = &cluster.onboarding {
        onboarding.apply(target.unfinished_file())?;
    }
    target.deliver(&arguments.node_name, block)?;
    if let Some(onboarding) = &cluster.onboarding {
        onboarding.keep_token()?;
    }
    Ok(())
}

/// Checks the answer to a question as the board will check it.
fn valid(field: Field, answer: &str) -> Result<()> {
    let mut block = [0; SLOT];
    match Writer::new(&mut block).put(field, answer.as_bytes()) {
        Err(SettingsError::Field(_, what)) => bail!("{what}"),
        put => Ok(put?),
    }
}

/// Where the board goes, and what lets it in.
struct Cluster {
    servers: Vec<String>,
    /// In DER.
    authorities: Vec<Vec<u8>>,
    /// Those of who may call the board, where the cluster has told them. In DER.
    clients: Vec<Vec<u8>>,
    token: Option<String>,
    /// What is still to be done there.
    onboarding: Option<Onboarding>,
}

impl Arguments {
    /// Asks for what is missing.
    fn complete(&mut self) -> Result<()> {
        if self.ssid.is_empty() {
            self.ssid = questions::ask("--ssid", "Wi-Fi network", |answer| valid(Field::Ssid, answer))?;
            if self.passphrase_file.is_none() && !matches!(self.wifi_security, Some(WifiSecurity::Open)) {
                let question = "Its passphrase (none for an open network)";
                self.passphrase = questions::ask_secret(question, |answer| valid(Field::Passphrase, answer))?;
            }
        }
        if self.node_name.is_empty() {
            let name = |answer: &str| valid(Field::NodeName, answer);
            self.node_name = questions::ask("--node-name", "Name of the node", name)?;
        }
        Ok(())
    }

    /// Where the settings go.
    fn target(&self) -> Result<Target> {
        let board = self.board.as_deref();
        match (&self.serial, &self.output, board.and_then(Layout::of)) {
            (Some(device), ..) => Target::board(device, board),
            (None, Some(output), Some(layout)) => Target::file(output, layout),
            _ => bail!("--output and --board are missing, or --serial"),
        }
    }

    /// The kubeconfig to prepare the cluster with: that of `--kubeconfig`, or that of the environment where neither an option nor
    /// `token`, which was found in a variable, says how the board joins.
    fn kubeconfig(&self, token: Option<&Token>) -> Option<ClusterArguments> {
        let is_given = self.kubeconfig.is_some() || self.context.is_some();
        let joins_otherwise = token.is_some()
            || self.certificate_authority.is_some()
            || !self.discovery_token_ca_cert_hash.is_empty()
            || self.client_certificate.is_some()
            || self.serving_certificate.is_some()
            || self.lab_mode;
        let is_wanted = is_given || !joins_otherwise && Environment::of_process().names_kubeconfig();
        is_wanted.then(|| ClusterArguments {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        })
    }

    fn cluster(&self) -> Result<Cluster> {
        let flag = Field::CertificateAuthority.flag();
        let by_hand = self.client_certificate.as_ref().map(|_| "--client-certificate");
        let Joining {
            token,
            servers,
            warnings,
        } = Joining::new(Given {
            token: self.token.as_deref(),
            token_file: self.token_file.as_deref(),
            servers: &self.server,
            identity: (self.kubeconfig.as_ref().map(|_| "--kubeconfig"))
                .or(self.context.as_ref().map(|_| "--context"))
                .or(by_hand),
            names_server: self.kubeconfig.is_some() || self.context.is_some(),
        })?;
        for warning in warnings {
            eprintln!("note: {warning}");
        }
        let kubeconfig = self.kubeconfig(token.as_ref());
        // That of the environment names the server, too.
        let servers = match kubeconfig {
            Some(_) => self.server.clone(),
            None => servers,
        };
        if servers.is_empty() && kubeconfig.is_none() {
            bail!("--server is missing: pass it or --kubeconfig, or set {K3S_URL} or KUBECONFIG");
        }
        if let Some(Token { origin, .. }) = token.as_ref().filter(|_| self.serving_certificate.is_some()) {
            bail!(
                "{origin} cannot be used with --serving-certificate: a board that joins with a token has its serving certificate \
                 issued, too"
            );
        }
        if let Some(kubeconfig) = &kubeconfig {
            let namespace = self.config_namespace.as_deref().unwrap_or("default");
            let onboarding = Onboarding::new(kubeconfig, &self.node_name, namespace, self.token_ttl)?;
            let servers = match servers.is_empty() {
                true => vec![onboarding.server_for_board()?],
                false => servers,
            };
            let place = match &self.kubeconfig {
                Some(path) => format!("--kubeconfig {}", path.display()),
                None => {
                    eprintln!(
                        "note: the board joins the cluster of KUBECONFIG, at {}",
                        servers[0]
                    );
                    "KUBECONFIG".to_owned()
                }
            };
            if let Some(shown) = onboarding.server_certificate() {
                for warning in servers
                    .iter()
                    .filter_map(|server| check::presented(server, &shown))
                {
                    eprintln!("note: {warning}");
                }
            }
            // What is in a file is read where it is put.
            let clients = self.client_ca_file.as_ref().map(|_| Vec::new());
            let (token, clients) = match onboarding.k3s_cluster(&servers[0], clients)? {
                Some(k3s) => (k3s.token, k3s.clients),
                None => (onboarding.token().to_owned(), Vec::new()),
            };
            return Ok(Cluster {
                servers,
                authorities: material::authorities_in(onboarding.authority(), &place)?,
                clients: match clients.is_empty() {
                    true => Vec::new(),
                    false => material::authorities_in(&clients, &place)?,
                },
                token: Some(token),
                onboarding: Some(onboarding),
            });
        }
        if let Some(cluster) = self.k3s_cluster(token.as_ref(), &servers)? {
            return Ok(cluster);
        }
        let hashes = &self.discovery_token_ca_cert_hash;
        let authorities = match (&self.certificate_authority, servers.first()) {
            (Some(path), _) => material::authorities(flag, path)?,
            (None, Some(server)) if !hashes.is_empty() => {
                material::authorities_in(&discovery::authority(&servers, hashes)?, server)?
            }
            _ => match &token {
                Some(Token { origin, .. }) => bail!(
                    "{origin}: --certificate-authority or --discovery-token-ca-cert-hash is required with it: the board tells its \
                     token to its own cluster only"
                ),
                None => Vec::new(),
            },
        };
        Ok(Cluster {
            servers,
            authorities,
            clients: Vec::new(),
            token: token.map(|token| token.secret),
            onboarding: None,
        })
    }

    /// The cluster, if the token is one of k3s.
    fn k3s_cluster(&self, token: Option<&Token>, servers: &[String]) -> Result<Option<Cluster>> {
        let (Some(token), Some(server)) = (token, servers.first()) else {
            return Ok(None);
        };
        let flag = Field::CertificateAuthority.flag();
        let authority = match &self.certificate_authority {
            Some(path) => {
                let all = material::authorities(flag, path)?;
                let pem = all.iter().map(|der| picolet_tls::x509::pem("CERTIFICATE", der));
                Some(pem.collect::<String>().into_bytes())
            }
            None => None,
        };
        let full = k3s::full_token(&token.secret, authority.as_deref(), token.is_of_k3s());
        let Some(full) = full.with_context(|| token.origin.clone())? else {
            return Ok(None);
        };
        // What is in a file is read where it is put.
        let clients = self.client_ca_file.as_ref().map(|_| Vec::new());
        let found = discovery::ask_in_turn(servers, |server| {
            let token = (full.clone(), &*token.origin);
            k3s::Cluster::find(server, token, authority.clone(), clients.clone())
        })?;
        Ok(Some(Cluster {
            servers: servers.to_vec(),
            authorities: material::authorities_in(&found.authority, server)?,
            clients: match found.clients.is_empty() {
                true => Vec::new(),
                false => material::authorities_in(&found.clients, &format!("{server}/v1-k3s/client-ca.crt"))?,
            },
            token: Some(found.token),
            onboarding: None,
        }))
    }

    /// Puts all that was given. Returns what a person should know of it.
    fn put_all(&self, writer: &mut Writer<'_>, cluster: &Cluster) -> Result<Vec<String>> {
        let mut notes: Vec<String> = self
            .country
            .as_deref()
            .and_then(country::warning)
            .into_iter()
            .collect();
        for server in &cluster.servers {
            notes.extend(check::server(server)?);
        }
        self.put_network(writer, cluster)?;
        // Before the certificates, which are compared with it.
        writer.put(Field::NodeName, self.node_name.as_bytes())?;
        self.put_material(writer, cluster, &mut notes)?;
        if let Some(address) = self.node_ip {
            writer.put(Field::NodeIp, &address.octets())?;
        }
        if let Some(namespace) = &self.config_namespace {
            writer.put(Field::ConfigNamespace, namespace.as_bytes())?;
        }
        if let Some(path) = &self.static_token_file {
            let text = read("static-token-file", path)?;
            for token in picolet_linux::static_tokens(&String::from_utf8_lossy(&text))? {
                let value = format!("{},{}", token.token, token.user);
                writer.put(Field::StaticToken, value.as_bytes())?;
            }
        }
        if let Some(taints) = &self.register_with_taints {
            for taint in taints.split(',').map(str::trim) {
                if !taint.is_empty() && Taint::parse(taint).is_none() {
                    bail!(
                        "--register-with-taints {taint}: write it as KEY[=VALUE]:EFFECT, with NoSchedule, PreferNoSchedule or NoExecute"
                    );
                }
                writer.put(Field::Taint, taint.as_bytes())?;
            }
        }
        if self.reset_identity {
            let mut number = [0; 8];
            getrandom::fill(&mut number).context("--reset-identity: no randomness")?;
            writer.put(Field::ResetIdentity, &number)?;
        }
        for path in &self.firmware_key {
            let key = crate::firmware::keys::read_public("--firmware-key", path)?;
            writer.put(Field::FirmwareKey, &key.to_spki_der())?;
        }
        for (given, field) in [
            (self.lab_mode, Field::LabMode),
            (self.hide_port, Field::HidePort),
            (self.free_uart, Field::FreeUart),
        ] {
            if given {
                writer.put(field, &[])?;
            }
        }
        Ok(notes)
    }

    fn put_network(&self, writer: &mut Writer<'_>, cluster: &Cluster) -> Result<()> {
        writer.put(Field::Ssid, self.ssid.as_bytes())?;
        if let Some(path) = &self.passphrase_file {
            let text = read("passphrase-file", path)?;
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            writer.put(Field::Passphrase, line.strip_suffix(b"\r").unwrap_or(line))?;
        } else if let Some(passphrase) = &self.passphrase {
            writer.put(Field::Passphrase, passphrase.as_bytes())?;
        }
        if let Some(security) = self.wifi_security {
            writer.put(Field::Security, &[Security::from(security) as u8])?;
        }
        if self.hidden {
            writer.put(Field::Hidden, &[])?;
        }
        if let Some(country) = &self.country {
            writer.put(Field::Country, country.as_bytes())?;
        }
        if let Some(hostname) = &self.hostname {
            writer.put(Field::Hostname, hostname.as_bytes())?;
        }
        if let Some(text) = &self.address {
            let parsed = text.split_once('/').and_then(|(address, prefix)| {
                let address: Ipv4Addr = address.parse().ok()?;
                Some((address, prefix.parse::<u8>().ok()?))
            });
            let (address, prefix) = parsed.with_context(|| {
                format!("--address {text}: write it as ADDRESS/PREFIX, such as 192.168.1.50/24")
            })?;
            if let Some(gateway) = self.gateway {
                check::gateway(gateway, address, prefix)?;
            }
            let [a, b, c, d] = address.octets();
            writer.put(Field::Address, &[a, b, c, d, prefix])?;
        }
        if let Some(gateway) = self.gateway {
            writer.put(Field::Gateway, &gateway.octets())?;
        }
        for server in &self.dns {
            writer.put(Field::Dns, &server.octets())?;
        }
        for server in &self.ntp {
            writer.put(Field::Ntp, server.as_bytes())?;
        }
        for server in &cluster.servers {
            let put = writer.put(Field::Server, server.as_bytes());
            put.map_err(|error| match error {
                SettingsError::Field(_, what) => anyhow!("--server {server}: {what}"),
                error => error.into(),
            })?;
        }
        Ok(())
    }

    fn put_material(
        &self,
        writer: &mut Writer<'_>,
        cluster: &Cluster,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        for der in &cluster.authorities {
            writer.put(Field::CertificateAuthority, der)?;
        }
        if let Some(path) = &self.client_ca_file {
            for der in material::authorities(Field::ClientAuthority.flag(), path)? {
                writer.put(Field::ClientAuthority, &der)?;
            }
        }
        for der in &cluster.clients {
            writer.put(Field::ClientAuthority, der)?;
        }
        if let Some(token) = &cluster.token {
            writer.put(Field::BootstrapToken, token.as_bytes())?;
        } else if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            let material = Material::read("client", certificate, key)?;
            material.check_node(&self.node_name, notes)?;
            for der in &material.chain {
                writer.put(Field::ClientCertificate, der)?;
            }
            writer.put(Field::ClientKey, &material.key)?;
        } else if cluster
            .servers
            .iter()
            .any(|server| server.starts_with("https://"))
        {
            bail!(
                "--token: an https:// server wants to know who the node is; give a bootstrap token (kubeadm token create \
                 prints one), or with --client-certificate and --client-key the certificate of CN=system:node:{}, \
                 O=system:nodes and its key",
                self.node_name
            );
        }
        if let (Some(certificate), Some(key)) = (&self.serving_certificate, &self.serving_key) {
            let material = Material::read("serving", certificate, key)?;
            material.check_serving(self.node_ip, notes)?;
            for der in &material.chain {
                writer.put(Field::ServingCertificate, der)?;
            }
            writer.put(Field::ServingKey, &material.key)?;
        }
        Ok(())
    }
}

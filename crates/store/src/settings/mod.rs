//! The settings: what people tell a board, in a region that only they write.
//!
//! # The region
//! Two slots of [`SLOT`] bytes, which hold the same block. The first of them that is whole counts. Whoever writes new
//! settings, a board that is told them or a file that is dragged onto it, writes the first slot and then the second:
//! whenever the power is cut, there are the old settings or the new ones. [`mend`] makes both slots the same again.
//!
//! # A block
//! All numbers are little-endian. What is behind the last entry is not looked at.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `picolet` and a zero |
//! | 8 | 2 | version of this format, [`VERSION`] |
//! | 10 | 2 | zero |
//! | 12 | 4 | bytes of the entries, at most [`CAPACITY`] |
//! | 16 | 4 | CRC-32 (ISO-HDLC, as in zlib) of the entries |
//! | 20 | 4 | CRC-32 of the 20 bytes before |
//! | 256 | | entries |
//!
//! An entry is the number of a [`Field`] (1 byte), the length of its value (2 bytes) and the value. The forms of the
//! values are with the fields. Entries with unknown numbers are passed over, so that old firmware reads settings with
//! something new in them; what old firmware must not miss raises the version.
//!
//! The header has a page of its own, which a board programs last.
//!
//! # Reading
//! [`Settings`] borrows the entries and allocates nothing. A board borrows a copy in RAM, made by [`load`]: it may be given
//! new settings while it runs, and what is borrowed must not change. Everything is checked once, by [`Settings::read`], and by the same rules on the computer that makes the block.

mod check;
mod field;
#[cfg(feature = "flash")]
mod install;
mod values;
mod writer;

pub use field::Field;
#[cfg(feature = "flash")]
pub use install::{InstallError, install, load, mend, remove};
pub use values::{Address, Security, StaticToken, is_bootstrap_token, is_k3s_token};
pub use writer::Writer;

use core::fmt;
use core::net::Ipv4Addr;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use picolet_platform::Server;

/// The version of the format.
pub const VERSION: u16 = 1;
/// Bytes of one slot.
pub const SLOT: usize = 8192;
/// Bytes of the whole region.
pub const REGION: usize = 2 * SLOT;
/// Bytes of a block before its entries: a page, so that it can be programmed last.
pub const HEADER: usize = 256;
/// The most bytes that the entries of a block can have.
pub const CAPACITY: usize = SLOT - HEADER;

const MAGIC: &[u8; 8] = b"picolet\0";
static CHECKSUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// The checksum of a block's entries.
pub fn checksum(entries: &[u8]) -> u32 {
    CHECKSUM.checksum(entries)
}

/// Why there are no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// Nobody has written any.
    Missing,
    /// There were some, and they are damaged.
    Damaged,
    /// They are of a version of the format that this firmware does not know.
    Version(u16),
    /// A value is not what its field takes, or a field is missing that another one needs. With what it takes.
    Field(Field, &'static str),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "there are no settings; send some with `picolet provision --serial`, or drag a file of `picolet provision -o` onto the board",
            ),
            Self::Damaged => {
                f.write_str("the settings are damaged; write them again with `picolet provision`")
            }
            Self::Version(version) => write!(
                f,
                "the settings have format {version}, this firmware reads {VERSION}; use firmware and `picolet provision` of one release"
            ),
            Self::Field(field, what) => write!(f, "--{}: {what}", field.flag()),
        }
    }
}

impl core::error::Error for SettingsError {}

/// Settings that were found to be in order.
///
/// As large as a reference. Each question walks over some thirty entries; nothing is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Settings<'a> {
    entries: &'a [u8],
}

/// Never shows a secret.
impl fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({})", self.node_name())
    }
}

impl<'a> Settings<'a> {
    /// Reads the settings that count of a whole region, as the processor sees it.
    ///
    /// # Errors
    /// [`SettingsError::Missing`] where neither slot begins as settings do, [`SettingsError::Damaged`] where one does and none is whole.
    pub fn read(region: &'a [u8]) -> Result<Self, SettingsError> {
        match first(region) {
            Some((header, slot)) => Self::check(header, &slot[HEADER..]),
            None if region.chunks(SLOT).any(|slot| slot.starts_with(MAGIC)) => Err(SettingsError::Damaged),
            None => Err(SettingsError::Missing),
        }
    }

    /// Reads one block.
    ///
    /// # Errors
    /// As for a region of which this is the only slot.
    pub fn read_block(block: &'a [u8]) -> Result<Self, SettingsError> {
        let header = Header::read(block).ok_or(SettingsError::Damaged)?;
        let entries = &block[HEADER..];
        if header.version == VERSION && !header.covers(entries) {
            return Err(SettingsError::Damaged);
        }
        Self::check(header, entries)
    }

    /// Reads entries without the header before them.
    ///
    /// # Errors
    /// Names the first field that is wrong; [`SettingsError::Damaged`] where the entries do not end where they should.
    pub fn read_entries(entries: &'a [u8]) -> Result<Self, SettingsError> {
        check::entries(entries)?;
        let settings = Self { entries };
        check::together(&settings)?;
        Ok(settings)
    }

    fn check(header: Header, entries: &'a [u8]) -> Result<Self, SettingsError> {
        if header.version != VERSION {
            return Err(SettingsError::Version(header.version));
        }
        let entries = entries.get(..header.length).ok_or(SettingsError::Damaged)?;
        Self::read_entries(entries)
    }

    /// All entries, as they are sent to a board.
    pub fn entries(&self) -> &'a [u8] {
        self.entries
    }

    /// The values of a field, in their order.
    fn all(self, field: Field) -> impl Iterator<Item = &'a [u8]> + Clone {
        Entries(self.entries)
            .filter(move |(tag, _)| *tag == field as u8)
            .map(|(_, value)| value)
    }

    fn first(self, field: Field) -> Option<&'a [u8]> {
        self.all(field).next()
    }

    fn text(self, field: Field) -> Option<&'a str> {
        self.first(field).and_then(|value| str::from_utf8(value).ok())
    }

    fn texts(self, field: Field) -> impl Iterator<Item = &'a str> + Clone {
        self.all(field).filter_map(|value| str::from_utf8(value).ok())
    }

    fn has(self, field: Field) -> bool {
        self.first(field).is_some()
    }

    /// The name of the Wi-Fi network.
    pub fn ssid(&self) -> &'a str {
        self.text(Field::Ssid).unwrap_or_default()
    }

    /// The passphrase of the Wi-Fi network, empty where it is open.
    pub fn passphrase(&self) -> &'a str {
        self.text(Field::Passphrase).unwrap_or_default()
    }

    /// How the Wi-Fi network is protected. Where nothing is said: by WPA2 or WPA3 if there is a passphrase.
    pub fn security(&self) -> Security {
        let named = self.first(Field::Security).and_then(Security::from_value);
        named.unwrap_or(if self.has(Field::Passphrase) {
            Security::Wpa2Wpa3
        } else {
            Security::Open
        })
    }

    /// Whether the Wi-Fi network does not tell its name.
    pub fn hidden(&self) -> bool {
        self.has(Field::Hidden)
    }

    /// The country whose rules the radio keeps, by ISO 3166-1; `XX` for what is allowed everywhere.
    pub fn country(&self) -> &'a str {
        self.text(Field::Country).unwrap_or("XX")
    }

    /// The name that is told to the DHCP server. Where nothing is said: the first label of the node's name.
    pub fn hostname(&self) -> &'a str {
        let of_node = || {
            let label = self.node_name().split('.').next().unwrap_or_default();
            // ASCII, as all names of nodes: no character is cut.
            label
                .get(..check::HOSTNAME)
                .unwrap_or(label)
                .trim_end_matches('-')
        };
        self.text(Field::Hostname).unwrap_or_else(of_node)
    }

    /// The static address, or `None` where DHCP is asked.
    pub fn address(&self) -> Option<Address> {
        let (address, prefix) = values::address(self.first(Field::Address)?)?;
        let gateway = self.first(Field::Gateway).and_then(values::ipv4);
        Some(Address {
            address,
            prefix,
            gateway,
        })
    }

    /// Name servers, in place of those that DHCP names. At most three.
    pub fn dns(&self) -> impl Iterator<Item = Ipv4Addr> + Clone + 'a {
        self.all(Field::Dns).filter_map(values::ipv4)
    }

    /// Time servers by name or address, in the order in which they are asked. At most three.
    pub fn ntp(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.texts(Field::Ntp)
    }

    /// API servers, in the order in which they are tried. At least one, at most four.
    pub fn servers(&self) -> impl Iterator<Item = Server<'a>> + Clone {
        self.texts(Field::Server)
            .filter_map(|url| Server::parse(url).ok())
    }

    /// The authorities of the API servers' certificates, in DER.
    pub fn certificate_authorities(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.all(Field::CertificateAuthority)
    }

    /// The node's certificate and those between it and its authority, in DER, the node's first. Empty where the node
    /// is to get one.
    pub fn client_certificate(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.all(Field::ClientCertificate)
    }

    /// Its private key: PKCS#8 or SEC 1 in DER.
    pub fn client_key(&self) -> Option<&'a [u8]> {
        self.first(Field::ClientKey)
    }

    /// The certificate of the kubelet API, as [`client_certificate`](Self::client_certificate).
    pub fn serving_certificate(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.all(Field::ServingCertificate)
    }

    /// Its private key: PKCS#8 or SEC 1 in DER.
    pub fn serving_key(&self) -> Option<&'a [u8]> {
        self.first(Field::ServingKey)
    }

    /// The authorities of those who may call the kubelet API, in DER. Where nothing is said: those of the API server.
    pub fn client_authorities(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.all(if self.has(Field::ClientAuthority) {
            Field::ClientAuthority
        } else {
            Field::CertificateAuthority
        })
    }

    /// The bootstrap token, or the full token of a k3s cluster, with which the node asks for its first certificate: a secret. Never
    /// beside certificates.
    pub fn bootstrap_token(&self) -> Option<&'a str> {
        self.text(Field::BootstrapToken)
    }

    /// The node's name.
    pub fn node_name(&self) -> &'a str {
        self.text(Field::NodeName).unwrap_or_default()
    }

    /// The address that the node reports, where it is not its own.
    pub fn node_ip(&self) -> Option<Ipv4Addr> {
        self.first(Field::NodeIp).and_then(values::ipv4)
    }

    /// Whether the port of the kubelet API is left out of the node's status, as k3s needs it.
    pub fn hide_port(&self) -> bool {
        self.has(Field::HidePort)
    }

    /// The namespace whose ConfigMaps drive the device.
    pub fn config_namespace(&self) -> &'a str {
        self.text(Field::ConfigNamespace).unwrap_or("default")
    }

    /// Whether the read-only port and servers without TLS are allowed.
    pub fn lab_mode(&self) -> bool {
        self.has(Field::LabMode)
    }

    /// Bearer tokens that are accepted at the kubelet API. At most eight.
    pub fn static_tokens(&self) -> impl Iterator<Item = StaticToken<'a>> + Clone {
        self.texts(Field::StaticToken).filter_map(StaticToken::parse)
    }

    /// The taints that the node registers with, each `KEY[=VALUE]:EFFECT`; `None` where nothing is said, and none at
    /// all where that was asked for. At most eight.
    pub fn taints(&self) -> Option<impl Iterator<Item = &'a str> + Clone> {
        let taints = self.texts(Field::Taint).filter(|taint| !taint.is_empty());
        self.has(Field::Taint).then_some(taints)
    }

    /// Where the device is to forget who it is: a number made for this one time. The device keeps it, and forgets
    /// nothing more on account of the same number.
    pub fn reset_identity(&self) -> Option<u64> {
        let value = self.first(Field::ResetIdentity)?;
        value.try_into().ok().map(u64::from_le_bytes)
    }

    /// The public keys that firmware updates may be signed with, P-256 as SubjectPublicKeyInfo in DER. At most four. Without one
    /// the board takes no updates.
    pub fn firmware_keys(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.all(Field::FirmwareKey)
    }

    /// Whether the log goes to the UART on GPIO 0 and 1. Where it does not, both are the user's.
    pub fn uart_log(&self) -> bool {
        !self.has(Field::FreeUart)
    }
}

/// What is before the entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u16,
    pub(crate) length: usize,
    pub(crate) checksum: u32,
}

impl Header {
    /// Bytes that are used of its page.
    pub(crate) const BYTES: usize = 24;

    /// Reads a whole header, of whatever version.
    fn read(block: &[u8]) -> Option<Self> {
        let header = block.get(..HEADER)?;
        let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let whole = header.starts_with(MAGIC) && word(20)? == checksum(&header[..20]);
        let version = u16::from_le_bytes(header.get(8..10)?.try_into().ok()?);
        whole.then_some(Self {
            version,
            length: word(12)? as usize,
            checksum: word(16)?,
        })
    }

    pub(crate) fn bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        let sum = checksum(&bytes[..20]);
        bytes[20..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Whether it is the header of these entries.
    fn covers(self, entries: &[u8]) -> bool {
        entries
            .get(..self.length)
            .is_some_and(|entries| checksum(entries) == self.checksum)
    }
}

/// The slot that counts, with its header.
fn first(region: &[u8]) -> Option<(Header, &[u8])> {
    region.chunks_exact(SLOT).take(2).find_map(|slot| {
        let header = Header::read(slot).filter(|header| header.covers(&slot[HEADER..]))?;
        Some((header, slot))
    })
}

/// Walks over entries, and ends where one does not fit.
#[derive(Clone)]
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, low, high], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u16::from_le_bytes([low, high]).into())?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests;

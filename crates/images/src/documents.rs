//! Documents of a registry: index, manifest, image configuration, token, error.
//!
//! They are decoded while they stream by; nothing else of them is held than what is here.

use crate::digest::Digest;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use picolet_kube::json::{Code, Decoder, Field, JsonError, Shape, Sink};
use picolet_kube::shape;
use zeroize::Zeroizing;

/// Limit for the number of layers.
pub const LAYERS: usize = 8;
/// Limit for the length of a media type in bytes (RFC 6838, section 4.2: 127 on each side of the slash).
const MEDIA_TYPE_BYTES: usize = 255;
/// Limit for the length of a token in bytes.
pub const TOKEN_BYTES: usize = 4096;
/// Limit for the length of all strings of a configuration in bytes.
pub const CONFIG_BYTES: usize = 4096;
/// Limit for the number of strings of a configuration.
pub const CONFIG_STRINGS: usize = 96;
/// Limit for the length of a message of a registry in bytes.
const MESSAGE_BYTES: usize = 200;

/// Media types of indexes and manifests, for `Accept`.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Why a document is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// It is not JSON, or ends early.
    Json,
    /// A digest, size or media type is missing or malformed.
    Malformed,
    /// It has more layers or longer strings than are supported.
    TooLarge,
    /// No manifest of an index is for this platform.
    NoMatch,
}

impl DocumentError {
    /// The message; for an index without a match it is containerd's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "malformed JSON",
            Self::Malformed => "malformed descriptor",
            Self::TooLarge => "too many layers or too long strings",
            Self::NoMatch => "no match for platform in manifest",
        }
    }
}

impl From<JsonError> for DocumentError {
    fn from(_: JsonError) -> Self {
        Self::Json
    }
}

/// What content is, and where it is (OCI image specification, "Content Descriptors").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: Box<str>,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u32,
}

/// The platform that a manifest of an index is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// Operating system.
    pub os: Box<str>,
    /// Processor.
    pub architecture: Box<str>,
    /// Variant of the processor; here, of the board.
    pub variant: Box<str>,
}

const MEDIA_TYPE: Field = Field(32);
const DIGEST: Field = Field(33);
const SIZE: Field = Field(34);
const OS: Field = Field(35);
const ARCHITECTURE: Field = Field(36);
const VARIANT: Field = Field(37);
const ARTIFACT_TYPE: Field = Field(38);
const CONFIG: Field = Field(39);
const LAYER: Field = Field(40);
const MANIFEST: Field = Field(41);

const DESCRIPTOR: Shape = Shape::Object(&[
    ("mediaType", Shape::Value(MEDIA_TYPE)),
    ("digest", Shape::Value(DIGEST)),
    ("size", Shape::Value(SIZE)),
    (
        "platform",
        Shape::Object(&[
            ("os", Shape::Value(OS)),
            ("architecture", Shape::Value(ARCHITECTURE)),
            ("variant", Shape::Value(VARIANT)),
        ]),
    ),
]);

const MANIFEST_SHAPE: Code = shape!(Shape::Object(&[
    ("artifactType", Shape::Value(ARTIFACT_TYPE)),
    ("config", Shape::Group(CONFIG, &DESCRIPTOR)),
    ("layers", Shape::List(&Shape::Group(LAYER, &DESCRIPTOR))),
    ("manifests", Shape::List(&Shape::Group(MANIFEST, &DESCRIPTOR))),
]));

/// Ranks a platform for selection from an index: lower is better, `None` is no match.
pub type Rank = fn(&Platform) -> Option<u8>;

/// What a reference resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// An index: the manifest that is to be fetched next.
    Index(Descriptor),
    /// A manifest.
    Manifest(Manifest),
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Type of an artifact that is not an image; empty for an image.
    pub artifact_type: Box<str>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers in their order, at most [`LAYERS`].
    pub layers: Vec<Descriptor>,
}

/// A descriptor that is being read.
#[derive(Default)]
struct Draft {
    media_type: Box<str>,
    digest: Option<Digest>,
    size: Option<u32>,
    platform: Platform,
}

impl Draft {
    fn finish(self) -> Result<Descriptor, DocumentError> {
        match (self.digest, self.size) {
            (Some(digest), Some(size)) => Ok(Descriptor {
                media_type: self.media_type,
                digest,
                size,
            }),
            _ => Err(DocumentError::Malformed),
        }
    }
}

/// Collects one string of limited length.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Text {
    /// Takes a piece. With the last one returns the string, or `None` inside if it is too long or not UTF-8.
    fn push(&mut self, piece: &[u8], last: bool, limit: usize) -> Option<Option<Box<str>>> {
        if self.bytes.len() + piece.len() > limit {
            self.overflow = true;
        } else {
            self.bytes.extend_from_slice(piece);
        }
        if !last {
            return None;
        }
        let bytes = core::mem::take(&mut self.bytes);
        let overflow = core::mem::take(&mut self.overflow);
        let text = String::from_utf8(bytes).ok().filter(|_| !overflow);
        Some(text.map(String::into_boxed_str))
    }
}

struct ManifestSink {
    rank: Rank,
    draft: Draft,
    text: Text,
    artifact_type: Box<str>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    best: Option<(u8, Descriptor)>,
    is_index: bool,
    error: Option<DocumentError>,
}

impl ManifestSink {
    fn close(&mut self, field: Field) -> Result<(), DocumentError> {
        let draft = core::mem::take(&mut self.draft);
        match field {
            CONFIG => self.config = Some(draft.finish()?),
            LAYER if self.layers.len() == LAYERS => return Err(DocumentError::TooLarge),
            LAYER => self.layers.push(draft.finish()?),
            // Entries for other platforms may be of any size and algorithm.
            _ => {
                if let Some(rank) = (self.rank)(&draft.platform)
                    && self.best.as_ref().is_none_or(|(best, _)| rank < *best)
                {
                    self.best = Some((rank, draft.finish()?));
                }
            }
        }
        Ok(())
    }
}

impl Sink for ManifestSink {
    fn enter(&mut self, field: Field) {
        self.draft = Draft::default();
        self.is_index |= field == MANIFEST;
    }

    fn leave(&mut self, field: Field) {
        if let Err(error) = self.close(field) {
            self.error.get_or_insert(error);
        }
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let Some(value) = self.text.push(piece, last, MEDIA_TYPE_BYTES) else {
            return;
        };
        let value = value.unwrap_or_default();
        let draft = &mut self.draft;
        match field {
            MEDIA_TYPE => draft.media_type = value,
            DIGEST => draft.digest = Digest::parse(&value),
            SIZE => draft.size = value.parse().ok(),
            OS => draft.platform.os = value,
            ARCHITECTURE => draft.platform.architecture = value,
            VARIANT => draft.platform.variant = value,
            _ => self.artifact_type = value,
        }
    }
}

/// Decodes an index or a manifest, of OCI or Docker: what is there decides, not the media type.
pub struct ManifestDecoder {
    decoder: Decoder,
    sink: ManifestSink,
}

impl ManifestDecoder {
    /// A decoder that selects the manifest of an index by `rank`; of equal ranks, the first.
    pub fn new(rank: Rank) -> Self {
        Self {
            decoder: Decoder::new(MANIFEST_SHAPE),
            sink: ManifestSink {
                rank,
                draft: Draft::default(),
                text: Text::default(),
                artifact_type: Box::default(),
                config: None,
                layers: Vec::new(),
                best: None,
                is_index: false,
                error: None,
            },
        }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), DocumentError> {
        Ok(self.decoder.feed(piece, &mut self.sink)?)
    }

    /// Returns what was decoded.
    ///
    /// # Errors
    /// The document is incomplete, malformed or too large, or is an index without a manifest for this platform.
    pub fn finish(self) -> Result<Resolved, DocumentError> {
        whole(&self.decoder)?;
        let sink = self.sink;
        if let Some(error) = sink.error {
            return Err(error);
        }
        match (sink.is_index, sink.best, sink.config) {
            (true, Some((_, manifest)), None) => Ok(Resolved::Index(manifest)),
            (true, None, None) => Err(DocumentError::NoMatch),
            (false, _, Some(config)) => Ok(Resolved::Manifest(Manifest {
                artifact_type: sink.artifact_type,
                config,
                layers: sink.layers,
            })),
            // Both at once could be read as the one here and as the other elsewhere.
            _ => Err(DocumentError::Malformed),
        }
    }
}

/// Checks that one document was read, and nothing follows it.
fn whole(decoder: &Decoder) -> Result<(), DocumentError> {
    if decoder.documents() == 1 && decoder.at_boundary() {
        Ok(())
    } else {
        Err(DocumentError::Json)
    }
}

const ENTRYPOINT: Field = Field(32);
const CMD: Field = Field(33);
const ENV: Field = Field(34);
const DIFF_IDS: Field = Field(35);
const CONFIG_OS: Field = Field(36);
const CONFIG_ARCHITECTURE: Field = Field(37);
const WORKING_DIR: Field = Field(38);
const USER: Field = Field(39);

const CONFIG_SHAPE: Code = shape!(Shape::Object(&[
    ("os", Shape::Value(CONFIG_OS)),
    ("architecture", Shape::Value(CONFIG_ARCHITECTURE)),
    (
        "config",
        Shape::Object(&[
            ("Entrypoint", Shape::List(&Shape::Value(ENTRYPOINT))),
            ("Cmd", Shape::List(&Shape::Value(CMD))),
            ("Env", Shape::List(&Shape::Value(ENV))),
            ("WorkingDir", Shape::Value(WORKING_DIR)),
            ("User", Shape::Value(USER)),
        ]),
    ),
    (
        "rootfs",
        Shape::Object(&[("diff_ids", Shape::List(&Shape::Value(DIFF_IDS)))]),
    ),
]));

/// An image's configuration, the part that a container needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Operating system.
    pub os: Box<str>,
    /// Processor.
    pub architecture: Box<str>,
    /// The command, if the pod has none.
    pub entrypoint: Vec<Box<str>>,
    /// Arguments, or the command if there is no entrypoint.
    pub cmd: Vec<Box<str>>,
    /// Variables as `NAME=VALUE`.
    pub env: Vec<Box<str>>,
    /// Working directory; empty for `/`.
    pub working_dir: Box<str>,
    /// User; empty for root.
    pub user: Box<str>,
    /// Digests of the uncompressed layers.
    pub diff_ids: Vec<Digest>,
}

#[derive(Default)]
struct ConfigSink {
    config: ImageConfig,
    text: Text,
    bytes: usize,
    strings: usize,
    error: Option<DocumentError>,
}

impl Sink for ConfigSink {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let left = CONFIG_BYTES - self.bytes;
        let Some(value) = self.text.push(piece, last, left) else {
            return;
        };
        self.strings += 1;
        let Some(value) = value.filter(|_| self.strings <= CONFIG_STRINGS) else {
            self.error = Some(DocumentError::TooLarge);
            return;
        };
        self.bytes += value.len();
        let config = &mut self.config;
        match field {
            ENTRYPOINT => config.entrypoint.push(value),
            CMD => config.cmd.push(value),
            ENV => config.env.push(value),
            CONFIG_OS => config.os = value,
            CONFIG_ARCHITECTURE => config.architecture = value,
            WORKING_DIR => config.working_dir = value,
            USER => config.user = value,
            _ => match Digest::parse(&value) {
                Some(digest) => config.diff_ids.push(digest),
                None => self.error = Some(DocumentError::Malformed),
            },
        }
    }
}

/// Decodes an image's configuration.
pub struct ConfigDecoder {
    decoder: Decoder,
    sink: ConfigSink,
}

impl Default for ConfigDecoder {
    fn default() -> Self {
        Self {
            decoder: Decoder::new(CONFIG_SHAPE),
            sink: ConfigSink::default(),
        }
    }
}

impl ConfigDecoder {
    /// Takes the next piece.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), DocumentError> {
        Ok(self.decoder.feed(piece, &mut self.sink)?)
    }

    /// Returns the configuration.
    ///
    /// # Errors
    /// The document is incomplete, malformed or too large.
    pub fn finish(self) -> Result<ImageConfig, DocumentError> {
        whole(&self.decoder)?;
        self.sink.error.map_or(Ok(self.sink.config), Err)
    }
}

const TOKEN: Field = Field(32);
const ACCESS_TOKEN: Field = Field(33);
const MESSAGE: Field = Field(34);

const TOKEN_SHAPE: Code = shape!(Shape::Object(&[
    ("token", Shape::Value(TOKEN)),
    ("access_token", Shape::Value(ACCESS_TOKEN)),
]));

const ERRORS_SHAPE: Code = shape!(Shape::Object(&[(
    "errors",
    Shape::List(&Shape::Object(&[("message", Shape::Value(MESSAGE))])),
)]));

/// What a token endpoint or a failing registry answers.
#[derive(Default)]
struct AnswerSink {
    text: Zeroizing<Vec<u8>>,
    overflow: bool,
    token: Option<Zeroizing<String>>,
    message: Option<String>,
}

impl Sink for AnswerSink {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if self.text.capacity() == 0 {
            // At once, since a buffer that grows leaves copies behind.
            let limit = if field == MESSAGE {
                MESSAGE_BYTES
            } else {
                TOKEN_BYTES
            };
            self.text.reserve_exact(limit);
        }
        if piece.len() > self.text.capacity() - self.text.len() {
            self.overflow = true;
        } else {
            self.text.extend_from_slice(piece);
        }
        if !last {
            return;
        }
        let text = core::str::from_utf8(&self.text).ok();
        let text = text.filter(|text| !text.is_empty() && !self.overflow);
        if field == MESSAGE {
            if self.message.is_none() {
                self.message = text.map(String::from);
            }
        } else if (field == TOKEN || self.token.is_none())
            && let Some(token) = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            self.token = Some(Zeroizing::new(token.into()));
        }
        self.text.clear();
        self.overflow = false;
    }
}

/// Decodes the answer of a token endpoint, or the errors of a registry.
pub(crate) struct AnswerDecoder {
    decoder: Decoder,
    sink: AnswerSink,
}

impl AnswerDecoder {
    pub(crate) fn token() -> Self {
        Self {
            decoder: Decoder::new(TOKEN_SHAPE),
            sink: AnswerSink::default(),
        }
    }

    pub(crate) fn errors() -> Self {
        Self {
            decoder: Decoder::new(ERRORS_SHAPE),
            sink: AnswerSink::default(),
        }
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), JsonError> {
        self.decoder.feed(piece, &mut self.sink)
    }

    /// The token, if the document is whole and has one: `token` is preferred over `access_token`.
    pub(crate) fn into_token(self) -> Option<Zeroizing<String>> {
        whole(&self.decoder).ok()?;
        self.sink.token
    }

    /// The first error's message, printable.
    pub(crate) fn into_message(self) -> Option<String> {
        let message = self.sink.message?;
        Some(
            message
                .chars()
                .filter(|character| !character.is_control())
                .collect(),
        )
    }
}

/// Decodes the answer of a token endpoint; for tests and fuzzing.
pub fn decode_token(text: &[u8]) -> Option<Zeroizing<String>> {
    let mut decoder = AnswerDecoder::token();
    decoder.feed(text).ok()?;
    decoder.into_token()
}

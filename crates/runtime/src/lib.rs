//! What runs containers, as the pod worker sees it.
//!
//! A runtime knows nothing of pods: no phases, no restarts, no deadlines. It fetches images, starts and ends containers
//! and says how they are; when to do so is the worker's business. Whatever takes long is asynchronous and ends by itself;
//! everything else returns at once.
#![no_std]

use core::fmt;
use core::future::Future;
use picolet_kube::pod::PullPolicy;

/// One attempt at running one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId<'a> {
    /// The uid of its pod.
    pub pod: &'a str,
    /// Its name in the pod.
    pub container: &'a str,
    /// How often it was started before.
    pub attempt: u32,
}

/// The part of `containerID` behind the scheme.
impl fmt::Display for ContainerId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.pod, self.container, self.attempt)
    }
}

/// An image that is on the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What names exactly this content, such as `sha256:…`: the container's `imageID`.
    pub id: heapless::String<96>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it was there already.
    pub was_present: bool,
}

/// Why there is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullError {
    /// The name is none.
    InvalidName,
    /// It is not on the device, and must not be fetched.
    NeverPull,
    /// The registry does not have it.
    NotFound,
    /// The registry wants credentials that the node does not have.
    Denied,
    /// The registry does not answer.
    Unavailable,
    /// It does not fit onto the device.
    TooLarge,
    /// It is nothing that this runtime runs.
    Unsupported,
}

impl PullError {
    /// The reason that a waiting container shows (`pkg/kubelet/images/types.go`).
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InvalidName => "InvalidImageName",
            Self::NeverPull => "ErrImageNeverPull",
            Self::Unavailable => "RegistryUnavailable",
            _ => "ErrImagePull",
        }
    }
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidName => "this is no name of an image",
            Self::NeverPull => "it is not on the device, and imagePullPolicy is Never",
            Self::NotFound => "the registry does not have it",
            Self::Denied => "the registry wants credentials",
            Self::Unavailable => "the registry does not answer",
            Self::TooLarge => "it does not fit onto the device: make it smaller, or remove pods",
            Self::Unsupported => "it is not of a kind that this node runs",
        })
    }
}

impl core::error::Error for PullError {}

/// Why a container did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is nothing on the node that runs containers.
    NoRuntime,
    /// There is not enough memory now.
    OutOfMemory,
    /// The image asks for something that the runtime does not offer.
    Unsupported,
    /// Its image went away in between.
    NoImage,
}

impl StartError {
    /// The reason that a waiting container shows.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OutOfMemory => "RunContainerError",
            Self::NoRuntime | Self::Unsupported | Self::NoImage => "CreateContainerError",
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRuntime => "the node has no container runtime",
            Self::OutOfMemory => "there is not enough memory for it now",
            Self::Unsupported => "it imports what this node does not offer",
            Self::NoImage => "its image is no longer on the device",
        })
    }
}

impl core::error::Error for StartError {}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 is success. A container that ends because it was asked to has 143 unless it chose another code, one that was
    /// ended by force 137.
    pub code: i32,
    /// Whether it was ended because it wanted too much memory.
    pub out_of_memory: bool,
    /// What it left to say, for a person; often empty.
    pub message: heapless::String<128>,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The runtime does not know it: it never started, or the device did since.
    Absent,
    /// It runs.
    Running,
    /// It has ended.
    Exited(Exit),
}

/// A piece of a container's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Bytes that were written to the buffer.
    pub length: usize,
    /// Where to read on. It is more than `length` behind where it was asked for when the oldest part is lost.
    pub next: u64,
    /// Whether nothing will come any more.
    pub ended: bool,
}

/// Runs containers.
pub trait Runtime {
    /// Its name and version, as `containerRuntimeVersion` shows them: `name://version`.
    fn version(&self) -> &'static str;

    /// Whether it can run containers at all. While it cannot, they wait with [`StartError::NoRuntime`].
    fn is_ready(&self) -> bool;

    /// Whether `image` is on the device.
    fn has(&self, image: &str) -> bool;

    /// Sees to it that `image` is on the device. Takes as long as it takes, but not for ever.
    ///
    /// # Errors
    /// Says why there is no such image; the worker tries again later.
    fn pull(&self, image: &str, policy: PullPolicy) -> impl Future<Output = Result<Image, PullError>>;

    /// Starts a container of an image that was pulled. Of the attempts before it keeps at most the last, for its log.
    ///
    /// # Errors
    /// Says why it does not run; the worker tries again later.
    fn start(&self, id: ContainerId<'_>, image: &str) -> impl Future<Output = Result<(), StartError>>;

    /// Asks a container to end (`SIGTERM`).
    fn stop(&self, id: ContainerId<'_>);

    /// Ends a container (`SIGKILL`); [`Runtime::observe`] tells so soon after.
    fn kill(&self, id: ContainerId<'_>);

    /// How a container is.
    fn observe(&self, id: ContainerId<'_>) -> Observed;

    /// Forgets all of a pod, logs included. None of its containers runs.
    fn forget(&self, pod: &str);

    /// Waits until a container may have ended since this was called last.
    fn changed(&self) -> impl Future<Output = ()>;

    /// Reads the log of a container from byte `offset` on. `None` where there is no such container.
    fn read_log(&self, id: ContainerId<'_>, offset: u64, buffer: &mut [u8]) -> Option<LogPiece>;
}

/// The runtime of a node that has none: it says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRuntime;

impl Runtime for NoRuntime {
    fn version(&self) -> &'static str {
        "none://0.0.0"
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn has(&self, _image: &str) -> bool {
        false
    }

    async fn pull(&self, _image: &str, _policy: PullPolicy) -> Result<Image, PullError> {
        Err(PullError::Unsupported)
    }

    async fn start(&self, _id: ContainerId<'_>, _image: &str) -> Result<(), StartError> {
        Err(StartError::Unsupported)
    }

    fn stop(&self, _id: ContainerId<'_>) {}

    fn kill(&self, _id: ContainerId<'_>) {}

    fn observe(&self, _id: ContainerId<'_>) -> Observed {
        Observed::Absent
    }

    fn forget(&self, _pod: &str) {}

    async fn changed(&self) {
        core::future::pending().await
    }

    fn read_log(&self, _id: ContainerId<'_>, _offset: u64, _buffer: &mut [u8]) -> Option<LogPiece> {
        None
    }
}

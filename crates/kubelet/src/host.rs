//! The types that one kind of machine brings, under one name.

use picolet_platform::{Network, Platform};
use picolet_runtime::Runtime;

/// What an agent runs on. A machine, a network and a runtime together are one, as a tuple, so that no type has to be
/// declared for it.
pub trait Host {
    /// The machine.
    type Machine: Platform;
    /// Its connections to the API server, and from callers.
    type Network: Network;
    /// What runs its containers.
    type Runtime: Runtime;
}

impl<M: Platform, N: Network, R: Runtime> Host for (M, N, R) {
    type Machine = M;
    type Network = N;
    type Runtime = R;
}

/// A stream to the API server.
pub(crate) type Outbound<H> = <<H as Host>::Network as Network>::Outbound;
/// A stream from a caller.
pub(crate) type Inbound<H> = <<H as Host>::Network as Network>::Inbound;

//! Where the randomness of keys comes from.
//!
//! This is the one thing of this crate that is global. rustls asks a key exchange to start without handing it
//! anything, and holds it as `&'static dyn`, so a source per connection could only be passed around it by leaking a
//! provider for each. On a system the default is the kernel's, which is global as well. A board installs its own once,
//! after its health test; an emulated one's is repeatable, and with it every byte that is sent.

use core::cell::Cell;
use core::fmt;
use critical_section::Mutex;

/// A cryptographically secure source of random bytes.
pub trait Random: Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the source is broken: no connection is made then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// There is no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no randomness: a board must install its source before the first connection")
    }
}

impl core::error::Error for RandomError {}

static INSTALLED: Mutex<Cell<Option<&'static dyn Random>>> = Mutex::new(Cell::new(None));

/// Makes `source` what every key of this process is made of. To be called once, before the first connection; later
/// calls replace it, which only tests need.
pub fn install_random(source: &'static dyn Random) {
    critical_section::with(|section| INSTALLED.borrow(section).set(Some(source)));
}

/// Fills `bytes` from the installed source, else from the operating system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    match critical_section::with(|section| INSTALLED.borrow(section).get()) {
        Some(source) => source.fill(bytes),
        None => system(bytes),
    }
}

#[cfg(not(target_os = "none"))]
fn system(bytes: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(bytes).map_err(|_| RandomError)
}

#[cfg(target_os = "none")]
fn system(_: &mut [u8]) -> Result<(), RandomError> {
    Err(RandomError)
}

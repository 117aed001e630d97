//! Randomness: bits of the ring oscillator, tested and made fit for keys by `picolet_device::entropy`.

use crate::fault;
use core::cell::RefCell;
use critical_section::Mutex;
use embassy_rp::pac;
use picolet_device::entropy::{CARRIED, Entropy, Noise, NoiseFailure};
use picolet_tls::{Random, RandomError, install_random};

/// The ring oscillator: RP2040 datasheet 2.17.5, RP2350 datasheet 8.3.7.
struct Ring;

impl Noise for Ring {
    fn bit(&mut self) -> bool {
        pac::ROSC.randombit().read().randombit()
    }
}

static SOURCE: Mutex<RefCell<Option<Entropy<Ring>>>> = Mutex::new(RefCell::new(None));

struct Source;

impl Random for Source {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        critical_section::with(|section| {
            let mut source = SOURCE.borrow(section).borrow_mut();
            let source = source.as_mut().ok_or(RandomError)?;
            source.fill(bytes).map_err(|_| RandomError)
        })
    }
}

/// Makes it the source of all keys. Takes what the run before left for this one, and the board's number; gives what is to
/// be kept for the next run before anything is drawn.
pub(crate) fn start(carried: Option<&[u8; CARRIED]>, unique: [u8; 8]) -> Result<[u8; CARRIED], NoiseFailure> {
    let mut source = Entropy::start(Ring, carried, &unique)?;
    let next = source.carry()?;
    critical_section::with(|section| SOURCE.borrow(section).replace(Some(source)));
    install_random(&Source);
    Ok(next)
}

/// Fills `bytes`. A source that fails while the board runs is tested anew by the next run, which tells.
pub(crate) fn fill(bytes: &mut [u8]) {
    if Source.fill(bytes).is_err() {
        fault::restart();
    }
}

/// Eight random bytes as a number.
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

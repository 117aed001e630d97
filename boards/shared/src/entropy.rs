//! Randomness: the chip's noise, tested and made fit for keys by `picolet_device::entropy`.

use crate::flash::{self, Storage};
use crate::noise::ChipNoise;
use crate::{executor, fault, log, watchdog};
use core::cell::RefCell;
use critical_section::Mutex;
use embassy_rp::pac;
use embassy_time::{Duration, Timer};
use picolet_device::entropy::{CARRIED, Gatherer, Generator, Noise, NoiseFailure, start as seed};
use picolet_platform::Level;
use picolet_store::layout::Region;
use picolet_tls::{Random, RandomError, install_random};
use static_cell::StaticCell;

/// The chip's noise on its way to a seed.
pub(crate) type ChipGatherer = Gatherer<ChipNoise>;

/// Between two batches of samples while the board runs: a batch takes the thread a third of a millisecond.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two rounds through all ways to set a source up that fails.
const RETRY: Duration = Duration::from_secs(60);
/// Between two seeds of fresh noise.
const RESEED: Duration = Duration::from_secs(3600);

static GENERATOR: Mutex<RefCell<Option<Generator>>> = Mutex::new(RefCell::new(None));

struct Source;

impl Random for Source {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        critical_section::with(|section| {
            let mut generator = GENERATOR.borrow(section).borrow_mut();
            generator.as_mut().ok_or(RandomError)?.fill(bytes);
            Ok(())
        })
    }
}

/// Makes the gatherer. To be called once.
pub(crate) fn gatherer() -> &'static mut ChipGatherer {
    static GATHERER: StaticCell<ChipGatherer> = StaticCell::new();
    GATHERER.init_with(|| Gatherer::new(ChipNoise::default()))
}

/// Makes the chip the source of all keys. Takes what the run before left for this one, and the board's number. Returns what must be
/// stored for the next run before anything is drawn, and why the noise counts for nothing.
#[inline(never)]
pub(crate) fn start(
    gatherer: &mut ChipGatherer,
    carried: Option<&[u8; CARRIED]>,
    unique: [u8; 8],
) -> Result<([u8; CARRIED], Option<NoiseFailure>), NoiseFailure> {
    mix_chip(gatherer);
    let started = seed(gatherer, carried, &unique, watchdog::feed_now)?;
    critical_section::with(|section| GENERATOR.borrow(section).replace(Some(started.generator)));
    install_random(&Source);
    Ok((started.next, started.failure))
}

/// Hashes in what is unpredictable on most boards and counts for nothing: the ring oscillator's frequency against the crystal's,
/// and the thermometer's last bits.
fn mix_chip(gatherer: &mut ChipGatherer) {
    const RING: u32 = 3;
    let clocks = pac::CLOCKS;
    clocks.fc0_ref_khz().write(|w| w.0 = 12_000);
    clocks.fc0_interval().write(|w| w.0 = 10);
    clocks.fc0_src().write(|w| w.0 = RING);
    let adc = pac::ADC;
    adc.cs().write(|w| {
        w.set_en(true);
        w.set_ts_en(true);
        w.set_ainsel(crate::pins::THERMOMETER);
    });
    for _ in 0..64 {
        while !adc.cs().read().ready() {}
        gatherer.mix(&adc.result().read().result().to_le_bytes());
        adc.cs().modify(|w| w.set_start_once(true));
    }
    // It takes a millisecond. The wait is bounded, since this counts for nothing.
    for _ in 0..100_000 {
        if clocks.fc0_status().read().done() {
            break;
        }
    }
    gatherer.mix(&clocks.fc0_result().read().0.to_le_bytes());
}

/// Gathers noise beside everything else, for ever, and seeds the generator anew with it. A board that has no seed, for want of noise that is
/// good enough, stores one for its next run as soon as there is such noise, and restarts. Its records are in `region`.
#[embassy_executor::task]
pub(crate) async fn run(
    gatherer: &'static mut ChipGatherer,
    storage: &'static Storage,
    region: Region,
    unique: [u8; 8],
) -> ! {
    loop {
        while !gatherer.is_complete() {
            Timer::after(PAUSE).await;
            if let Err(failure) = gatherer.gather()
                && gatherer.is_round()
            {
                log::line(Level::Warn, format_args!("{failure}"));
                Timer::after(RETRY).await;
            }
        }
        gatherer.mix(&executor::arrivals().to_le_bytes());
        let fresh = gatherer.take();
        let seeded = critical_section::with(|section| {
            let mut generator = GENERATOR.borrow(section).borrow_mut();
            generator
                .as_mut()
                .map(|generator| generator.reseed(&fresh[..]))
                .is_some()
        });
        if !seeded {
            let mut next = [0; CARRIED];
            Generator::new(&fresh[..], &[], &unique).fill(&mut next);
            match flash::store_seed(storage, region, &next) {
                Ok(()) => fault::restart(),
                Err(error) => log::line(Level::Error, format_args!("random seed not stored: {error}")),
            }
        }
        Timer::after(RESEED).await;
    }
}

/// Fills `bytes` with raw samples, which are used for nothing else.
pub(crate) fn sample(noise: &mut ChipNoise, bytes: &mut [u8]) {
    for byte in bytes {
        for _ in 0..8 {
            *byte = *byte << 1 | u8::from(noise.bit());
        }
    }
}

/// Fills `bytes`. Nothing that calls this runs before there is a seed.
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

//! The chip's noise source: the ring oscillator of an RP2040, the generator (TRNG) of an RP2350.
//!
//! Neither was measured by us. A host can: `noise` on the USB console sends raw samples (`docs/decisions/0004-entropy.md`).

#[cfg(target_abi = "eabi")]
pub(crate) use ring::Ring as ChipNoise;
#[cfg(target_abi = "eabihf")]
pub(crate) use trng::Trng as ChipNoise;

#[cfg(target_abi = "eabi")]
mod ring {
    use embassy_rp::pac;
    use embassy_rp::pac::rosc::regs::{Freqa, Freqb};
    use embassy_rp::pac::rosc::vals::{Div, Enable, FreqRange};
    use picolet_device::entropy::{ATTEMPTS, Noise};

    /// Microseconds between two samples. One more than needed, since the timer's count may go up at once.
    const APART: u32 = 11;

    /// What the upper half of a register of drive strengths must hold.
    const PASS: u32 = 0x9696 << 16;

    /// Range, drive strengths and divider. Nothing else runs from this oscillator. A fast ring spreads further in the same time, so that the
    /// output is divided as little as can be (RP2040 datasheet, section 2.17).
    const WAYS: [(FreqRange, u32, u16); ATTEMPTS as usize] = [
        (FreqRange::MEDIUM, 0x0000, 1),
        (FreqRange::HIGH, 0x0000, 1),
        (FreqRange::LOW, 0x7777, 1),
        (FreqRange::MEDIUM, 0x3131, 1),
        (FreqRange::HIGH, 0x1713, 3),
        (FreqRange::LOW, 0x0000, 2),
    ];

    /// RANDOMBIT, the level of the ring oscillator at the moment of the read.
    #[derive(Default)]
    pub(crate) struct Ring {
        /// Microseconds of the sample before.
        before: u32,
        /// A linear congruential generator. It keeps samples out of step with the ring, and need not be secret.
        dither: u32,
    }

    impl Noise for Ring {
        fn bit(&mut self) -> bool {
            while pac::TIMER.timerawl().read().wrapping_sub(self.before) < APART {}
            self.before = pac::TIMER.timerawl().read();
            self.dither = self.dither.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Up to 96 cycles: many periods.
            cortex_m::asm::delay(self.dither >> 26);
            pac::ROSC.randombit().read().randombit()
        }

        fn configure(&mut self, attempt: u8) {
            let (range, drive, divider) = WAYS[usize::from(attempt % ATTEMPTS)];
            let ring = pac::ROSC;
            ring.freqa().write_value(Freqa(PASS | drive));
            ring.freqb().write_value(Freqb(PASS | drive));
            ring.div().write(|w| w.set_div(Div(Div::PASS.0 + divider)));
            ring.ctrl().write(|w| {
                w.set_enable(Enable::ENABLE);
                w.set_freq_range(range);
            });
        }
    }
}

#[cfg(target_abi = "eabihf")]
mod trng {
    use embassy_rp::pac;
    use picolet_device::entropy::{ATTEMPTS, Noise};

    /// Bits of a result.
    const BLOCK: u32 = 192;
    /// Reads of the busy flag in which a result comes: some tens of milliseconds, where two are usual.
    const PATIENCE: u32 = 500_000;
    /// Results that the block's own tests may reject in a row.
    const REJECTED: u32 = 8;

    /// Length of the inverter chain and cycles between samples (RP2350 datasheet, section 12.12.2).
    const WAYS: [(u8, u32); ATTEMPTS as usize] = [(1, 25), (0, 25), (1, 100), (0, 100), (2, 100), (3, 200)];

    /// The true random number generator, with its von Neumann balancer and its own tests on.
    #[derive(Default)]
    pub(crate) struct Trng {
        block: [u32; 6],
        left: u32,
    }

    impl Trng {
        /// The next result; zeros if there is none, which the health tests find.
        fn generate(&mut self) {
            let trng = pac::TRNG;
            self.block = [0; 6];
            for _ in 0..REJECTED {
                trng.rng_icr().write(|w| w.0 = u32::MAX);
                trng.rnd_source_enable().write(|w| w.set_rnd_src_en(true));
                let mut waited = 0;
                while trng.trng_busy().read().trng_busy() && waited < PATIENCE {
                    waited += 1;
                }
                let valid = trng.trng_valid().read().ehr_valid();
                if valid {
                    // Reading the last one clears all.
                    self.block = [
                        trng.ehr_data0().read(),
                        trng.ehr_data1().read(),
                        trng.ehr_data2().read(),
                        trng.ehr_data3().read(),
                        trng.ehr_data4().read(),
                        trng.ehr_data5().read(),
                    ];
                }
                trng.rnd_source_enable().write(|w| w.set_rnd_src_en(false));
                trng.rst_bits_counter().write(|w| w.set_rst_bits_counter(true));
                if valid {
                    return;
                }
            }
        }
    }

    impl Noise for Trng {
        fn bit(&mut self) -> bool {
            if self.left == 0 {
                self.generate();
                self.left = BLOCK;
            }
            self.left -= 1;
            self.block[(self.left / 32) as usize] >> (self.left % 32) & 1 != 0
        }

        fn configure(&mut self, attempt: u8) {
            let (chain, count) = WAYS[usize::from(attempt % ATTEMPTS)];
            let trng = pac::TRNG;
            trng.trng_sw_reset().write(|w| w.set_trng_sw_reset(true));
            // The read is the wait that a reset needs.
            trng.trng_sw_reset().read();
            trng.rng_imr().write(|w| w.0 = u32::MAX);
            trng.trng_config().write(|w| w.set_rnd_src_sel(chain));
            trng.sample_cnt1().write_value(count);
            trng.trng_debug_control().write(|w| w.0 = 0);
            self.left = 0;
        }
    }
}

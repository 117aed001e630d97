//! The interpolators of the SIO (RP2040 datasheet, section 2.3.1.6).

/// One of the two interpolators of a core.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Interpolator {
    number: u8,
    accumulators: [u32; 2],
    bases: [u32; 3],
    control: [u32; 2],
}

const SIGNED: u32 = 1 << 15;
const CROSS_INPUT: u32 = 1 << 16;
const CROSS_RESULT: u32 = 1 << 17;
const ADD_RAW: u32 = 1 << 18;
/// Lane 0 of interpolator 0 only.
const BLEND: u32 = 1 << 21;
/// Lane 0 of interpolator 1 only.
const CLAMP: u32 = 1 << 22;

/// What the datapath makes of the accumulators.
struct Results {
    lanes: [u32; 2],
    full: u32,
    /// Shifted and masked, before the bases are added.
    masked: [u32; 2],
    overflow: [bool; 2],
}

impl Interpolator {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Shift, mask and sign-extension of one lane.
    fn lane(&self, lane: usize) -> (u32, u32, bool) {
        let control = self.control[lane];
        let raw = self.accumulators[if control & CROSS_INPUT != 0 {
            1 - lane
        } else {
            lane
        }];
        let (lsb, msb) = (control >> 5 & 31, control >> 10 & 31);
        let above = (u64::from(u32::MAX) << (msb + 1)) as u32;
        let mask = !above & u32::MAX << lsb;
        let shifted = raw >> (control & 31);
        let mut masked = shifted & mask;
        if control & SIGNED != 0 && masked >> msb & 1 != 0 {
            masked |= above;
        }
        (raw, masked, shifted & above != 0)
    }

    fn results(&self) -> Results {
        let [(raw0, masked0, overflow0), (raw1, masked1, overflow1)] = [self.lane(0), self.lane(1)];
        let blend = self.number == 0 && self.control[0] & BLEND != 0;
        let clamp = self.number == 1 && self.control[0] & CLAMP != 0;
        let add = |lane: usize, raw: u32, masked: u32| {
            self.bases[lane].wrapping_add(if self.control[lane] & ADD_RAW != 0 {
                raw
            } else {
                masked
            })
        };
        let mut lanes = [add(0, raw0, masked0), add(1, raw1, masked1)];
        if blend {
            let alpha = masked1 & 0xff;
            let signed = self.control[1] & SIGNED != 0;
            let [from, to] = [self.bases[0], self.bases[1]].map(|base| {
                if signed {
                    i64::from(base as i32)
                } else {
                    i64::from(base)
                }
            });
            lanes = [alpha, (from + ((i64::from(alpha) * (to - from)) >> 8)) as u32];
        }
        if clamp {
            lanes[0] = if self.control[0] & SIGNED != 0 {
                let (value, low, high) = (masked0 as i32, self.bases[0] as i32, self.bases[1] as i32);
                (if value < low { low } else { value.min(high) }) as u32
            } else if masked0 < self.bases[0] {
                self.bases[0]
            } else {
                masked0.min(self.bases[1])
            };
        }
        let full = self.bases[2]
            .wrapping_add(masked0)
            .wrapping_add(if blend { 0 } else { masked1 });
        Results {
            lanes,
            full,
            masked: [masked0, masked1],
            overflow: [overflow0, overflow1],
        }
    }

    /// FORCE_MSB shows in what is read, not in what is fed back.
    fn forced(&self, lane: usize, value: u32) -> u32 {
        value | (self.control[lane] >> 19 & 3) << 28
    }

    fn pop(&mut self) {
        let Results { lanes, .. } = self.results();
        for lane in 0..2 {
            let crossed = self.control[lane] & CROSS_RESULT != 0;
            self.accumulators[lane] = lanes[if crossed { 1 - lane } else { lane }];
        }
    }

    /// Reads a register, by its offset in the interpolator.
    pub(crate) fn read(&mut self, offset: u32) -> Option<u32> {
        let results = self.results();
        let value = match offset {
            0x00 | 0x04 => self.accumulators[(offset / 4) as usize],
            0x08 | 0x0c | 0x10 => self.bases[(offset as usize - 8) / 4],
            0x14 | 0x20 => self.forced(0, results.lanes[0]),
            0x18 | 0x24 => self.forced(1, results.lanes[1]),
            0x1c | 0x28 => results.full,
            0x2c => {
                let [first, second] = results.overflow.map(u32::from);
                self.control[0] & 0x7f_ffff | first << 23 | second << 24 | (first | second) << 25
            }
            0x30 => self.control[1],
            0x34 | 0x38 => results.masked[(offset as usize - 0x34) / 4],
            _ => return None,
        };
        if (0x14..=0x1c).contains(&offset) {
            self.pop();
        }
        Some(value)
    }

    /// Writes a register.
    pub(crate) fn write(&mut self, offset: u32, value: u32) -> bool {
        match offset {
            0x00 | 0x04 => self.accumulators[(offset / 4) as usize] = value,
            0x08 | 0x0c | 0x10 => self.bases[(offset as usize - 8) / 4] = value,
            0x2c => self.control[0] = value & 0x7f_ffff,
            0x30 => self.control[1] = value & 0x1f_ffff,
            0x34 | 0x38 => {
                let accumulator = &mut self.accumulators[(offset as usize - 0x34) / 4];
                *accumulator = accumulator.wrapping_add(value);
            }
            // BASE_1AND0: a halfword each, extended as its lane is signed; when blending, as lane 1 is
            0x3c => {
                let blend = self.number == 0 && self.control[0] & BLEND != 0;
                for lane in 0..2 {
                    let half = (value >> (16 * lane)) as u16;
                    let signed = self.control[if blend { 1 } else { lane }] & SIGNED != 0;
                    self.bases[lane] = if signed {
                        half as i16 as u32
                    } else {
                        u32::from(half)
                    };
                }
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(interpolator: &mut Interpolator, writes: &[(u32, u32)]) {
        for &(offset, value) in writes {
            assert!(interpolator.write(offset, value));
        }
    }

    #[test]
    fn adds_its_base_with_each_pop() {
        let mut interpolator = Interpolator::new(0);
        set(
            &mut interpolator,
            &[(0x2c, 31 << 10), (0x30, 31 << 10), (0x08, 3), (0x00, 10)],
        );
        assert_eq!(
            [0x14, 0x14, 0x20].map(|offset| interpolator.read(offset).unwrap()),
            [13, 16, 19]
        );
    }

    #[test]
    fn extracts_and_extends_a_field() {
        let mut interpolator = Interpolator::new(0);
        // bits 7..=4 of the accumulator, left in place, signed
        set(
            &mut interpolator,
            &[(0x2c, 7 << 10 | 4 << 5 | SIGNED), (0x00, 0x1234_56c5)],
        );
        assert_eq!(interpolator.read(0x34), Some(0xffff_ffc0));
        assert_eq!(
            interpolator.read(0x2c).unwrap() >> 23 & 7,
            0b101,
            "what is above the mask overflows"
        );
    }

    #[test]
    fn blends_between_two_bases() {
        let mut interpolator = Interpolator::new(0);
        set(
            &mut interpolator,
            &[
                (0x2c, 31 << 10 | BLEND),
                (0x30, 31 << 10),
                (0x08, 500),
                (0x0c, 1000),
            ],
        );
        let blended = [0, 64, 128, 255].map(|alpha| {
            interpolator.write(0x04, alpha);
            interpolator.read(0x24).unwrap()
        });
        assert_eq!(blended, [500, 625, 750, 998]);
    }

    #[test]
    fn clamps_between_two_bases() {
        let mut interpolator = Interpolator::new(1);
        set(
            &mut interpolator,
            &[
                (0x2c, 31 << 10 | SIGNED | CLAMP),
                (0x08, (-5_i32) as u32),
                (0x0c, 5),
            ],
        );
        let clamped = [-100_i32, 3, 100].map(|value| {
            interpolator.write(0x00, value as u32);
            interpolator.read(0x20).unwrap() as i32
        });
        assert_eq!(clamped, [-5, 3, 5]);
    }
}

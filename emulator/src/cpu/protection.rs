//! The memory protection unit: what a core may read, write and run (ARMv6-M ARM, section B3.5).
//!
//! It stands in nobody's way while it is off: the loop is compiled once with and once without it.

use super::{Access, Core};

/// Regions that RP2040's cores have (RP2040 datasheet, section 2.4.6).
pub(super) const REGIONS: usize = 8;
/// MPU_CTRL: the unit is on.
const ENABLE: u32 = 1;
/// MPU_CTRL: it is on in the handlers of HardFault and NMI, too.
const IN_FAULTS: u32 = 2;
/// MPU_CTRL: where no region is, privileged code may do what it could without.
const BACKGROUND: u32 = 4;
/// The bits of MPU_RASR that are there: XN, AP, S, C, B, SRD, SIZE, ENABLE.
const ATTRIBUTES: u32 = 0x1707_ff3f;
/// The least SIZE: 256 bytes. What a smaller one does is not defined.
const SMALLEST: u32 = 7;

/// The registers of the unit.
#[derive(Debug, Clone, Default)]
pub(super) struct Mpu {
    control: u32,
    region: u32,
    bases: [u32; REGIONS],
    attributes: [u32; REGIONS],
}

impl Mpu {
    /// Reads a register; `None` where none is.
    pub(super) fn read(&self, address: u32) -> Option<u32> {
        Some(match address {
            // MPU_TYPE
            0xe000_ed90 => (REGIONS as u32) << 8,
            0xe000_ed94 => self.control,
            0xe000_ed98 => self.region,
            0xe000_ed9c => self.bases[self.region as usize] | self.region,
            0xe000_eda0 => self.attributes[self.region as usize],
            _ => return None,
        })
    }

    /// Writes a register; `false` where none is.
    pub(super) fn write(&mut self, address: u32, value: u32) -> bool {
        match address {
            0xe000_ed90 => {}
            0xe000_ed94 => self.control = value & (ENABLE | IN_FAULTS | BACKGROUND),
            0xe000_ed98 => self.region = value & (REGIONS as u32 - 1),
            0xe000_ed9c => {
                // VALID: the number of the region comes with its address
                if value & 0x10 != 0 {
                    self.region = value & (REGIONS as u32 - 1);
                }
                self.bases[self.region as usize] = value & !0xff;
            }
            0xe000_eda0 => self.attributes[self.region as usize] = value & ATTRIBUTES,
            _ => return false,
        }
        true
    }

    /// The attributes of the region that an address lies in: of the highest number, if there are several.
    fn region_of(&self, address: u32) -> Option<u32> {
        (0..REGIONS).rev().find_map(|region| {
            let attributes = self.attributes[region];
            if attributes & 1 == 0 {
                return None;
            }
            let size = (attributes >> 1 & 0x1f).max(SMALLEST) + 1;
            let offset = u64::from(address ^ self.bases[region]);
            if offset >> size != 0 {
                return None;
            }
            let eighth = address >> (size - 3) & 7;
            (attributes >> (8 + eighth) & 1 == 0).then_some(attributes)
        })
    }

    fn allows(&self, address: u32, access: Access, privileged: bool) -> bool {
        let Some(attributes) = self.region_of(address) else {
            return privileged && self.control & BACKGROUND != 0;
        };
        // (reads, writes) for each value of AP
        let (reads, writes) = match (attributes >> 24 & 7, privileged) {
            (1 | 2, true) | (3, _) => (true, true),
            (2, false) | (5, true) | (6 | 7, _) => (true, false),
            _ => (false, false),
        };
        match access {
            Access::Read => reads,
            Access::Write => writes,
            Access::Run => reads && attributes >> 28 & 1 == 0,
        }
    }
}

impl Core {
    /// Whether there is anything to ask [`Core::allows`] about.
    #[inline(always)]
    pub(super) fn is_protected(&self) -> bool {
        self.mpu.control & ENABLE != 0
    }

    /// Whether the code that runs may do this.
    pub(super) fn allows(&self, address: u32, access: Access) -> bool {
        self.allows_as(address, access, !self.is_unprivileged())
    }

    /// Whether code with this privilege may do this. The system's own registers are not the unit's to protect.
    pub(super) fn allows_as(&self, address: u32, access: Access, privileged: bool) -> bool {
        let own = address >> 20 == 0xe00;
        let off_in_faults = self.mpu.control & IN_FAULTS == 0 && self.exceptions.active_priority() < 0;
        !self.is_protected() || own || off_in_faults || self.mpu.allows(address, access, privileged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit with these regions: base and attributes.
    fn unit(control: u32, regions: &[(u32, u32)]) -> Mpu {
        let mut mpu = Mpu::default();
        for (number, (base, attributes)) in (0..).zip(regions) {
            mpu.write(0xe000_ed9c, base | 0x10 | number);
            mpu.write(0xe000_eda0, *attributes);
        }
        mpu.write(0xe000_ed94, control);
        mpu
    }

    /// What may be done, privileged and not: r, w and x where it may.
    fn rights(mpu: &Mpu, address: u32) -> [String; 2] {
        [true, false].map(|privileged| {
            [(Access::Read, 'r'), (Access::Write, 'w'), (Access::Run, 'x')]
                .iter()
                .map(|(access, name)| {
                    if mpu.allows(address, *access, privileged) {
                        *name
                    } else {
                        '-'
                    }
                })
                .collect()
        })
    }

    /// 256 bytes with these permissions, enabled.
    const fn small(ap: u32) -> u32 {
        ap << 24 | 7 << 1 | 1
    }

    #[test]
    fn permissions_are_as_the_table_says() {
        // section B3.5.9, table B3-15
        for (ap, expected) in [
            (0, ["---", "---"]),
            (1, ["rwx", "---"]),
            (2, ["rwx", "r-x"]),
            (3, ["rwx", "rwx"]),
            (5, ["r-x", "---"]),
            (6, ["r-x", "r-x"]),
            (7, ["r-x", "r-x"]),
        ] {
            let mpu = unit(1, &[(0x2000_0100, small(ap))]);
            assert_eq!(rights(&mpu, 0x2000_01fc), expected, "AP {ap}");
            assert_eq!(rights(&mpu, 0x2000_0200), ["---", "---"]);
            assert_eq!(rights(&mpu, 0x2000_00fc), ["---", "---"]);
        }
        let never = unit(1, &[(0x2000_0000, small(3) | 1 << 28)]);
        assert_eq!(rights(&never, 0x2000_0000), ["rw-", "rw-"]);
    }

    #[test]
    fn the_highest_region_counts_and_the_background_is_privileged() {
        let whole = 3 << 24 | 31 << 1 | 1;
        let mpu = unit(1, &[(0, whole), (0x2000_0000, small(6))]);
        assert_eq!(rights(&mpu, 0x2000_0010), ["r-x", "r-x"]);
        assert_eq!(rights(&mpu, 0xffff_fffc), ["rwx", "rwx"]);
        let mpu = unit(5, &[(0x2000_0000, small(6))]);
        assert_eq!(rights(&mpu, 0x2000_0100), ["rwx", "---"]);
    }

    #[test]
    fn a_part_that_is_left_out_belongs_to_the_region_below() {
        // 2 KiB in eight parts of 256 bytes, without its first and its last
        let mpu = unit(
            1,
            &[
                (0x2000_0000, 6 << 24 | 11 << 1 | 1),
                (0x2000_0000, 3 << 24 | 0x81 << 8 | 10 << 1 | 1),
            ],
        );
        for (address, expected) in [
            (0x2000_00ff, ["r-x", "r-x"]),
            (0x2000_0100, ["rwx", "rwx"]),
            (0x2000_06ff, ["rwx", "rwx"]),
            (0x2000_0700, ["r-x", "r-x"]),
            (0x2000_0800, ["r-x", "r-x"]),
            (0x2000_1000, ["---", "---"]),
        ] {
            assert_eq!(rights(&mpu, address), expected, "{address:#x}");
        }
    }

    #[test]
    fn registers_keep_what_there_is_of_them() {
        let mut mpu = unit(0, &[]);
        for (address, written, read) in [
            (0xe000_ed90, u32::MAX, 0x800),
            (0xe000_ed94, u32::MAX, 7),
            (0xe000_ed98, u32::MAX, 7),
            (0xe000_ed9c, 0x1234_5612, 0x1234_5602),
            (0xe000_ed98, 3, 3),
            (0xe000_ed9c, 0xffff_ffef, 0xffff_ff03),
            (0xe000_eda0, u32::MAX, 0x1707_ff3f),
        ] {
            assert!(mpu.write(address, written));
            assert_eq!(mpu.read(address), Some(read), "{address:#x}");
        }
        assert!(!mpu.write(0xe000_eda4, 0));
        assert_eq!(mpu.read(0xe000_eda4), None);
    }
}

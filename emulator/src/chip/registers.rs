//! The registers behind the bridges: which block an address belongs to, and what an access makes it do.

use super::gpio::{Function, QspiPins};
use super::pio::Pio;
use super::schedule::Source;
use super::{Chip, Write, dma, name_of, pwm, sio, timer};

/// Cycles that an access to a register behind the APB bridge takes more than one to SRAM (section 2.1.3).
const APB_WAIT: u64 = 2;

impl Chip {
    /// Reads a register outside of the cores and the SIO; `None` where nothing is.
    pub(super) fn read_register(&mut self, _core: usize, address: u32, cycles: &mut u64) -> Option<u32> {
        if address >> 28 == 4 {
            *cycles += APB_WAIT;
        }
        let now = self.sync(*cycles);
        let offset = address & 0xfff;
        if self.resets.holds(address) {
            return Some(0);
        }
        let value = match address & 0xffff_c000 {
            0x4000_0000 => self.system.read_sysinfo(offset),
            0x4000_4000 => self.system.read_syscfg(offset),
            0x4000_8000 => self.clocks.read(offset),
            0x4000_c000 => self.resets.read(offset),
            0x4001_0000 => self.resets.read_psm(offset),
            0x4001_4000 => self.gpio.read(offset),
            0x4001_8000 => self.qspi.read(offset),
            0x4001_c000 => self.gpio.read_pad(offset),
            0x4002_0000 => self.qspi.read_pad(offset),
            0x4002_4000 => self.clocks.read_crystal(offset),
            0x4002_8000 => self.clocks.read_pll(0, offset),
            0x4002_c000 => self.clocks.read_pll(1, offset),
            0x4003_0000 => self.system.read_bus_control(offset),
            0x4003_4000 | 0x4003_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                let value = self.uarts[which].read(offset, now);
                if offset == 0 {
                    self.touched(if which == 0 { Source::Uart0 } else { Source::Uart1 });
                }
                value
            }
            0x4003_c000 | 0x4004_0000 => {
                let which = usize::from(address & 0x4_0000 != 0);
                let value = self.spis[which].read(offset, now);
                if offset == 8 {
                    self.touched(if which == 0 { Source::Spi0 } else { Source::Spi1 });
                }
                value
            }
            0x4004_4000 | 0x4004_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                let value = self.i2cs[which].read(offset, now);
                self.touched(if which == 0 { Source::I2c0 } else { Source::I2c1 });
                value
            }
            0x4004_c000 => {
                let value = self.adc.read(offset, now);
                if offset == 0xc {
                    self.touched(Source::Adc);
                }
                value
            }
            0x4005_0000 => self.pwm.read(offset, now),
            0x4005_4000 => self.timer.read(offset, now),
            0x4005_8000 => self.watchdog.read(offset, now),
            0x4005_c000 => self.rtc.read(offset, now),
            0x4006_0000 => {
                let nanos = self.timeline.nanos(now);
                self.clocks.read_ring(offset, nanos)
            }
            0x4006_4000 => self.system.read_regulator(offset),
            0x4006_c000 => self.system.read_testbench(offset),
            0x5000_0000 => self.dma.read(offset),
            0x5020_0000 | 0x5030_0000 => {
                let which = usize::from(address & 0x10_0000 != 0);
                let value = self.pios[which].read(offset);
                if self.pios[which].effects.any() {
                    self.pio_effects(which, now);
                    self.touched(if which == 0 { Source::Pio0 } else { Source::Pio1 });
                }
                value
            }
            0x5010_0000 if offset == address & 0xffff => Some(self.usb.read_memory(offset)),
            0x5011_0000 => self.usb.read(offset, now),
            0x1400_0000 => self.cache.read(offset),
            0x1500_0000 if self.cache.is_sram() => self
                .cache
                .sram
                .as_chunks::<4>()
                .0
                .get((address & 0x3fff) as usize / 4)
                .map(|b| u32::from_le_bytes(*b)),
            0x1800_0000 => {
                let nanos = self.timeline.nanos(now);
                let value = self.ssi.read(offset, &mut self.flash, nanos);
                self.flash_changed();
                value
            }
            // the FIFO of the streaming interface, by itself
            0x5040_0000 => Some(0),
            _ => return None,
        };
        if value.is_none() {
            self.not_modelled(address & !0x3000, None);
        }
        Some(value.unwrap_or(0))
    }

    /// A read had a side effect on a block.
    fn touched(&mut self, source: Source) {
        self.refresh(source);
        if self.dma.is_busy() {
            self.refresh(Source::Dma);
        }
        self.update_next_due();
        self.interrupts_dirty = true;
        self.attention = true;
    }

    /// Writes a register outside of the cores and the SIO; `None` where nothing is.
    pub(super) fn write_register(&mut self, address: u32, value: u32, cycles: &mut u64) -> Option<()> {
        if address >> 28 == 4 {
            *cycles += APB_WAIT;
        }
        let now = self.sync(*cycles);
        let offset = address & 0xfff;
        if self.resets.holds(address) {
            return Some(());
        }
        let write = Write::at(address, value);
        let mut source = None;
        let modelled = match address & 0xffff_c000 {
            0x4000_0000 | 0x4006_c000 => true,
            0x4000_4000 => self.system.write_syscfg(offset, write),
            0x4000_8000 => {
                let modelled = self.clocks.write(offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4000_c000 => {
                let held = self.resets.write(offset, write);
                if let Some(held) = held {
                    self.reset_blocks(held);
                }
                held.is_some()
            }
            0x4001_0000 => {
                let modelled = self.resets.write_psm(offset, write);
                if self.resets.holds_sio() {
                    self.sio = sio::Sio::new();
                    let before = self.gpio.levels;
                    if self.gpio.drive(Function::Sio, 0, 0) {
                        self.pins_moved(before, now);
                    }
                }
                modelled
            }
            0x4001_4000 | 0x4001_c000 => {
                let before = self.gpio.levels;
                let changed = if address & 0x8000 == 0 {
                    self.gpio.write(offset, write)
                } else {
                    self.gpio.write_pad(offset, write)
                };
                if changed == Some(true) {
                    self.pins_moved(before, now);
                }
                changed.is_some()
            }
            0x4001_8000 => {
                let modelled = self.qspi.write(offset, write);
                let nanos = self.timeline.nanos(now);
                self.ssi
                    .force_select(self.qspi.forced_select(), &mut self.flash, nanos);
                self.flash_changed();
                self.update_flash_mapped();
                modelled
            }
            0x4002_0000 => self.qspi.write_pad(offset, write),
            0x4002_4000 => {
                let modelled = self.clocks.write_crystal(offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4002_8000 | 0x4002_c000 => {
                let modelled = self
                    .clocks
                    .write_pll(usize::from(address & 0x4000 != 0), offset, write);
                self.clocks_changed(now);
                modelled
            }
            0x4003_0000 => self.system.write_bus_control(offset, write),
            0x4003_4000 | 0x4003_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                source = Some(if which == 0 { Source::Uart0 } else { Source::Uart1 });
                self.uarts[which].write(offset, write, now)
            }
            0x4003_c000 | 0x4004_0000 => {
                let which = usize::from(address & 0x4_0000 != 0);
                source = Some(if which == 0 { Source::Spi0 } else { Source::Spi1 });
                self.spis[which].write(offset, write, now)
            }
            0x4004_4000 | 0x4004_8000 => {
                let which = usize::from(address & 0x8000 != 0);
                source = Some(if which == 0 { Source::I2c0 } else { Source::I2c1 });
                self.i2cs[which].write(offset, write, now)
            }
            0x4004_c000 => {
                source = Some(Source::Adc);
                self.adc.write(offset, write, now)
            }
            0x4005_0000 => {
                source = Some(Source::Pwm);
                let modelled = self.pwm.write(offset, write, now);
                self.pwm_drives();
                modelled
            }
            0x4005_4000 => {
                source = Some(Source::Timer);
                self.timer.write(offset, write, now)
            }
            0x4005_8000 => {
                source = Some(Source::Watchdog);
                let modelled = self.watchdog.write(offset, write, now);
                if offset == 0x2c {
                    self.clocks_changed(now);
                }
                modelled
            }
            0x4005_c000 => {
                source = Some(Source::Rtc);
                self.rtc.write(offset, write, now)
            }
            0x4006_0000 => {
                let nanos = self.timeline.nanos(now);
                let modelled = self.clocks.write_ring(offset, write, nanos);
                self.clocks_changed(now);
                modelled
            }
            0x4006_4000 => self.system.write_regulator(offset, write),
            0x5000_0000 => {
                source = Some(Source::Dma);
                self.dma.write(offset, write, now)
            }
            0x5020_0000 | 0x5030_0000 => {
                let which = usize::from(address & 0x10_0000 != 0);
                source = Some(if which == 0 { Source::Pio0 } else { Source::Pio1 });
                let inputs = self.pio_inputs(now);
                let modelled = self.pios[which].write(offset, write, now, inputs);
                self.pio_effects(which, now);
                modelled
            }
            0x5011_0000 => {
                source = Some(Source::Usb);
                self.usb.write(offset, write, now)
            }
            0x1400_0000 => self.cache.write(offset, write),
            0x1800_0000 => {
                let nanos = self.timeline.nanos(now);
                let modelled = self.ssi.write(offset, value, &mut self.flash, nanos);
                self.flash_changed();
                self.update_flash_mapped();
                modelled
            }
            _ => return None,
        };
        if !modelled {
            self.not_modelled(address & !0x3000, Some(value));
        }
        if let Some(source) = source {
            self.refresh(source);
            if self.dma.is_busy() {
                self.refresh(Source::Dma);
            }
            self.update_next_due();
        }
        self.interrupts_dirty = true;
        self.attention = true;
        Some(())
    }

    /// These blocks are held in reset (section 2.14).
    pub(super) fn reset_blocks(&mut self, held: u32) {
        let now = self.now;
        for block in (0..25).filter(|block| held >> block & 1 != 0) {
            match block {
                0 => self.adc.reset(),
                2 => self.dma = dma::Dma::new(),
                3 | 4 => self.i2cs[block - 3].reset(),
                5 => {
                    let before = self.gpio.levels;
                    self.gpio.reset_bank();
                    self.gpio.drive(Function::Sio, self.sio.out, self.sio.enable);
                    self.pins_moved(before, now);
                }
                6 => self.qspi = QspiPins::new(self.qspi.button),
                8 => {
                    let before = self.gpio.levels;
                    self.gpio.reset_pads();
                    self.pins_moved(before, now);
                }
                10 | 11 => {
                    let which = block - 10;
                    self.pios[which] = Pio::new();
                    self.pios[which].effects.pins = true;
                    self.pio_effects(which, now);
                }
                12 | 13 => self.clocks.reset_pll(block - 12),
                14 => self.pwm = pwm::Pwm::new(),
                15 => self.rtc.reset(),
                16 | 17 => self.spis[block - 16].reset(),
                18 => self.system.reset(),
                21 => self.timer = timer::Timer::new(),
                22 | 23 => self.uarts[block - 22].reset(),
                24 => self.usb.reset(),
                _ => {}
            }
        }
        if held & (1 << 12 | 1 << 13 | 1 << 21 | 1 << 15) != 0 {
            self.clocks_changed(now);
        }
        self.refresh_all();
        self.interrupts_dirty = true;
    }

    #[cold]
    pub(super) fn trace_register(&mut self, core: usize, address: u32, value: u32, write: bool, cycles: u64) {
        let time = self.time(cycles);
        let Some(trace) = &mut self.register_trace else {
            return;
        };
        let name = name_of(address);
        if trace.blocks.is_empty() || trace.blocks.iter().any(|block| name.starts_with(block.as_str())) {
            let arrow = if write { "<-" } else { "->" };
            trace
                .lines
                .push(format!("[{time}] core {core} {name} {arrow} {value:08x}"));
        }
    }
}

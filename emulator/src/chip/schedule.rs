//! What each block does next by itself, and the order in which it is done.

use super::Chip;

/// Everything that does something by itself at a time that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Source {
    Timer,
    Watchdog,
    Uart0,
    Uart1,
    Pio0,
    Pio1,
    Dma,
    Radio,
    Adc,
    Pwm,
    Rtc,
    Spi0,
    Spi1,
    I2c0,
    I2c1,
    Usb,
}

pub(super) const SOURCES: usize = 16;
pub(super) const ALL_SOURCES: [Source; SOURCES] = [
    Source::Timer,
    Source::Watchdog,
    Source::Uart0,
    Source::Uart1,
    Source::Pio0,
    Source::Pio1,
    Source::Dma,
    Source::Radio,
    Source::Adc,
    Source::Pwm,
    Source::Rtc,
    Source::Spi0,
    Source::Spi1,
    Source::I2c0,
    Source::I2c1,
    Source::Usb,
];

impl Chip {
    /// Asks one block again when it next does something.
    pub(super) fn refresh(&mut self, source: Source) {
        let due = match source {
            Source::Timer => self.timer.next_event(),
            Source::Watchdog => self.watchdog.next_event(),
            Source::Uart0 => self.uarts[0].next_event(),
            Source::Uart1 => self.uarts[1].next_event(),
            Source::Pio0 => self.pios[0].next().0,
            Source::Pio1 => self.pios[1].next().0,
            Source::Dma if self.dma_moves => u64::MAX,
            Source::Dma => {
                let up = self.requests_up();
                self.dma.next_event(self.now, |request| up >> request & 1 != 0)
            }
            Source::Radio => self.radio.next_event().map_or(u64::MAX, |time| {
                self.timeline.cycle(time.as_nanos()).max(self.now)
            }),
            Source::Adc => self.adc.next_event(),
            Source::Pwm => self.pwm.next_event(),
            Source::Rtc => self.rtc.next_event(),
            Source::Spi0 => self.spis[0].next_event(),
            Source::Spi1 => self.spis[1].next_event(),
            Source::I2c0 => self.i2cs[0].next_event(),
            Source::I2c1 => self.i2cs[1].next_event(),
            Source::Usb => self.usb.next_event(),
        };
        self.due[source as usize] = due;
    }

    pub(super) fn refresh_all(&mut self) {
        for source in ALL_SOURCES {
            self.refresh(source);
        }
        self.update_next_due();
    }

    #[inline(always)]
    pub(super) fn update_next_due(&mut self) {
        self.next_due = self.due.iter().copied().min().unwrap_or(u64::MAX);
    }

    /// The cycle at which something next happens by itself.
    pub(crate) fn next_event(&self) -> u64 {
        self.next_due
    }

    /// How far a core that runs may go before it has to look around. What happens at each cycle (PIO, DMA) is looked
    /// at in larger steps: nobody but an interrupt handler can tell.
    pub(crate) fn horizon(&self, now: u64, step: u64) -> u64 {
        let mut horizon = u64::MAX;
        for source in ALL_SOURCES {
            let due = self.due[source as usize];
            let due = match source {
                Source::Pio0 | Source::Pio1 | Source::Dma if due < now.saturating_add(step) => now + step,
                _ => due,
            };
            horizon = horizon.min(due);
        }
        horizon
    }

    /// Whether a DREQ is up (section 2.5.3.1).
    fn requests(&self, request: u32) -> bool {
        match request {
            0..=3 => self.pios[0].wants_data(request as usize),
            4..=7 => self.pios[0].has_data(request as usize - 4),
            8..=11 => self.pios[1].wants_data(request as usize - 8),
            12..=15 => self.pios[1].has_data(request as usize - 12),
            16 | 18 => self.spis[usize::from(request == 18)].wants_data(),
            17 | 19 => self.spis[usize::from(request == 19)].has_data(),
            20 | 22 => self.uarts[usize::from(request == 22)].wants_data(),
            21 | 23 => self.uarts[usize::from(request == 23)].has_data(),
            24..=31 => self.pwm.request(request as usize - 24),
            32 | 34 => self.i2cs[usize::from(request == 34)].wants_data(),
            33 | 35 => self.i2cs[usize::from(request == 35)].has_data(),
            36 => self.adc.has_data(),
            _ => false,
        }
    }

    /// The DREQs that are up, of those that a busy channel waits for.
    pub(super) fn requests_up(&self) -> u64 {
        let mut wanted = self.dma.wanted();
        let mut up = 0;
        while wanted != 0 {
            let request = wanted.trailing_zeros();
            wanted &= wanted - 1;
            up |= u64::from(self.requests(request)) << request;
        }
        up
    }

    /// Does everything that is due at or before `until`, in its order. With `watch`, comes back as soon as an
    /// interrupt line changed.
    pub(crate) fn advance(&mut self, until: u64, watch: bool) {
        let lines = if watch {
            [self.lines(0), self.lines(1)]
        } else {
            [0; 2]
        };
        while self.next_due <= until && self.next_due != u64::MAX {
            let at = self.next_due;
            let which = self.due.iter().position(|&due| due == at).unwrap_or(0);
            self.now = self.now.max(at);
            let source = ALL_SOURCES[which];
            match source {
                Source::Timer => self.timer.advance(at),
                Source::Watchdog => self.watchdog.advance(at),
                Source::Uart0 => self.uarts[0].advance(at),
                Source::Uart1 => self.uarts[1].advance(at),
                Source::Pio0 | Source::Pio1 => {
                    self.run_pio(source as usize - Source::Pio0 as usize, until);
                    if watch && self.wakes(lines) {
                        return;
                    }
                    continue;
                }
                Source::Dma => self.transfer(at),
                Source::Radio => {
                    let time = self.time(at);
                    self.radio.advance(time);
                    self.radio_drives();
                }
                Source::Adc => self.adc.advance(at),
                Source::Pwm => {
                    self.pwm.advance(at);
                    self.pwm_drives();
                }
                Source::Rtc => self.rtc.advance(at),
                Source::Spi0 => self.spis[0].advance(at),
                Source::Spi1 => self.spis[1].advance(at),
                Source::I2c0 => self.i2cs[0].advance(at),
                Source::I2c1 => self.i2cs[1].advance(at),
                Source::Usb => self.usb.advance(at),
            }
            self.refresh(source);
            // a FIFO may have made room or got data
            if self.dma.is_busy() {
                self.refresh(Source::Dma);
            }
            self.update_next_due();
            self.interrupts_dirty = true;
            if watch && self.wakes(lines) {
                return;
            }
        }
        if until != u64::MAX {
            self.now = self.now.max(until);
        }
    }

    /// Whether something has happened that is not the chip's alone, since the interrupt lines were these.
    fn wakes(&mut self, lines: [u32; 2]) -> bool {
        if self.watchdog.fired.is_some() || self.trap.is_some() {
            return true;
        }
        if self.interrupts_dirty {
            if lines != [self.lines(0), self.lines(1)] {
                return true;
            }
            self.interrupts_dirty = false;
        }
        false
    }

    /// Runs the state machine of a PIO block that is due. As long as nothing else is due and nobody else is touched,
    /// goes on with the next.
    #[inline(always)]
    fn run_pio(&mut self, which: usize, until: u64) {
        let source = Source::Pio0 as usize + which;
        let mut others = until;
        for (i, &due) in self.due.iter().enumerate() {
            if i != source {
                others = others.min(due);
            }
        }
        loop {
            let (at, machine) = self.pios[which].next();
            if at > others {
                self.due[source] = at;
                break;
            }
            self.now = self.now.max(at);
            let inputs = self.pio_inputs(at);
            self.pios[which].step(machine, inputs);
            if self.pios[which].effects.any() {
                self.pio_effects(which, at);
                self.due[source] = self.pios[which].next().0;
                break;
            }
        }
        self.update_next_due();
    }
}

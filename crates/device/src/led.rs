//! The LED's language, and what of it is lit at a moment.
//!
//! | what one sees | what it says |
//! |---|---|
//! | lit | booting; or the radio is just trying to join the Wi-Fi |
//! | twice a second | joining: looking for Wi-Fi and for the API server |
//! | what the configuration says, dark without one | Ready |
//! | eight times a second | trouble: it was Ready and has lost its API server |
//! | five times a second, for some seconds | `identify`: this is the board that was asked for |
//! | two flashes, a pause | no settings: the serial log says what to do |
//! | three flashes, a pause | the settings cannot be used: the serial log says which and why |
//! | four flashes, a pause | the noise source fails its tests: no keys are made; the board tries again every minute, and the log says so |
//! | five flashes, a pause | the flash cannot be written |
//! | ten times a second, then lit | BOOTSEL is held; then: let it go, and the board forgets who it is |
//!
//! The LED hangs on the radio: it is dark for the first second, and for ever where the radio's firmware is missing; the
//! serial log says so then.
//!
//! Joining, Ready, trouble and `identify` are the agent's to say, as [`LedMode`]s; the others are said by a board on which no
//! agent runs. Nothing here knows where the LED is.

use picolet_platform::LedMode;

/// What a board shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Whatever the agent or its configuration wants.
    Mode(LedMode),
    /// So many flashes, and a pause: what a person must mend.
    Code(Code),
}

/// What keeps a board from becoming a node. The number is that of its flashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Nobody has provisioned the board.
    NoSettings = 2,
    /// The settings are there and cannot be used.
    BadSettings = 3,
    /// The noise source failed its tests.
    NoEntropy = 4,
    /// The flash cannot be written.
    BadFlash = 5,
}

/// What a board shows before anything else.
pub const BOOTING: Show = Show::Mode(LedMode::On);

/// How long a flash of a code is lit, and how long it is dark after it.
const FLASH: u32 = 200;
/// How long it is dark after the last one.
const PAUSE: u32 = 1200;

/// Whether the LED is lit so many milliseconds after it began to show this, and for how many more; `None` is for ever.
pub const fn at(show: Show, millis: u32) -> (bool, Option<u32>) {
    match show {
        Show::Mode(LedMode::Off) => (false, None),
        Show::Mode(LedMode::On) => (true, None),
        Show::Mode(LedMode::Blink { period_ms }) => {
            // Faster than this nobody sees, and the radio that drives the LED has other things to do.
            let half = if period_ms < 20 { 10 } else { period_ms as u32 / 2 };
            ((millis / half).is_multiple_of(2), Some(half - millis % half))
        }
        Show::Code(code) => {
            let flashes = code as u32 * 2 * FLASH;
            let now = millis % (flashes + PAUSE);
            // The dark after the last flash is part of the pause.
            if now >= flashes - FLASH {
                (false, Some(flashes + PAUSE - now))
            } else {
                ((now / FLASH).is_multiple_of(2), Some(FLASH - now % FLASH))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Moments at which the LED goes on, within so many milliseconds.
    fn flashes(show: Show, millis: u32) -> u32 {
        let mut now = 0;
        let (mut count, mut before) = (0, false);
        while now < millis {
            let (lit, more) = at(show, now);
            count += u32::from(lit && !before);
            before = lit;
            now += more.unwrap_or(millis);
        }
        count
    }

    #[test]
    fn a_code_is_counted_by_whoever_looks() {
        for (code, number) in [
            (Code::NoSettings, 2),
            (Code::BadSettings, 3),
            (Code::NoEntropy, 4),
            (Code::BadFlash, 5),
        ] {
            let round = number * 2 * FLASH + PAUSE;
            assert_eq!(flashes(Show::Code(code), round), number);
            assert_eq!(flashes(Show::Code(code), 10 * round), 10 * number);
        }
    }

    #[test]
    fn modes_are_as_they_say() {
        assert_eq!(at(Show::Mode(LedMode::Off), 5), (false, None));
        assert_eq!(at(BOOTING, 5), (true, None));
        let blink = Show::Mode(LedMode::Blink { period_ms: 500 });
        assert_eq!(at(blink, 0), (true, Some(250)));
        assert_eq!(at(blink, 250), (false, Some(250)));
        assert_eq!(at(blink, 499), (false, Some(1)));
        assert_eq!(flashes(blink, 1000), 2);
    }

    proptest! {
        /// It changes when it says, and not before.
        #[test]
        fn changes_when_it_says(period_ms in any::<u16>(), code in 0_usize..5, millis in 0_u32..1 << 30) {
            let codes = [Code::NoSettings, Code::BadSettings, Code::NoEntropy, Code::BadFlash];
            let show = codes.get(code).map_or(Show::Mode(LedMode::Blink { period_ms }), |code| Show::Code(*code));
            let (lit, more) = at(show, millis);
            let more = more.expect("it blinks");
            prop_assert!(more > 0);
            prop_assert_eq!(at(show, millis + more - 1).0, lit);
            prop_assert!(at(show, millis + more).0 != lit);
        }
    }
}

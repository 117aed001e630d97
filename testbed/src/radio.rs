//! The board's radio, and what is on the air around it.

use crate::Testbed;
use picolet_emulator::radio::{Air, Change, Cyw43439, Failure, FailureMode};

impl Testbed {
    /// What is on the air around the board: access points come and go here.
    ///
    /// # Panics
    /// Never: the radio was plugged in by [`Self::new`].
    pub fn air(&mut self) -> &mut Air {
        self.radio().air_mut()
    }

    /// The radio.
    ///
    /// # Panics
    /// Never: the radio was plugged in by [`Self::new`].
    pub fn radio(&mut self) -> &mut Cyw43439 {
        let radio = self.board.radio().as_any_mut().downcast_mut::<Cyw43439>();
        radio.expect("the board has this radio")
    }

    /// From now on the radio fails, until it has lost power `power_cycles` times, `None`: for ever.
    ///
    /// # Panics
    /// Never: the radio was plugged in by [`Self::new`].
    pub fn break_radio(&mut self, mode: FailureMode, power_cycles: Option<u32>) {
        let from = self.now();
        self.radio().plan_failure(Failure {
            mode,
            from,
            power_cycles,
        });
    }

    /// Ends the radio's failures.
    ///
    /// # Panics
    /// Never: the radio was plugged in by [`Self::new`].
    pub fn mend_radio(&mut self) {
        self.radio().mend();
    }

    /// The country whose rules the radio was told to keep, `XX` for what is allowed everywhere.
    ///
    /// # Panics
    /// Never: the radio was plugged in by [`Self::new`].
    pub fn country(&mut self) -> Option<String> {
        self.radio().country().map(str::to_owned)
    }

    /// Takes the access point off the air, or puts it there.
    pub fn set_access_point(&mut self, present: bool) {
        let now = self.now();
        let air = self.air();
        for access_point in air.access_points().to_vec() {
            air.plan(now, Change::Present(access_point.bssid, present));
        }
    }
}

//! The state that an entry of the boot log carries, and the changes that firmware may make to it.

/// Starts of a trial, those after a requested restart not counted.
pub const MAX_ATTEMPTS: u8 = 3;
/// Starts of a trial after a requested restart.
pub const MAX_RESTARTS: u8 = 3;
/// Trials of the same content.
pub const MAX_ROUNDS: u8 = 3;

/// One of the two firmware slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first slot, which a UF2 file writes.
    A,
    /// The second slot.
    B,
}

impl Slot {
    /// The other slot.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 for A, 1 for B.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The name of firmware in the boot log: the first bytes of its header's SHA-256, never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentName([u8; 4]);

impl ContentName {
    /// The name of the firmware whose header has this SHA-256.
    pub const fn from_digest(digest: &[u8; 32]) -> Self {
        match Self::read([digest[0], digest[1], digest[2], digest[3]]) {
            Some(name) => name,
            None => Self([0, 0, 0, 1]),
        }
    }

    const fn read(bytes: [u8; 4]) -> Option<Self> {
        match bytes {
            [0, 0, 0, 0] => None,
            bytes => Some(Self(bytes)),
        }
    }

    /// The bytes in the boot log.
    pub const fn to_bytes(self) -> [u8; 4] {
        self.0
    }
}

/// Why a trial was reverted. Firmware may use codes that this crate does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// Nothing was reverted.
    pub const NONE: Self = Self(0);
    /// Power was lost in each attempt.
    pub const POWER_LOST: Self = Self(1);
    /// The watchdog was not fed.
    pub const WATCHDOG: Self = Self(2);
    /// Panic or fault.
    pub const CRASHED: Self = Self(3);
    /// The node was not Ready in time.
    pub const NOT_READY: Self = Self(4);
    /// The radio failed.
    pub const RADIO_SILENT: Self = Self(5);
    /// Too many requested restarts.
    pub const RESTARTS: Self = Self(6);
    /// The image's digest is not that of its header.
    pub const DAMAGED: Self = Self(7);
    /// The slot has no image.
    pub const NO_IMAGE: Self = Self(8);

    /// The reason in words, as `docs/firmware-format.md` has them.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NONE => "none",
            Self::POWER_LOST => "power lost",
            Self::WATCHDOG => "watchdog",
            Self::CRASHED => "crashed",
            Self::NOT_READY => "not ready",
            Self::RADIO_SILENT => "radio silent",
            Self::RESTARTS => "restarts",
            Self::DAMAGED => "damaged",
            Self::NO_IMAGE => "no image",
            Self(_) => "unknown",
        }
    }
}

/// A trial of firmware in the slot that is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trial {
    /// Starts so far, those after a requested restart not counted; at most [`MAX_ATTEMPTS`].
    pub attempts: u8,
    /// Starts so far after a requested restart; at most [`MAX_RESTARTS`].
    pub restarts: u8,
    /// The firmware on trial recorded that it is about to restart.
    pub restart_requested: bool,
}

/// What the last entry of a boot log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The slot whose firmware is confirmed.
    pub confirmed: Slot,
    /// The trial of the other slot.
    pub trial: Option<Trial>,
    /// By [`Slot::index`]: the slot is not known to hold verified firmware, and never starts.
    pub scratch: [bool; 2],
    /// Why the last trial was reverted.
    pub reason: Reason,
    /// The trial of this content that is under way or was reverted: 1 to [`MAX_ROUNDS`]. 0 without one.
    pub round: u8,
    /// The content of the last trial, until other content may replace it.
    pub name: Option<ContentName>,
}

/// Why firmware may not make a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A trial is under way, and the change is for confirmed firmware.
    OnTrial,
    /// The firmware that runs is not on trial.
    NotOnTrial,
    /// The firmware that runs is not confirmed: it was reverted, and a restart is due.
    NotConfirmed,
    /// The other slot must be marked as scratch first.
    NotScratch,
    /// The other slot does not hold the content of the last trial any more.
    OtherContent,
    /// The content was on trial [`MAX_ROUNDS`] times.
    TooManyRounds,
    /// A revert needs a reason.
    NoReason,
}

impl State {
    /// The state of a board whose log has no entry: a UF2 file was written to it.
    pub const INITIAL: Self = Self {
        confirmed: Slot::A,
        trial: None,
        scratch: [false, true],
        reason: Reason::NONE,
        round: 0,
        name: None,
    };

    /// The slot on trial.
    pub const fn trial_slot(&self) -> Option<Slot> {
        match self.trial {
            Some(_) => Some(self.confirmed.other()),
            None => None,
        }
    }

    /// Whether a slot is not known to hold verified firmware.
    pub const fn is_scratch(&self, slot: Slot) -> bool {
        self.scratch[slot.index()]
    }

    /// The slot that firmware in slot `running` may write to: none unless it is confirmed, the other slot is scratch,
    /// and no content of a trial is expected there.
    pub fn writable(&self, running: Slot) -> Option<Slot> {
        let other = running.other();
        let is_writable =
            self.check_confirmed(running).is_ok() && self.is_scratch(other) && self.name.is_none();
        is_writable.then_some(other)
    }

    fn check_confirmed(&self, running: Slot) -> Result<(), Refusal> {
        if self.trial.is_some() {
            Err(Refusal::OnTrial)
        } else if self.confirmed != running {
            Err(Refusal::NotConfirmed)
        } else {
            Ok(())
        }
    }

    fn check_on_trial(&self, running: Slot) -> Result<Trial, Refusal> {
        match self.trial {
            // What never started does not run.
            Some(trial) if running != self.confirmed && trial.attempts > 0 => Ok(trial),
            _ => Err(Refusal::NotOnTrial),
        }
    }

    /// Marks the slot that does not run as scratch, so that it may be written to. Append the result before the first write.
    ///
    /// # Errors
    /// A trial is under way, or the running firmware is not confirmed.
    pub fn mark_scratch(mut self, running: Slot) -> Result<Self, Refusal> {
        self.check_confirmed(running)?;
        self.scratch[running.other().index()] = true;
        self.round = 0;
        self.name = None;
        Ok(self)
    }

    /// Puts the other slot on trial. Its header, signature and digest must have been verified from flash.
    ///
    /// # Errors
    /// A trial is under way, the running firmware is not confirmed, or the other slot was not written as scratch.
    pub fn start_trial(self, running: Slot, name: ContentName) -> Result<Self, Refusal> {
        self.writable(running)
            .ok_or(match self.check_confirmed(running) {
                Err(refusal) => refusal,
                Ok(()) => Refusal::NotScratch,
            })?;
        Ok(self.with_trial(1, name))
    }

    /// Puts content on trial once more that was reverted and still lies in the other slot. It must have been verified from
    /// flash again.
    ///
    /// # Errors
    /// As for [`Self::start_trial`]; the content is another one, or was on trial [`MAX_ROUNDS`] times.
    pub fn repeat_trial(self, running: Slot, name: ContentName) -> Result<Self, Refusal> {
        self.check_confirmed(running)?;
        if self.round == 0 || self.name != Some(name) {
            return Err(Refusal::OtherContent);
        }
        if self.round >= MAX_ROUNDS {
            return Err(Refusal::TooManyRounds);
        }
        Ok(self.with_trial(self.round + 1, name))
    }

    fn with_trial(mut self, round: u8, name: ContentName) -> Self {
        self.trial = Some(Trial {
            attempts: 0,
            restarts: 0,
            restart_requested: false,
        });
        self.scratch[self.confirmed.other().index()] = false;
        self.reason = Reason::NONE;
        self.round = round;
        self.name = Some(name);
        self
    }

    /// Records that firmware on trial is about to restart on request. Append the result right before the restart.
    ///
    /// # Errors
    /// The running firmware is not on trial: it needs no record.
    pub fn request_restart(mut self, running: Slot) -> Result<Self, Refusal> {
        let trial = self.check_on_trial(running)?;
        self.trial = Some(Trial {
            restart_requested: true,
            ..trial
        });
        Ok(self)
    }

    /// Confirms the firmware on trial. The other slot keeps the firmware before it, until it is marked as scratch.
    ///
    /// # Errors
    /// The running firmware is not on trial.
    pub fn confirm(mut self, running: Slot) -> Result<Self, Refusal> {
        self.check_on_trial(running)?;
        self.confirmed = running;
        self.trial = None;
        self.round = 0;
        Ok(self)
    }

    /// Ends the trial of the running firmware. The other slot starts after the restart that must follow.
    ///
    /// # Errors
    /// The running firmware is not on trial, or `reason` is none.
    pub fn revert(self, running: Slot, reason: Reason) -> Result<Self, Refusal> {
        self.check_on_trial(running)?;
        if reason == Reason::NONE {
            return Err(Refusal::NoReason);
        }
        Ok(self.reverted(reason))
    }

    /// Without the trial: its slot is scratch, and the content keeps its name and round.
    pub(crate) fn reverted(mut self, reason: Reason) -> Self {
        self.trial = None;
        self.scratch[self.confirmed.other().index()] = true;
        self.reason = reason;
        self
    }

    /// With the other slot confirmed and the confirmed one scratch, because it has no image.
    pub(crate) fn without_image(self) -> Self {
        let mut scratch = [false; 2];
        scratch[self.confirmed.index()] = true;
        Self {
            confirmed: self.confirmed.other(),
            trial: None,
            scratch,
            reason: Reason::NO_IMAGE,
            round: 0,
            name: None,
        }
    }

    /// Whether the fields agree with each other. An entry that does not is not whole.
    pub(crate) fn is_consistent(&self) -> bool {
        let other_is_scratch = self.is_scratch(self.confirmed.other());
        let has_reason = self.reason != Reason::NONE;
        if self.is_scratch(self.confirmed) || self.round > MAX_ROUNDS {
            return false;
        }
        let Some(trial) = self.trial else {
            return match (self.round, self.name) {
                (0, None) => true,
                (0, Some(_)) => !has_reason && !other_is_scratch,
                (_, None) => false,
                (_, Some(_)) => has_reason && other_is_scratch,
            };
        };
        let in_range = trial.attempts <= MAX_ATTEMPTS && trial.restarts <= MAX_RESTARTS;
        let was_started = trial.attempts > 0 || trial.restarts == 0 && !trial.restart_requested;
        let is_named = self.round > 0 && self.name.is_some();
        in_range && was_started && is_named && !has_reason && !other_is_scratch
    }

    /// Bytes 4 to 11 of an entry.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let trial = self.trial.unwrap_or(Trial {
            attempts: 0,
            restarts: 0,
            restart_requested: false,
        });
        let trial_slot = match self.trial_slot() {
            None => 0,
            Some(Slot::A) => 1,
            Some(Slot::B) => 2,
        };
        let flags = self.confirmed as u8
            | trial_slot << 1
            | u8::from(self.scratch[0]) << 3
            | u8::from(self.scratch[1]) << 4
            | u8::from(trial.restart_requested) << 5;
        let [n0, n1, n2, n3] = self.name.map_or([0; 4], ContentName::to_bytes);
        let counts = trial.attempts | trial.restarts << 4;
        let round = self.round | FORMAT << 4;
        [flags, counts, self.reason.0, round, n0, n1, n2, n3]
    }

    /// Reads bytes 4 to 11 of an entry; `None` if they are not those of a whole entry.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        let [flags, counts, reason, round, name @ ..] = bytes;
        if flags >> 6 != 0 || round >> 4 != FORMAT {
            return None;
        }
        let confirmed = if flags & 1 == 0 { Slot::A } else { Slot::B };
        let is_on_trial = match (flags >> 1 & 3, confirmed) {
            (0, _) => false,
            (1, Slot::B) | (2, Slot::A) => true,
            _ => return None,
        };
        let trial = Trial {
            attempts: counts & 15,
            restarts: counts >> 4,
            restart_requested: flags & 1 << 5 != 0,
        };
        if !is_on_trial && (counts != 0 || trial.restart_requested) {
            return None;
        }
        let state = Self {
            confirmed,
            trial: is_on_trial.then_some(trial),
            scratch: [flags & 1 << 3 != 0, flags & 1 << 4 != 0],
            reason: Reason(reason),
            round: round & 15,
            name: ContentName::read(name),
        };
        state.is_consistent().then_some(state)
    }
}

const FORMAT: u8 = 1;

//! Who wants what of the pins, and whether the board can do all of it at once.
//!
//! The rules are those of the boards, and hold on every machine: what a node on Linux takes, a board takes too.

use super::values::{Mode, OF_SLICE, Values};
use alloc::vec::Vec;
use core::fmt;
use picolet_platform::{PinMode, PinSet, PwmOutput};

/// Frequency in hertz of a PWM slice none of whose pins names one.
const DEFAULT_HERTZ: u32 = 1000;

/// Who a claim is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// The ConfigMap of the layer with this index.
    Layer(u8),
    /// A command.
    Command,
}

/// A mode that is wanted of a pin, and by whom. A pin has one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) pin: u8,
    /// The frequency can be [`OF_SLICE`].
    pub(super) mode: PinMode,
    pub(super) holder: Holder,
}

impl Claim {
    /// What the pin would have differently from one that it shares it with; empty where the two go with each other.
    fn differs(&self, other: &Self) -> &'static str {
        let PinMode::Pwm { duty, hertz } = self.mode else {
            return "";
        };
        let PinMode::Pwm {
            duty: theirs,
            hertz: their_hertz,
        } = other.mode
        else {
            return "";
        };
        let (output, their_output) = (PwmOutput::of(self.pin), PwmOutput::of(other.pin));
        if self.pin == other.pin || output.slice != their_output.slice {
            ""
        } else if hertz != their_hertz && hertz != OF_SLICE && their_hertz != OF_SLICE {
            "frequency"
        } else if output == their_output && duty != theirs {
            "duty"
        } else {
            ""
        }
    }

    /// The first of these claims that does not go with this one.
    pub(super) fn conflict(&self, claims: &[Self]) -> Option<Self> {
        claims
            .iter()
            .find(|other| !self.differs(other).is_empty())
            .copied()
    }

    /// The mode of the pin beside the others, with the frequency that its slice has.
    pub(super) fn resolved(&self, claims: &[Self]) -> PinMode {
        let PinMode::Pwm {
            duty,
            hertz: OF_SLICE,
        } = self.mode
        else {
            return self.mode;
        };
        let slice = PwmOutput::of(self.pin).slice;
        let mut named = DEFAULT_HERTZ;
        for other in claims {
            if let PinMode::Pwm { hertz, .. } = other.mode
                && hertz != OF_SLICE
                && PwmOutput::of(other.pin).slice == slice
            {
                named = hertz;
            }
        }
        PinMode::Pwm { duty, hertz: named }
    }

    /// Writes why this claim cannot stand beside another, which is of that owner; nothing where it can.
    #[inline(never)]
    pub(super) fn describe_conflict(
        &self,
        other: &Self,
        owner: Owner<'_>,
        f: &mut dyn fmt::Write,
    ) -> fmt::Result {
        let what = self.differs(other);
        if what.is_empty() {
            return Ok(());
        }
        let (pin, slice) = (u32::from(self.pin), u32::from(PwmOutput::of(self.pin).slice));
        let (with, mode) = (u32::from(other.pin), Mode(other.mode));
        let Owner(kind, name) = owner;
        write!(
            f,
            "pin {pin} shares PWM slice {slice} with pin {with}, which {kind}{name} sets to {mode}; both need the same {what}"
        )
    }
}

/// Who owns a pin: the kind, and the name.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a>(pub(super) &'static str, pub(super) &'a str);

/// Two claims that do not go with each other.
pub(super) fn conflict(claims: &[Claim]) -> Option<(Claim, Claim)> {
    claims
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, claim)| Some((*claim, claim.conflict(claims.get(..at)?)?)))
}

/// What the layers claim together, a pin's topmost value each; `None` is a layer of which nothing is in force.
pub(super) fn claims<'a>(pins: PinSet, layers: impl Iterator<Item = Option<&'a Values>>) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    for (at, values) in (0u8..).zip(layers) {
        let Some(values) = values else { continue };
        for pin in pins.iter() {
            let Some(mode) = values.pin(pin) else { continue };
            let claim = Claim {
                pin,
                mode,
                holder: Holder::Layer(at),
            };
            match claims.iter_mut().find(|other| other.pin == pin) {
                Some(other) => *other = claim,
                None => claims.push(claim),
            }
        }
    }
    claims
}

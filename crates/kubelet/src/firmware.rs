//! The trial of new firmware, and how it ended.
//!
//! Firmware on trial is confirmed when the API server accepted Ready and renewed the Lease three times within 30 s or more,
//! without a restart. Five minutes without that revert it. What happens then, and to firmware that crashes, is the
//! bootloader's: `docs/firmware-format.md`.
//!
//! Firmware that comes back after a revert reports why. If the node is not Ready with it either, it was not the firmware: the
//! trial is repeated once the API server answers, at most three times.

use crate::events::Recorder;
use crate::health::Health;
use crate::host::Host;
use crate::metrics::{Metrics, count};
use crate::node::{Condition, NodeRef, Reporter};
use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::fmt::{self, Write as _};
use picolet_boot::{MAX_ATTEMPTS, MAX_ROUNDS, Reason, Slot, State};
use picolet_kube::event::Severity;
use picolet_kube::node::Truth;
use picolet_platform::{Clock, Duration, Firmware, FirmwareSlots, Level, Log, Record, Records, System};

/// How long the node must have been Ready.
const READY: Duration = Duration::from_secs(30);
/// How often the API server must have renewed the Lease in that time.
const RENEWALS: u32 = 3;
/// How long a node may take for that since its start.
const TRIAL: Duration = Duration::from_secs(300);
/// Between two looks at the node's health.
const LOOK: Duration = Duration::from_secs(1);
/// How long a last event may take to be sent before a restart.
const FAREWELL: Duration = Duration::from_secs(3);
/// The longest sentence that is stored, in bytes.
const SENTENCE: usize = 160;

/// What is reported about the firmware.
#[derive(Default)]
pub(crate) struct FirmwareStatus {
    condition: Cell<Option<(Truth, &'static str)>>,
    message: RefCell<String>,
}

impl FirmwareStatus {
    fn set(&self, truth: Truth, reason: &'static str, message: String) {
        self.condition.set(Some((truth, reason)));
        self.message.replace(message);
    }
}

impl Reporter for FirmwareStatus {
    fn condition(&self, words: &mut String) -> Option<Condition> {
        let (status, reason) = self.condition.get()?;
        words.push_str(&self.message.borrow());
        Some(Condition {
            kind: "FirmwareConfirmed",
            status,
            reason,
        })
    }
}

/// Writes the letter of a slot.
pub(crate) const fn letter(slot: Slot) -> char {
    match slot {
        Slot::A => 'A',
        Slot::B => 'B',
    }
}

/// Confirms or reverts firmware on trial, and reports how a trial ended.
pub(crate) struct FirmwareController<'a, H: Host> {
    pub(crate) machine: &'a H::Machine,
    pub(crate) health: &'a Health,
    pub(crate) events: &'a Recorder<H::Machine>,
    pub(crate) node: &'a NodeRef,
    pub(crate) metrics: &'a Metrics,
    pub(crate) status: &'a FirmwareStatus,
}

impl<H: Host> FirmwareController<'_, H> {
    /// Ends when there is nothing more to decide.
    pub(crate) async fn run(&self) {
        let Some(firmware) = self.machine.firmware() else {
            return;
        };
        let slots = firmware.slots();
        let version = identify(firmware, slots.running());
        if slots.is_on_trial() {
            if !self.is_confirmed(firmware, &version).await {
                self.revert(slots, &version).await;
            }
            return;
        }
        self.raise_floor(firmware).await;
        let state = slots.state();
        if state.reason == Reason::NONE {
            self.report_confirmed(slots, &version);
        } else if state.name.is_none() {
            // It was reported in an earlier run.
            let message = self.stored_result().await;
            self.status.set(Truth::False, "Reverted", message);
        } else {
            self.judge(firmware, &version, state).await;
        }
    }

    /// Waits until firmware on trial can be confirmed. Returns whether it was, in time.
    async fn is_confirmed(&self, firmware: &dyn Firmware, version: &str) -> bool {
        let slots = firmware.slots();
        let (slot, attempts) = (
            letter(slots.running()),
            slots.state().trial.map_or(0, |trial| trial.attempts),
        );
        self.status.set(
            Truth::Unknown,
            "OnTrial",
            alloc::format!("firmware {version} in slot {slot}, attempt {attempts} of {MAX_ATTEMPTS}"),
        );
        self.events.node(
            Severity::Normal,
            "FirmwareStarting",
            format_args!("Firmware {version} starts in slot {slot}, on trial"),
        );
        loop {
            let uptime = self.machine.uptime();
            let is_proven = self.health.ready().is_some_and(|(since, renewals)| {
                renewals >= RENEWALS && uptime.saturating_sub(since) >= READY
            });
            if is_proven {
                match slots.confirm() {
                    Ok(()) => break,
                    Err(error) => self.machine.log(
                        Level::Error,
                        format_args!("firmware {version} cannot be confirmed: {error}"),
                    ),
                }
            }
            if uptime >= TRIAL {
                return false;
            }
            self.machine.sleep(LOOK).await;
        }
        count(&self.metrics.firmware_confirmed);
        self.report_confirmed(slots, version);
        self.events.node(
            Severity::Normal,
            "FirmwareConfirmed",
            format_args!("Firmware {version} is confirmed in slot {slot}"),
        );
        self.raise_floor(firmware).await;
        self.store(Record::FirmwareResult, &[]).await;
        true
    }

    /// Ends the trial and restarts with the firmware before.
    async fn revert(&self, slots: &dyn FirmwareSlots, version: &str) {
        self.machine.log(
            Level::Error,
            format_args!(
                "firmware {version} is reverted: the node was not Ready for {} s within {} s",
                READY.as_millis() / 1000,
                TRIAL.as_millis() / 1000
            ),
        );
        if let Err(error) = slots.revert(Reason::NOT_READY) {
            // The restart alone repeats the trial, and more than three restarts revert it.
            self.machine.log(
                Level::Error,
                format_args!("the revert cannot be recorded: {error}"),
            );
        }
        self.machine.reboot().await;
    }

    /// Finds out whether it was the firmware that was reverted.
    async fn judge(&self, firmware: &dyn Firmware, version: &str, state: State) {
        let slots = firmware.slots();
        let reverted = identify(firmware, slots.running().other());
        let mut why = String::new();
        let crash = self.machine.last_crash();
        let _ = match crash.filter(|_| matches!(state.reason, Reason::CRASHED | Reason::RADIO_SILENT)) {
            Some(crash) => write!(why, "{crash}"),
            None => why.write_str(state.reason.as_str()),
        };
        let message = sentence(format_args!(
            "firmware {reverted} was reverted: {why}; {version} runs again"
        ));
        self.status.set(Truth::False, "Reverted", message.clone());
        let was_away = !self.is_ready_in_time().await && state.reason == Reason::NOT_READY;
        if was_away {
            self.machine.log(
                Level::Warn,
                format_args!("the node is not Ready with firmware {version} either: the cluster is away"),
            );
        }
        while self.health.ready().is_none() {
            self.machine.sleep(LOOK).await;
        }
        if was_away && state.round < MAX_ROUNDS && slots.state() == state {
            match firmware.repeat_trial() {
                Ok(()) => {
                    count(&self.metrics.firmware_repeated);
                    self.events.node(
                        Severity::Normal,
                        "FirmwareStarting",
                        format_args!(
                            "The cluster was away when firmware {reverted} was on trial: trial {} of {MAX_ROUNDS} begins",
                            state.round + 1
                        ),
                    );
                    self.machine.sleep(FAREWELL).await;
                    return self.machine.reboot().await;
                }
                Err(error) => self.machine.log(
                    Level::Error,
                    format_args!("the trial of firmware {reverted} is not repeated: {error}"),
                ),
            }
        }
        count(&self.metrics.firmware_reverted);
        self.store(Record::FirmwareResult, message.as_bytes()).await;
        self.events
            .node(Severity::Warning, "FirmwareReverted", format_args!("{message}"));
        self.node.outdated.signal(());
        // From here on the other slot is free for the next update, and this revert is not reported again.
        if slots.state() == state
            && let Err(error) = slots.mark_scratch()
        {
            self.machine.log(
                Level::Error,
                format_args!("the boot log cannot be written: {error}"),
            );
        }
    }

    /// Waits until the node is Ready, or the time for that is over.
    async fn is_ready_in_time(&self) -> bool {
        loop {
            if self.health.ready().is_some() {
                return true;
            }
            if self.machine.uptime() >= TRIAL {
                return false;
            }
            self.machine.sleep(LOOK).await;
        }
    }

    fn report_confirmed(&self, slots: &dyn FirmwareSlots, version: &str) {
        let slot = letter(slots.running());
        self.status.set(
            Truth::True,
            "Confirmed",
            alloc::format!("firmware {version} in slot {slot}"),
        );
        self.node.outdated.signal(());
    }

    /// Stores the security number of confirmed firmware as the lowest from now on.
    async fn raise_floor(&self, firmware: &dyn Firmware) {
        let (mut record, number) = ([0; 4], firmware.security_number());
        self.machine.load(Record::SecurityFloor, &mut record).await;
        if number > u32::from_le_bytes(record) {
            self.store(Record::SecurityFloor, &number.to_le_bytes()).await;
        }
    }

    async fn store(&self, record: Record, value: &[u8]) {
        if let Err(error) = self.machine.store(record, value).await {
            self.machine
                .log(Level::Warn, format_args!("firmware result not stored: {error}"));
        }
    }

    async fn stored_result(&self) -> String {
        let mut record = [0; SENTENCE];
        let length = self.machine.load(Record::FirmwareResult, &mut record).await;
        let stored = record.get(..length.unwrap_or_default()).unwrap_or_default();
        let text = str::from_utf8(stored).unwrap_or_default();
        if text.is_empty() {
            "new firmware was reverted".into()
        } else {
            text.into()
        }
    }
}

/// The version in a slot.
fn identify(firmware: &dyn Firmware, slot: Slot) -> String {
    let mut version = String::new();
    firmware.identify(slot, &mut version);
    version
}

/// At most [`SENTENCE`] bytes of text.
fn sentence(arguments: fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    let _ = text.write_fmt(arguments);
    text.truncate(text.floor_char_boundary(SENTENCE));
    text
}

#[cfg(test)]
pub(crate) mod tests;

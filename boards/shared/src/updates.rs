//! Updates of this board's firmware: the keys that it trusts, and what it is.

use crate::flash::{self, DeviceRecords};
use crate::{firmware, log};
use alloc::vec::Vec;
use picolet_boot::Slot;
use picolet_ec::p256::PublicKey;
use picolet_firmware::{Board, SlotSpace, Text, TrustedKey};
use picolet_platform::{FirmwareSlots, Level};
use picolet_store::layout::Layout;
use picolet_store::settings::{self, Settings};
use picolet_update::{Updater, read_header};
use static_cell::StaticCell;

/// The format of the device's records.
const RECORDS: u16 = 1;

/// What updates of the board go by; `None` where the boot log cannot be read. `radio` names its radio firmware. Without settings the board
/// trusts no key.
#[inline(never)]
pub(crate) fn updater(
    layout: &'static Layout,
    radio: [u8; 4],
    settings: Option<Settings<'static>>,
    records: Option<&DeviceRecords>,
) -> Option<&'static Updater<'static>> {
    static UPDATER: StaticCell<Updater<'static>> = StaticCell::new();
    let slots: &dyn FirmwareSlots = firmware::slots()?;
    let running = read_header(slots, slots.running());
    // A slot is started by its header. Without it no version counts as older.
    let version = running
        .map(|header| header.version)
        .or_else(|| Text::new("0.0.0"))?;
    let mut keys = Vec::new();
    for key in settings.iter().flat_map(Settings::firmware_keys) {
        match PublicKey::from_spki_der(key) {
            Ok(key) => keys.push(TrustedKey::new(key)),
            Err(_) => log::line(
                Level::Error,
                format_args!("--firmware-key: the settings have a key that is not on P-256"),
            ),
        }
    }
    let board = Board {
        name: layout.board,
        slots: layout.slots.map(|slot| SlotSpace {
            address: slot.address(),
            length: slot.length,
        }),
        settings: settings::VERSION,
        records: RECORDS,
        radio,
        version,
        security_floor: records.map_or(0, flash::security_floor),
    };
    let (slot, trial) = match (slots.running(), slots.is_on_trial()) {
        (Slot::A, false) => ('A', ""),
        (Slot::A, true) => ('A', ", on trial"),
        (Slot::B, false) => ('B', ""),
        (Slot::B, true) => ('B', ", on trial"),
    };
    log::line(
        Level::Info,
        format_args!("firmware {version} in slot {slot}{trial}"),
    );
    Some(UPDATER.init_with(|| Updater::new(slots, keys, board)))
}

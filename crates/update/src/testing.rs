//! A board in memory, for tests: two slots, a boot log, and flash that can lose its power at any operation.

extern crate std;

use crate::{Updater, read_header};
use core::cell::{Cell, RefCell};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use picolet_boot::{BootLog, ResetCause, Slot, Start, State, start};
use picolet_ec::p256::SecretKey;
use picolet_firmware::{
    Board, Formats, Header, SignatureBlock, SlotSpace, Text, TrustedKey, Variant, assemble,
};
use picolet_platform::{FirmwareSlots, SlotError};
use std::vec;
use std::vec::Vec;

/// Bytes of a slot.
pub const SLOT: u32 = 8 * 4096;
const LOG: usize = 2 * 4096;
/// Where slots A and B are.
pub const ADDRESSES: [u32; 2] = [0x1000_6000, 0x100d_2000];

/// Flash: the boot log, slot A, slot B.
pub struct Flash {
    bytes: RefCell<Vec<u8>>,
    /// Operations until power is lost in one; `None` for never.
    left: Cell<Option<u32>>,
    /// Erases and programs so far.
    pub operations: Cell<u32>,
    /// How often each sector was erased.
    pub erased: RefCell<Vec<u32>>,
}

#[derive(Debug)]
struct PowerLost;

impl NorFlashError for PowerLost {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Flash {
    /// Counts an operation. Returns how many of `length` bytes are done.
    fn operate(&self, length: usize) -> usize {
        self.operations.set(self.operations.get() + 1);
        match self.left.get() {
            None => length,
            Some(0) => 0,
            Some(1) => {
                self.left.set(Some(0));
                length / 3
            }
            Some(left) => {
                self.left.set(Some(left - 1));
                length
            }
        }
    }

    fn erase(&self, offset: usize) -> Result<(), PowerLost> {
        assert!(offset.is_multiple_of(4096));
        self.erased.borrow_mut()[offset / 4096] += 1;
        let done = self.operate(4096);
        self.bytes.borrow_mut()[offset..offset + done].fill(0xff);
        (done == 4096).then_some(()).ok_or(PowerLost)
    }

    fn program(&self, offset: usize, bytes: &[u8]) -> Result<(), PowerLost> {
        let done = self.operate(bytes.len());
        let mut flash = self.bytes.borrow_mut();
        for (place, byte) in flash[offset..].iter_mut().zip(&bytes[..done]) {
            assert!(
                self.left.get() == Some(0) || *place & byte == *byte,
                "programmed twice"
            );
            *place &= byte;
        }
        (done == bytes.len()).then_some(()).ok_or(PowerLost)
    }
}

/// The boot log's part of it.
struct Log<'a>(&'a Flash);

impl ErrorType for Log<'_> {
    type Error = PowerLost;
}

impl ReadNorFlash for Log<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerLost> {
        bytes.copy_from_slice(&self.0.bytes.borrow()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        LOG
    }
}

impl NorFlash for Log<'_> {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerLost> {
        (from..to)
            .step_by(4096)
            .try_for_each(|sector| self.0.erase(sector as usize))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerLost> {
        self.0.program(offset as usize, bytes)
    }
}

/// A board in memory.
pub struct MemoryBoard {
    /// Its flash.
    pub flash: Flash,
    running: Cell<Slot>,
}

impl MemoryBoard {
    /// A board with firmware `version` in slot A, as a UF2 file leaves it.
    pub fn new(version: &str) -> Self {
        let board = Self {
            flash: Flash {
                bytes: RefCell::new(vec![0xff; LOG + 2 * SLOT as usize]),
                left: Cell::new(None),
                operations: Cell::new(0),
                erased: RefCell::new(vec![0; (LOG + 2 * SLOT as usize) / 4096]),
            },
            running: Cell::new(Slot::A),
        };
        let file = Release::new(version).file();
        board.flash.bytes.borrow_mut()[LOG..LOG + Release::A].copy_from_slice(&file[..Release::A]);
        board
    }

    /// Power is lost in the operation with this number from now on, 1 for the next.
    pub fn cut_power_at(&self, operation: Option<u32>) {
        self.flash.left.set(operation);
    }

    /// Power comes back, or the board restarts for this cause: the bootloader runs.
    pub fn boot(&self, cause: ResetCause) -> Slot {
        self.flash.left.set(None);
        let has_image = [Slot::A, Slot::B].map(|slot| self.slot(slot).starts_with(b"picolet firmware"));
        match start(Log(&self.flash), cause, has_image).expect("the log can be read") {
            Start::Slot(slot) => {
                self.running.set(slot);
                slot
            }
            Start::UsbDrive => panic!("no firmware"),
        }
    }

    /// What a slot holds.
    pub fn slot(&self, slot: Slot) -> Vec<u8> {
        let start = LOG + slot.index() * SLOT as usize;
        self.flash.bytes.borrow()[start..start + SLOT as usize].to_vec()
    }

    /// Fills a slot with this byte.
    pub fn fill(&self, slot: Slot, byte: u8) {
        let start = LOG + slot.index() * SLOT as usize;
        self.flash.bytes.borrow_mut()[start..start + SLOT as usize].fill(byte);
    }

    /// Updates of the board, by keys with these numbers.
    pub fn updater(&self, keys: &[u8]) -> Updater<'_> {
        let version = read_header(self, self.running()).expect("it runs").version;
        let board = Board {
            name: "pico-w",
            slots: ADDRESSES.map(|address| SlotSpace {
                address,
                length: SLOT,
            }),
            settings: 1,
            records: 1,
            radio: [1; 4],
            version,
            security_floor: 1,
        };
        let keys = keys
            .iter()
            .map(|key| TrustedKey::new(self::key(*key).public_key()));
        Updater::new(self, keys.collect(), board)
    }
}

impl FirmwareSlots for MemoryBoard {
    fn running(&self) -> Slot {
        self.running.get()
    }

    fn slot_length(&self) -> u32 {
        SLOT
    }

    fn state(&self) -> State {
        BootLog::open(Log(&self.flash)).expect("it can be read").state()
    }

    fn append(&self, state: State) -> Result<(), SlotError> {
        let mut log = BootLog::open(Log(&self.flash)).expect("it can be read");
        log.append(state).map_err(|_| SlotError::Flash)
    }

    fn read(&self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), SlotError> {
        let slot = self.slot(slot);
        let range = offset as usize..offset as usize + bytes.len();
        bytes.copy_from_slice(slot.get(range).ok_or(SlotError::Flash)?);
        Ok(())
    }

    fn erase(&self, offset: u32) -> Result<(), SlotError> {
        let slot = self.state().writable(self.running()).expect("it may be written");
        assert!(offset < SLOT);
        let start = LOG + slot.index() * SLOT as usize;
        self.flash
            .erase(start + offset as usize)
            .map_err(|_| SlotError::Flash)
    }

    fn program(&self, offset: u32, bytes: &[u8]) -> Result<(), SlotError> {
        let slot = self.state().writable(self.running()).expect("it may be written");
        assert!(offset + bytes.len() as u32 <= SLOT && offset.is_multiple_of(256) && bytes.len() == 256);
        let start = LOG + slot.index() * SLOT as usize;
        self.flash
            .program(start + offset as usize, bytes)
            .map_err(|_| SlotError::Flash)
    }
}

/// The private key with this number.
pub fn key(number: u8) -> SecretKey {
    SecretKey::generate(&[number; 48])
}

/// What a firmware file is made of.
pub struct Release {
    /// Its header.
    pub header: Header,
    images: [Vec<u8>; 2],
    /// The key that signs it.
    pub key: u8,
}

impl Release {
    /// Bytes of header, signature and variant A.
    pub const A: usize = 512 + 20 * 256;

    /// Images that are other ones for each version, of two and of seven sectors. The end of B is 0xFF, as an image may be.
    pub fn new(version: &str) -> Self {
        let seed = version
            .bytes()
            .fold(7_u32, |seed, byte| seed * 31 + u32::from(byte));
        let image = |pages: u32, number: u32| -> Vec<u8> {
            (0..pages * 256)
                .map(|at| (at.wrapping_mul(seed + number) >> 7) as u8)
                .collect()
        };
        let (a, mut b) = (image(20, 1), image(100, 2));
        b[95 * 256..].fill(0xff);
        Self {
            header: Header {
                security: 1,
                board: Text::new("pico-w").expect("a text"),
                version: Text::new(version).expect("a text"),
                commit: [0; 20],
                settings: Formats { oldest: 1, newest: 1 },
                records: Formats { oldest: 1, newest: 1 },
                radio: [0; 4],
                variants: [Variant::of(ADDRESSES[0], &a), Variant::of(ADDRESSES[1], &b)],
            },
            images: [a, b],
            key: 1,
        }
    }

    /// The file.
    pub fn file(&self) -> Vec<u8> {
        let signature = SignatureBlock::sign(&self.header.to_bytes(), &key(self.key));
        assemble(&self.header, &signature, [&self.images[0], &self.images[1]])
    }

    /// What a slot holds after the update.
    pub fn slot(&self, slot: Slot) -> Vec<u8> {
        let mut bytes = self.file()[..512].to_vec();
        bytes.extend(&self.images[slot.index()]);
        bytes
    }
}

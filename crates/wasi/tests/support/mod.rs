//! A guest and a host around it, for tests.
#![allow(dead_code, reason = "each test program uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use picolet_platform::{Entropy, I2c, I2cError, Led, LedMode, PinMode, PinReading, PinSet, Pins, Sensors};
use picolet_wasi::files::{FileLimits, FileSystem, NodeId, Owner, Quota};
use picolet_wasi::picolet::{self, Configuration, Device, Driven, Grant, PinEvent, PinEvents};
use picolet_wasi::{
    Clock, Errno, Function, GuestMemory, Host, Input, Limits, MemoryError, Outcome, Output, Readiness,
    Shutdown, Signals, Sockets, Stream, Strings, Wasi,
};

/// Bytes of the guest's memory.
pub(crate) const MEMORY: usize = 65_536;

/// Flat memory; touching more than `budget` bytes from `limit_at` on is out of memory.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    /// Addresses from here on are the guest's, but beyond its limit.
    pub(crate) limit: usize,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; MEMORY],
            limit: MEMORY,
        }
    }

    fn range(&self, address: u32, length: usize) -> Result<std::ops::Range<usize>, MemoryError> {
        let start = address as usize;
        let end = start.checked_add(length).filter(|end| *end <= MEMORY);
        let end = end.ok_or(MemoryError::Fault)?;
        if end > self.limit && length > 0 {
            return Err(MemoryError::OutOfMemory);
        }
        Ok(start..end)
    }
}

impl GuestMemory for Memory {
    fn copy_out(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let range = self.range(address, bytes.len())?;
        bytes.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn copy_in(&mut self, address: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        let range = self.range(address, bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }
}

/// A connection of the model.
#[derive(Default)]
pub(crate) struct Connection {
    pub(crate) received: VecDeque<u8>,
    pub(crate) sent: Vec<u8>,
    /// Bytes that can be sent.
    pub(crate) room: usize,
    pub(crate) ended: bool,
    pub(crate) shut: Option<Shutdown>,
    pub(crate) closed: bool,
}

/// Everything of a host, moved by the test.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) realtime: Cell<Option<u64>>,
    pub(crate) monotonic: Cell<u64>,
    pub(crate) random: Cell<u8>,
    pub(crate) output: RefCell<Vec<u8>>,
    pub(crate) errors: RefCell<Vec<u8>>,
    /// `None` is an open stream without data, an empty chunk its end.
    pub(crate) input: RefCell<VecDeque<u8>>,
    pub(crate) input_ended: Cell<bool>,
    pub(crate) connections: RefCell<Vec<Connection>>,
    pub(crate) waiting: RefCell<VecDeque<u8>>,
    pub(crate) signals: RefCell<VecDeque<u8>>,
    pub(crate) modes: RefCell<Vec<PinMode>>,
    pub(crate) led: Cell<LedMode>,
    pub(crate) temperature: Cell<Option<i32>>,
    pub(crate) driven: Cell<Driven>,
    pub(crate) events: RefCell<VecDeque<PinEvent>>,
    pub(crate) watches: Cell<u32>,
    pub(crate) transfer: RefCell<Option<(u8, Vec<u8>, usize)>>,
    pub(crate) transfer_ready: Cell<bool>,
    pub(crate) abandoned: Cell<bool>,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self::default();
        world.monotonic.set(1_000_000_000);
        world.realtime.set(Some(1_800_000_000_000_000_000));
        world.input_ended.set(true);
        world.modes.borrow_mut().resize(30, PinMode::Unset);
        world.temperature.set(Some(21_500));
        world
    }
}

impl Clock for World {
    fn realtime(&self) -> Option<u64> {
        self.realtime.get()
    }

    fn monotonic(&self) -> u64 {
        self.monotonic.get()
    }
}

impl Entropy for World {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.random.get();
            self.random.set(byte.wrapping_add(1));
        }
    }
}

impl Output for World {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let to = match stream {
            Stream::Output => &self.output,
            Stream::Error => &self.errors,
        };
        to.borrow_mut().extend_from_slice(bytes);
    }
}

impl Input for World {
    fn read(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        let mut input = self.input.borrow_mut();
        if input.is_empty() && !self.input_ended.get() {
            return Err(Errno::Again);
        }
        let count = input.len().min(bytes.len());
        bytes
            .iter_mut()
            .zip(input.drain(..count))
            .for_each(|(to, from)| *to = from);
        Ok(count)
    }

    fn available(&self) -> Option<u32> {
        let input = self.input.borrow();
        (!input.is_empty() || self.input_ended.get()).then(|| input.len() as u32)
    }
}

impl Sockets for World {
    fn accept(&self, _: u8) -> Result<u8, Errno> {
        self.waiting.borrow_mut().pop_front().ok_or(Errno::Again)
    }

    fn receive(&self, socket: u8, bytes: &mut [u8], peek: bool) -> Result<usize, Errno> {
        let mut connections = self.connections.borrow_mut();
        let connection = &mut connections[usize::from(socket)];
        if connection.received.is_empty() {
            return if connection.ended {
                Ok(0)
            } else {
                Err(Errno::Again)
            };
        }
        let count = connection.received.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(&connection.received) {
            *to = *from;
        }
        if !peek {
            connection.received.drain(..count);
        }
        Ok(count)
    }

    fn send(&self, socket: u8, bytes: &[u8]) -> Result<usize, Errno> {
        let mut connections = self.connections.borrow_mut();
        let connection = &mut connections[usize::from(socket)];
        let count = bytes.len().min(connection.room);
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::Again);
        }
        connection.room -= count;
        connection.sent.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn shutdown(&self, socket: u8, how: Shutdown) -> Result<(), Errno> {
        self.connections.borrow_mut()[usize::from(socket)].shut = Some(how);
        Ok(())
    }

    fn readiness(&self, socket: u8) -> Readiness {
        let connections = self.connections.borrow();
        let Some(connection) = connections.get(usize::from(socket)) else {
            let waiting = self.waiting.borrow().len() as u32;
            return Readiness {
                read: (waiting > 0).then_some(waiting),
                ..Readiness::default()
            };
        };
        let received = connection.received.len() as u32;
        Readiness {
            read: (received > 0 || connection.ended).then_some(received),
            write: (connection.room > 0).then_some(connection.room as u32),
            hangup: connection.ended,
        }
    }

    fn close(&self, socket: u8) {
        if let Some(connection) = self.connections.borrow_mut().get_mut(usize::from(socket)) {
            connection.closed = true;
        }
    }
}

impl Signals for World {
    fn pending(&self) -> Option<u8> {
        self.signals.borrow().front().copied()
    }

    fn take(&self) -> Option<u8> {
        self.signals.borrow_mut().pop_front()
    }
}

impl Pins for World {
    fn pins(&self) -> PinSet {
        PinSet::range(0, 22)
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        self.modes.borrow_mut()[usize::from(pin)] = mode;
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        let mode = *self.modes.borrow().get(usize::from(pin))?;
        Some(PinReading {
            mode,
            high: mode == PinMode::High,
        })
    }

    fn read_adc(&self, channel: u8) -> Option<u16> {
        (channel < 3).then_some(1_000 + u16::from(channel))
    }
}

impl Led for World {
    fn set_led(&self, mode: LedMode) {
        self.led.set(mode);
    }
}

impl Sensors for World {
    fn temperature_millicelsius(&self) -> Option<i32> {
        self.temperature.get()
    }
}

impl I2c for World {
    fn bus_pins(&self, bus: u8) -> Option<PinSet> {
        match bus {
            0 => Some(PinSet::range(4, 5)),
            1 => Some(PinSet::range(6, 7)),
            _ => None,
        }
    }

    fn start(&self, _: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError> {
        if self.transfer.borrow().is_some() {
            return Err(I2cError::Busy);
        }
        *self.transfer.borrow_mut() = Some((address, write.to_vec(), read));
        Ok(())
    }

    fn finish(&self, _: u8, read: &mut [u8]) -> Option<Result<(), I2cError>> {
        if !self.transfer_ready.get() {
            return None;
        }
        let (address, write, length) = self.transfer.borrow_mut().take()?;
        if address != 0x48 {
            return Some(Err(I2cError::NoAddress));
        }
        assert_eq!(length, read.len());
        for (index, byte) in read.iter_mut().enumerate() {
            *byte = write.first().copied().unwrap_or(0) + index as u8;
        }
        Some(Ok(()))
    }

    fn abandon(&self, _: u8) {
        *self.transfer.borrow_mut() = None;
        self.abandoned.set(true);
    }
}

impl PinEvents for World {
    fn watch(&self, _: u8, _: bool, _: bool) -> Result<u8, Errno> {
        self.watches.set(self.watches.get() + 1);
        Ok(0)
    }

    fn has_event(&self, _: u8) -> bool {
        !self.events.borrow().is_empty()
    }

    fn next_event(&self, _: u8) -> Option<PinEvent> {
        self.events.borrow_mut().pop_front()
    }

    fn unwatch(&self, _: u8) {
        self.watches.set(self.watches.get() - 1);
    }
}

impl Configuration for World {
    fn driven(&self) -> Driven {
        self.driven.get()
    }

    fn cell(&self, index: u32) -> Option<u32> {
        (index == 7).then_some(42)
    }

    fn value(&self, key: &str, offset: u32, bytes: &mut [u8]) -> Option<u32> {
        let value: Vec<u8> = match key {
            "mode" => b"fast".to_vec(),
            "long" => (0..=255).cycle().take(300).collect(),
            _ => return None,
        };
        let rest = value.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Some(value.len() as u32)
    }
}

/// An instance with its memory and its host.
pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) memory: Memory,
    pub(crate) world: Rc<World>,
    pub(crate) files: Rc<RefCell<FileSystem>>,
    pub(crate) root: NodeId,
    pub(crate) quota: Rc<Quota>,
    pub(crate) grant: Grant,
}

/// Where [`Guest::text`] puts texts, and results of calls are expected.
pub(crate) const TEXT: u32 = 0x1000;
pub(crate) const OUT: u32 = 0x2000;
pub(crate) const DATA: u32 = 0x4000;

impl Guest {
    /// A guest whose file system `fill` fills, with room for so many bytes.
    pub(crate) fn with(room: u32, read_only: bool, fill: impl FnOnce(&mut FileSystem, NodeId)) -> Self {
        let quota = Rc::new(Quota::new(room));
        let mut files = FileSystem::new(FileLimits::BOARD, quota.clone());
        let root = files.add_root(true, 0o755, Owner::default()).unwrap();
        fill(&mut files, root);
        let files = Rc::new(RefCell::new(files));
        let owner = Owner {
            uid: 1_000,
            gid: 2_000,
        };
        let limits = Limits {
            transfer: 1_024,
            ..Limits::BOARD
        };
        let mut wasi = Wasi::new(files.clone(), root, read_only, owner, limits).unwrap();
        let (mut arguments, mut environment) = (Strings::new(), Strings::new());
        arguments.push("/app.wasm").unwrap();
        arguments.push("-v").unwrap();
        environment.push_variable("HOME", "/").unwrap();
        wasi.set_strings(Rc::new(arguments), Rc::new(environment));
        Self {
            wasi,
            memory: Memory::new(),
            world: Rc::new(World::new()),
            files,
            root,
            quota,
            grant: Grant {
                pins: PinSet::range(2, 5),
                led: true,
                adc: 0b1001,
            },
        }
    }

    /// A guest with an empty, writable root.
    pub(crate) fn new() -> Self {
        Self::with(16_384, false, |_, _| ())
    }

    /// Does something with the host.
    pub(crate) fn on<T>(&mut self, act: impl FnOnce(&mut Wasi, &mut Memory, &Host<'_>) -> T) -> T {
        let world = &*self.world;
        let device = Device {
            pins: world,
            led: world,
            sensors: world,
            i2c: world,
            events: world,
            configuration: world,
            grant: self.grant,
        };
        let host = Host {
            clock: world,
            entropy: world,
            output: world,
            input: world,
            sockets: world,
            signals: world,
            device: Some(&device),
        };
        act(&mut self.wasi, &mut self.memory, &host)
    }

    pub(crate) fn outcome(&mut self, name: &str, arguments: &[u32]) -> Outcome {
        let function = Function::find(name).unwrap_or_else(|| panic!("{name} is no function"));
        self.on(|wasi, memory, host| wasi.call(function, arguments, memory, host))
    }

    /// Calls a function of WASI and returns its errno.
    pub(crate) fn call(&mut self, name: &str, arguments: &[u32]) -> u32 {
        match self.outcome(name, arguments) {
            Outcome::Return(errno) => errno,
            other => panic!("{name}{arguments:?}: {other:?}"),
        }
    }

    /// Calls a function of WASI that succeeds.
    pub(crate) fn ok(&mut self, name: &str, arguments: &[u32]) {
        assert_eq!(self.call(name, arguments), 0, "{name}{arguments:?}");
    }

    pub(crate) fn picolet(&mut self, name: &str, arguments: &[u32]) -> Outcome {
        let function = picolet::Function::find(name).unwrap_or_else(|| panic!("{name} is no function"));
        self.on(|wasi, memory, host| wasi.call_picolet(function, arguments, memory, host))
    }

    pub(crate) fn resume(&mut self) -> Outcome {
        self.on(|wasi, memory, host| wasi.resume(memory, host))
    }

    /// Puts a text where calls find it, and returns its address and length.
    pub(crate) fn text(&mut self, at: u32, text: &str) -> [u32; 2] {
        self.memory.bytes[at as usize..][..text.len()].copy_from_slice(text.as_bytes());
        [at, text.len() as u32]
    }

    /// Puts one buffer of a call at [`OUT`] + 256.
    pub(crate) fn vector(&mut self, address: u32, length: u32) -> [u32; 2] {
        let at = OUT + 256;
        self.put(at, address);
        self.put(at + 4, length);
        [at, 1]
    }

    pub(crate) fn put(&mut self, at: u32, value: u32) {
        self.memory.bytes[at as usize..][..4].copy_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn word(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.memory.bytes[at as usize..][..4].try_into().unwrap())
    }

    pub(crate) fn long(&self, at: u32) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    pub(crate) fn bytes(&self, at: u32, length: usize) -> &[u8] {
        &self.memory.bytes[at as usize..][..length]
    }

    /// Opens a path of the root: `flags` are `oflags`, and it is written to if `write`.
    pub(crate) fn open(&mut self, path: &str, flags: u32, write: bool) -> Result<u32, u32> {
        let [at, length] = self.text(TEXT, path);
        let rights = 2 | if write { 1 << 6 } else { 0 };
        match self.call("path_open", &[3, 1, at, length, flags, rights, 0, 0, 0, 0, OUT]) {
            0 => Ok(self.word(OUT)),
            errno => Err(errno),
        }
    }

    /// Writes through a descriptor and returns how many bytes went.
    pub(crate) fn write(&mut self, descriptor: u32, bytes: &[u8]) -> Result<u32, u32> {
        self.memory.bytes[DATA as usize..][..bytes.len()].copy_from_slice(bytes);
        let [vectors, count] = self.vector(DATA, bytes.len() as u32);
        match self.call("fd_write", &[descriptor, vectors, count, OUT]) {
            0 => Ok(self.word(OUT)),
            errno => Err(errno),
        }
    }

    /// Reads up to `length` bytes through a descriptor.
    pub(crate) fn read(&mut self, descriptor: u32, length: u32) -> Result<Vec<u8>, u32> {
        let [vectors, count] = self.vector(DATA, length);
        match self.call("fd_read", &[descriptor, vectors, count, OUT]) {
            0 => Ok(self.bytes(DATA, self.word(OUT) as usize).to_vec()),
            errno => Err(errno),
        }
    }

    /// A call on a path of the root: `path_create_directory` and the like.
    pub(crate) fn path(&mut self, name: &str, path: &str) -> u32 {
        let [at, length] = self.text(TEXT, path);
        self.call(name, &[3, at, length])
    }
}

//! All calls of WASI and of the host module on a device whose every answer comes from nowhere.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;
use link_test::{input, output, start};
use picolet_platform::PinSet;
use picolet_wasi::files::{FileLimits, FileSystem, ImageFile, Object, Owner};
use picolet_wasi::picolet::{Device, Grant};
use picolet_wasi::{Absent, Errno, Function, Host, Limits, Outcome, Strings, Wasi, picolet};
use wasi_size::{Nothing, number, text};

fn files() -> Result<(FileSystem, picolet_wasi::files::NodeId), Errno> {
    let mut files = FileSystem::new(FileLimits::BOARD, Rc::new(Nothing));
    let root = files.add_root(true, 0o755, Owner::default())?;
    let source = files.add_source(Rc::new(Nothing))?;
    let file = ImageFile {
        source,
        offset: number(),
        length: number(),
    };
    files.add_image_file(root, &text(), file, 0o644)?;
    files.add_link(root, &text(), &text())?;
    files.add_file(root, &text(), text().as_bytes(), 0o644)?;
    files.add_devices(root)?;
    let volume = files.add_root(false, 0o755, Owner::default())?;
    let object = Rc::new(Object::new(text().into_bytes(), 0));
    files.add_object(volume, &text(), object, 0o400)?;
    files.mount(root, &text(), volume, true)?;
    files.remove(root, &text())?;
    files
        .read_file(root, &text(), number())?
        .into_iter()
        .for_each(output);
    Ok((files, root))
}

fn run() -> Result<(), Errno> {
    let (files, root) = files()?;
    let files = Rc::new(RefCell::new(files));
    let mut wasi = Wasi::new(files, root, input() > 0, Owner::default(), Limits::BOARD)?;
    let mut strings = Strings::new();
    strings.push(&text())?;
    strings.push_variable(&text(), &text())?;
    let strings = Rc::new(strings);
    wasi.set_strings(strings.clone(), strings);
    wasi.add_listener(input())?;
    let nothing = Nothing;
    let device = Device {
        pins: &nothing,
        led: &nothing,
        sensors: &nothing,
        i2c: &nothing,
        events: &nothing,
        configuration: &nothing,
        grant: Grant {
            pins: PinSet(number().into()),
            led: input() > 0,
            adc: input(),
        },
    };
    let host = Host {
        clock: &nothing,
        entropy: &nothing,
        output: &nothing,
        input: &Absent,
        sockets: &nothing,
        signals: &Absent,
        device: Some(&device),
    };
    let arguments = [number(); 11];
    loop {
        let name = text();
        let outcome = match (Function::find(&name), picolet::Function::find(&name)) {
            (Some(function), _) => wasi.call(function, &arguments, &mut Nothing, &host),
            (_, Some(function)) => wasi.call_picolet(function, &arguments, &mut Nothing, &host),
            _ => wasi.resume(&mut Nothing, &host),
        };
        match outcome {
            Outcome::Return(value) => output(value as u8),
            Outcome::Suspend(wait) => output(wait.interest.0),
            Outcome::Exit(_) | Outcome::OutOfMemory => break,
        }
    }
    wasi.close(&host);
    Ok(())
}

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    loop {
        if let Err(errno) = run() {
            output(errno as u8);
        }
    }
}

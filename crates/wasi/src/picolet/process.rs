//! Configuration, signals, file modes, user and group.

use crate::context::{Call, Wasi};
use crate::descriptors::{Descriptor, Target};
use crate::errno::Errno;
use crate::files::Place;
use crate::host::Host;
use crate::memory::{CHUNK, advance, write_u32};
use crate::outcome::Result;

/// The version of the module's interface.
pub(super) const ABI: u32 = 1;

/// Bytes that reading a watch of signals gives: the number of a signal as u32.
pub(crate) const SIGNAL: usize = 4;

/// `abi()`: the version of the interface.
pub(super) fn abi(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    call.value = ABI;
    Ok(())
}

/// `cell_get(index, *value)`.
pub(super) fn cell_get(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let value = device.configuration.cell(call.slot(0)).ok_or(Errno::NotFound)?;
    call.put_u32(1, value)
}

/// `config_get(key, key_length, buffer, capacity, *length)`: `length` is that of the whole value; ERANGE if it is more than `capacity`, with
/// what fits in the buffer.
pub(super) fn config_get(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let key = call.text(0)?;
    let (buffer, capacity) = (call.slot(2), call.slot(3));
    let mut chunk = [0; CHUNK];
    let mut done: u32 = 0;
    let length = loop {
        let length = device.configuration.value(&key, done, &mut chunk);
        let length = length.ok_or(Errno::NotFound)?;
        let count = length.min(capacity).saturating_sub(done).min(CHUNK as u32);
        if count == 0 {
            break length;
        }
        let part = chunk.get(..count as usize).unwrap_or_default();
        call.memory.copy_in(advance(buffer, done)?, part)?;
        done += count;
    };
    call.put_u32(4, length)?;
    if length > capacity {
        return Err(Errno::Range.into());
    }
    Ok(())
}

/// `signal(*number)`: takes the oldest pending signal, 0 if there is none.
pub(super) fn signal(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let number = call.host.signals.pending().unwrap_or(0);
    call.put_u32(0, number.into())?;
    call.host.signals.take();
    Ok(())
}

/// `signal_watch(*fd)`: a descriptor that is readable while a signal is pending.
pub(super) fn signal_watch(wasi: &mut Wasi, call: &mut Call<'_>) -> Result {
    wasi.descriptors.reserve()?;
    call.put_u32(0, 0)?;
    let descriptor = Descriptor::new(Target::Signals, true, false);
    let number = wasi.descriptors.insert(descriptor)?;
    call.put_u32(0, number)
}

/// Takes a pending signal.
pub(crate) fn read_signals(host: &Host<'_>, bytes: &mut [u8]) -> core::result::Result<usize, Errno> {
    let place = bytes.get_mut(..SIGNAL).ok_or(Errno::Invalid)?;
    let number = host.signals.take().ok_or(Errno::Again)?;
    place.copy_from_slice(&u32::from(number).to_le_bytes());
    Ok(SIGNAL)
}

/// `file_mode(path, length, *{mode, uid, gid, file_system})`: `st_mode`, the owner, and `f_type` of statfs(2).
pub(super) fn file_mode(wasi: &mut Wasi, call: &mut Call<'_>) -> Result {
    let place = resolve(wasi, call)?;
    let mode = wasi.files().mode(place.node.ok_or(Errno::NotFound)?);
    let fields = [mode.mode, mode.owner.uid, mode.owner.gid, mode.file_system];
    write_fields(call, 2, &fields)
}

/// `file_chmod(path, length, mode)`.
pub(super) fn file_chmod(wasi: &mut Wasi, call: &mut Call<'_>) -> Result {
    let place = resolve(wasi, call)?;
    let node = place.node.ok_or(Errno::NotFound)?;
    if place.read_only {
        return Err(Errno::ReadOnly.into());
    }
    wasi.files_mut().set_mode(node, (call.slot(2) & 0o7777) as u16);
    Ok(())
}

/// `ids(*{uid, gid})`.
pub(super) fn ids(wasi: &mut Wasi, call: &mut Call<'_>) -> Result {
    write_fields(call, 0, &[wasi.owner.uid, wasi.owner.gid])
}

fn write_fields(call: &mut Call<'_>, slot: usize, fields: &[u32]) -> Result {
    let mut address = call.slot(slot);
    for field in fields {
        write_u32(call.memory, address, *field)?;
        address = address.wrapping_add(4);
    }
    Ok(())
}

/// Resolves the path of the first two slots from the root. It may be absolute: no library made it relative.
fn resolve(wasi: &Wasi, call: &mut Call<'_>) -> Result<Place> {
    let path = call.text(0)?;
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() && !path.is_empty() {
        "."
    } else {
        relative
    };
    Ok(wasi.files().resolve(wasi.root, wasi.root, relative, true)?)
}

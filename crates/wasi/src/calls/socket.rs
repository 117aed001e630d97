//! Calls on sockets.

use crate::context::{Call, Wasi};
use crate::descriptors::{Descriptor, NONBLOCK, Target};
use crate::errno::Errno;
use crate::host::Shutdown;
use crate::memory::{CHUNK, read_u32};
use crate::outcome::Result;

/// `riflags`: the bytes stay to be read again.
const PEEK: u32 = 1;

impl Wasi {
    pub(super) fn sock_accept(&mut self, call: &mut Call<'_>) -> Result {
        let flags = call.slot(1);
        if flags & !NONBLOCK != 0 {
            return Err(Errno::Invalid.into());
        }
        let descriptor = self.descriptors.get(call.slot(0))?;
        let listener = match descriptor.target {
            Target::Listener(listener) => listener,
            Target::Socket(_) => return Err(Errno::Invalid.into()),
            _ => return Err(Errno::NotSocket.into()),
        };
        let waits = descriptor.clone();
        self.descriptors.reserve()?;
        // A connection that the caller cannot get is not accepted.
        call.put_u32(2, 0)?;
        let socket = call
            .host
            .sockets
            .accept(listener)
            .map_err(|errno| call.stop(&waits, errno))?;
        let mut descriptor = Descriptor::new(Target::Socket(socket), true, true);
        descriptor.flags = flags as u8;
        let number = self.descriptors.insert(descriptor)?;
        call.put_u32(2, number)
    }

    pub(super) fn sock_recv(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.socket(call.slot(0))?;
        let count = match call.slot(3) {
            0 => self.scatter(call, &descriptor, 0, 1)?,
            PEEK => self.peek(call, &descriptor)?,
            _ => return Err(Errno::NotSupported.into()),
        };
        call.put_u32(4, count)?;
        // `roflags`: nothing was truncated.
        Ok(call.memory.copy_in(call.slot(5), &[0; 2])?)
    }

    pub(super) fn sock_send(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.socket(call.slot(0))?;
        if call.slot(3) != 0 {
            return Err(Errno::NotSupported.into());
        }
        let count = self.gather(call, &descriptor, 0, 1)?;
        call.put_u32(4, count)
    }

    pub(super) fn sock_shutdown(&mut self, call: &mut Call<'_>) -> Result {
        let how = call.slot(1);
        if how == 0 || how > 3 {
            return Err(Errno::Invalid.into());
        }
        let Target::Socket(socket) = self.socket(call.slot(0))?.target else {
            return Err(Errno::NotConnected.into());
        };
        let how = Shutdown {
            receive: how & 1 != 0,
            send: how & 2 != 0,
        };
        Ok(call.host.sockets.shutdown(socket, how)?)
    }

    /// Reads a first part of what is there into the first buffer, and leaves it.
    fn peek(&self, call: &mut Call<'_>, descriptor: &Descriptor) -> Result<u32> {
        let (vector, count) = (call.slot(1), call.slot(2));
        let Target::Socket(socket) = descriptor.target else {
            return Err(Errno::NotConnected.into());
        };
        if count == 0 {
            return Ok(0);
        }
        let address = read_u32(call.memory, vector)?;
        let length = read_u32(call.memory, vector.wrapping_add(4))?;
        let mut chunk = [0; CHUNK];
        let part = chunk.get_mut(..CHUNK.min(length as usize)).unwrap_or_default();
        let sockets = call.host.sockets;
        let count = sockets
            .receive(socket, part, true)
            .map_err(|errno| call.stop(descriptor, errno))?;
        call.memory
            .copy_in(address, part.get(..count).unwrap_or_default())?;
        Ok(count as u32)
    }

    fn socket(&self, number: u32) -> Result<Descriptor> {
        let descriptor = self.descriptors.get(number)?;
        match descriptor.target {
            Target::Socket(_) | Target::Listener(_) => Ok(descriptor.clone()),
            _ => Err(Errno::NotSocket.into()),
        }
    }
}

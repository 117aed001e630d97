//! Bytes between buffers of the guest and what a descriptor leads to.

use crate::context::{Call, Wasi};
use crate::descriptors::{Descriptor, Target};
use crate::errno::Errno;
use crate::files;
use crate::memory::{CHUNK, GuestMemory, advance};
use crate::outcome::Result;
use crate::picolet;

/// The list of a call's buffers (`iovec`) in guest memory.
struct Vectors {
    address: u32,
    left: u32,
}

impl Vectors {
    fn next(&mut self, memory: &mut dyn GuestMemory) -> Result<Option<(u32, u32)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        memory.copy_out(self.address, &mut bytes)?;
        self.address = self.address.wrapping_add(8);
        self.left -= 1;
        let [a, b, c, d, e, f, g, h] = bytes;
        Ok(Some((
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        )))
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

impl Wasi {
    /// Reads into the buffers of slots `vectors` and `vectors + 1` from `position` of a descriptor on, and returns how many bytes.
    pub(super) fn scatter(
        &self,
        call: &mut Call<'_>,
        from: &Descriptor,
        position: u32,
        vectors: usize,
    ) -> Result<u32> {
        self.move_bytes(call, from, position, vectors, Direction::Read)
    }

    /// Writes from the buffers, as [`Self::scatter`].
    pub(super) fn gather(
        &self,
        call: &mut Call<'_>,
        to: &Descriptor,
        position: u32,
        vectors: usize,
    ) -> Result<u32> {
        self.move_bytes(call, to, position, vectors, Direction::Write)
    }

    fn move_bytes(
        &self,
        call: &mut Call<'_>,
        descriptor: &Descriptor,
        position: u32,
        vectors: usize,
        direction: Direction,
    ) -> Result<u32> {
        let open = match direction {
            Direction::Read => descriptor.readable && !matches!(descriptor.target, Target::Directory(_)),
            Direction::Write => descriptor.writable,
        };
        if !open {
            return Err(Errno::BadDescriptor.into());
        }
        let mut vectors = Vectors {
            address: call.slot(vectors),
            left: call.slot(vectors + 1),
        };
        if vectors.left > u32::from(self.limits.vectors) {
            return Err(Errno::Invalid.into());
        }
        let mut chunk = [0; CHUNK];
        let mut total: u32 = 0;
        while let Some((mut address, mut length)) = vectors.next(call.memory)? {
            while length > 0 {
                let count = length.min(CHUNK as u32).min(self.limits.transfer - total);
                if count == 0 {
                    return Ok(total);
                }
                let part = chunk.get_mut(..count as usize).unwrap_or_default();
                let at = position.checked_add(total).ok_or(Errno::FileTooBig);
                let moved = match direction {
                    Direction::Write => {
                        call.memory.copy_out(address, part)?;
                        at.and_then(|at| self.write_part(call, descriptor, at, part))
                    }
                    // A range that is not the guest's must not cost bytes of a stream.
                    Direction::Read => {
                        call.memory.copy_out(advance(address, count - 1)?, &mut [0])?;
                        at.and_then(|at| self.read_part(call, descriptor, at, part))
                    }
                };
                let moved = match moved {
                    Ok(moved) => moved,
                    Err(errno) if total == 0 => return Err(call.stop(descriptor, errno)),
                    Err(_) => return Ok(total),
                };
                if direction == Direction::Read {
                    let read = part.get(..moved).unwrap_or_default();
                    call.memory.copy_in(address, read)?;
                }
                let moved = moved as u32;
                total += moved;
                if moved < count {
                    return Ok(total);
                }
                length -= moved;
                address = address.wrapping_add(moved);
            }
        }
        Ok(total)
    }

    fn read_part(
        &self,
        call: &Call<'_>,
        descriptor: &Descriptor,
        position: u32,
        bytes: &mut [u8],
    ) -> core::result::Result<usize, Errno> {
        match &descriptor.target {
            Target::Input => call.host.input.read(bytes),
            Target::File(node) => self.files().read(*node, position, bytes),
            Target::Object(_, content) => Ok(files::copy(content, position, bytes)),
            Target::Socket(socket) => call.host.sockets.receive(*socket, bytes, false),
            Target::Pin(watch) => picolet::read_events(*watch, call.host, bytes),
            Target::Signals => picolet::read_signals(call.host, bytes),
            Target::Listener(_) => Err(Errno::NotConnected),
            Target::Directory(_) | Target::Output(_) => Err(Errno::BadDescriptor),
        }
    }

    fn write_part(
        &self,
        call: &Call<'_>,
        descriptor: &Descriptor,
        position: u32,
        bytes: &[u8],
    ) -> core::result::Result<usize, Errno> {
        match descriptor.target {
            Target::Output(stream) => {
                call.host.output.write(stream, bytes);
                Ok(bytes.len())
            }
            Target::File(node) => {
                let now = call.now();
                self.files_mut().write(node, position, bytes, now)
            }
            Target::Socket(socket) => call.host.sockets.send(socket, bytes),
            _ => Err(Errno::BadDescriptor),
        }
    }
}

//! Arguments, environment, randomness, and giving way to others.

use crate::context::{Call, Wasi};
use crate::memory::{CHUNK, advance, write_u32};
use crate::outcome::{Result, Wait};
use crate::strings::Strings;

/// Writes where each string will be, and all strings.
fn write_strings(strings: &Strings, call: &mut Call<'_>) -> Result {
    let (mut pointers, at) = (call.slot(0), call.slot(1));
    let bytes = strings.bytes();
    let mut start = true;
    for (offset, byte) in bytes.iter().enumerate() {
        if start {
            write_u32(call.memory, pointers, advance(at, offset as u32)?)?;
            pointers = advance(pointers, 4)?;
        }
        start = *byte == 0;
    }
    Ok(call.memory.copy_in(at, bytes)?)
}

fn write_sizes(strings: &Strings, call: &mut Call<'_>) -> Result {
    call.put_u32(0, strings.count())?;
    call.put_u32(1, strings.bytes().len() as u32)
}

impl Wasi {
    pub(super) fn args_get(&mut self, call: &mut Call<'_>) -> Result {
        write_strings(&self.arguments, call)
    }

    pub(super) fn args_sizes_get(&mut self, call: &mut Call<'_>) -> Result {
        write_sizes(&self.arguments, call)
    }

    pub(super) fn environ_get(&mut self, call: &mut Call<'_>) -> Result {
        write_strings(&self.environment, call)
    }

    pub(super) fn environ_sizes_get(&mut self, call: &mut Call<'_>) -> Result {
        write_sizes(&self.environment, call)
    }

    /// Fills the buffer, a bounded part in each turn of the event loop.
    pub(super) fn random_get(&mut self, call: &mut Call<'_>) -> Result {
        let mut chunk = [0; CHUNK];
        let (address, length) = (call.slot(0), call.slot(1));
        let mut left = self.limits.transfer.max(1);
        while call.done < length {
            if left == 0 {
                return Err(call.suspend(Wait::YIELD));
            }
            let count = (length - call.done).min(CHUNK as u32).min(left);
            let part = chunk.get_mut(..count as usize).unwrap_or_default();
            call.host.entropy.fill(part);
            call.memory.copy_in(advance(address, call.done)?, part)?;
            call.done += count;
            left -= count;
        }
        Ok(())
    }

    pub(super) fn sched_yield(&mut self, call: &mut Call<'_>) -> Result {
        if call.resumed {
            return Ok(());
        }
        Err(call.suspend(Wait::YIELD))
    }
}

//! `poll_oneoff`: time and readiness.

use super::clock;
use crate::context::{Call, Wasi};
use crate::descriptors::Target;
use crate::errno::Errno;
use crate::files::FileType;
use crate::memory::advance;
use crate::outcome::{Interest, Result, Wait};
use crate::picolet;

/// Bytes of a `subscription` and of an `event`.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;

/// `eventtype`.
const CLOCK: u8 = 0;
const FD_READ: u8 = 1;

/// `subclockflags`: the timeout is a time and not a span.
const ABSOLUTE: u8 = 1;

/// What became of a subscription.
enum Answer {
    /// An event: error, bytes that can be moved, hangup.
    Event(Option<Errno>, u32, bool),
    /// Nothing yet.
    Wait(Wait),
}

impl Wasi {
    pub(super) fn poll_oneoff(&mut self, call: &mut Call<'_>) -> Result {
        let (input, output, count) = (call.slot(0), call.slot(1), call.slot(2));
        if count == 0 || count > u32::from(self.limits.vectors) {
            return Err(Errno::Invalid.into());
        }
        if !call.resumed {
            call.since = call.host.clock.monotonic();
        }
        let mut wait = Wait {
            deadline: None,
            interest: Interest::NONE,
        };
        let mut events = 0;
        for index in 0..count {
            let mut subscription = [0; SUBSCRIPTION];
            call.memory
                .copy_out(advance(input, index * SUBSCRIPTION as u32)?, &mut subscription)?;
            let tag = subscription[8];
            match self.answer(call, tag, &subscription)? {
                Answer::Wait(one) => {
                    wait.interest = wait.interest.union(one.interest);
                    wait.deadline = match (wait.deadline, one.deadline) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                }
                Answer::Event(errno, bytes, hangup) => {
                    let mut event = [0; EVENT];
                    event[..8].copy_from_slice(&subscription[..8]);
                    event[8] = errno.map_or(0, |errno| errno as u8);
                    event[10] = tag;
                    event[16..20].copy_from_slice(&bytes.to_le_bytes());
                    event[24] = u8::from(hangup);
                    call.memory
                        .copy_in(advance(output, events * EVENT as u32)?, &event)?;
                    events += 1;
                }
            }
        }
        if events == 0 {
            return Err(call.suspend(wait));
        }
        call.put_u32(3, events)
    }

    fn answer(&self, call: &Call<'_>, tag: u8, subscription: &[u8; SUBSCRIPTION]) -> Result<Answer> {
        let word = |at: usize| -> u32 {
            let bytes = subscription
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        if tag > 2 {
            return Err(Errno::Invalid.into());
        }
        if tag == CLOCK {
            let timeout = u64::from(word(24)) | u64::from(word(28)) << 32;
            return Ok(timer(call, word(16), timeout, subscription[40] & ABSOLUTE != 0));
        }
        Ok(self.ready(call, word(16), tag == FD_READ))
    }

    /// Whether a descriptor can be read or written.
    fn ready(&self, call: &Call<'_>, number: u32, read: bool) -> Answer {
        let descriptor = match self.descriptors.get(number) {
            Ok(descriptor) => descriptor,
            Err(errno) => return Answer::Event(Some(errno), 0, false),
        };
        if !(if read {
            descriptor.readable
        } else {
            descriptor.writable
        }) {
            return Answer::Event(Some(Errno::BadDescriptor), 0, false);
        }
        let mut hangup = false;
        let bytes = match descriptor.target {
            Target::Input => {
                let available = call.host.input.available();
                hangup = available == Some(0);
                available
            }
            Target::Listener(socket) | Target::Socket(socket) => {
                let readiness = call.host.sockets.readiness(socket);
                hangup = readiness.hangup;
                if read { readiness.read } else { readiness.write }
            }
            Target::Pin(watch) => picolet::has_events(watch, call.host).then_some(picolet::EVENT as u32),
            Target::Signals => call.host.signals.pending().map(|_| picolet::SIGNAL as u32),
            Target::Directory(_) => return Answer::Event(Some(Errno::BadDescriptor), 0, false),
            Target::Output(_) => Some(self.limits.transfer),
            Target::File(_) | Target::Object(..) => {
                let stat = self.stat_of(descriptor);
                let left = stat.size.saturating_sub(descriptor.position.into());
                if read && stat.file_type == FileType::RegularFile {
                    Some(u32::try_from(left).unwrap_or(u32::MAX))
                } else {
                    Some(self.limits.transfer)
                }
            }
        };
        match bytes {
            Some(bytes) => Answer::Event(None, bytes, hangup),
            None if hangup => Answer::Event(None, 0, true),
            None => Answer::Wait(Wait::on(descriptor.interest())),
        }
    }
}

/// Whether the time of a subscription has come.
fn timer(call: &Call<'_>, id: u32, timeout: u64, absolute: bool) -> Answer {
    let clock = call.host.clock;
    let now = match clock::now(clock, id) {
        Ok(now) => now,
        Err(errno) => return Answer::Event(Some(errno), 0, false),
    };
    let monotonic = clock.monotonic();
    let deadline = if absolute {
        // The time of day may be set while the call waits: what is left is computed anew each time.
        monotonic.saturating_add(timeout.saturating_sub(now))
    } else {
        call.since.saturating_add(timeout)
    };
    let due = if absolute {
        now >= timeout
    } else {
        monotonic >= deadline
    };
    if due {
        return Answer::Event(None, 0, false);
    }
    Answer::Wait(Wait {
        deadline: Some(deadline),
        interest: Interest::NONE,
    })
}

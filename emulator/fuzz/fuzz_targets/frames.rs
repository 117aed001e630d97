//! Whatever a device sends into the network in the process, under conditions good and bad.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use picolet_emulator::Time;
use picolet_emulator::net::{Conditions, Impaired, Link, Local, Stream};

fuzz_target!(|data: &[u8]| {
    let local = Local::new(1);
    local.serve(7, || {
        |stream: &mut Stream<'_>, _now: Time| {
            let mut buffer = [0; 512];
            let room = stream.room().min(buffer.len());
            let length = stream.read(&mut buffer[..room]);
            stream.write(&buffer[..length]);
            None
        }
    });
    let Some((mode, mut rest)) = data.split_first() else {
        return;
    };
    let share = |bit: u8| if mode & bit != 0 { 0.2 } else { 0.0 };
    let conditions = Conditions {
        loss: share(1),
        duplicate: share(2),
        corrupt: share(4),
        reorder: share(8),
        seed: u64::from(*mode),
        ..Conditions::default()
    };
    let mut link = Impaired::new(local.link(), conditions);
    let mut now = Time::ZERO;
    while let [high, low, millis, tail @ ..] = rest {
        let length = usize::from(*high & 7) << 8 | usize::from(*low);
        let (frame, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        // Most frames are for the network's address, and from one that may send.
        let mut frame = frame.to_vec();
        if high & 0x80 == 0 && frame.len() >= 12 {
            frame[..6].copy_from_slice(&[0x02, 0x50, 0x49, 0x43, 0x4f, 0x02]);
            frame[6] &= 0xfe;
        }
        link.send(&frame, now);
        while link.receive(now).is_some() {}
        now = now + Duration::from_millis(u64::from(*millis) * 8);
        for _ in 0..64 {
            match link.next_event() {
                Some(at) if at < now => while link.receive(at).is_some() {},
                _ => break,
            }
        }
    }
});

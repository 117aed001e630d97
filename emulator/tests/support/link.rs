//! A link for tests: what the device sends is kept, and what the test puts in arrives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use picolet_emulator::Time;
use picolet_emulator::net::Link;

/// Both ends of the link; clones are the same link.
#[derive(Clone, Default)]
pub struct Patch(Arc<Mutex<Frames>>);

#[derive(Default)]
struct Frames {
    sent: Vec<(Time, Vec<u8>)>,
    arriving: VecDeque<(Time, Vec<u8>)>,
}

impl Patch {
    /// What the device sent since the last call.
    pub fn take_sent(&self) -> Vec<(Time, Vec<u8>)> {
        std::mem::take(&mut self.0.lock().expect("no panic while held").sent)
    }

    /// Has a frame arrive at `at`.
    pub fn arrive(&self, at: Time, frame: Vec<u8>) {
        self.0
            .lock()
            .expect("no panic while held")
            .arriving
            .push_back((at, frame));
    }
}

impl Link for Patch {
    fn send(&mut self, frame: &[u8], now: Time) {
        self.0
            .lock()
            .expect("no panic while held")
            .sent
            .push((now, frame.to_vec()));
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        let mut frames = self.0.lock().expect("no panic while held");
        if frames.arriving.front()?.0 > now {
            return None;
        }
        frames.arriving.pop_front().map(|(_, frame)| frame)
    }

    fn next_event(&self) -> Option<Time> {
        self.0
            .lock()
            .expect("no panic while held")
            .arriving
            .front()
            .map(|(at, _)| *at)
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        None
    }
}

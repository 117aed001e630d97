//! Frames of 1 KiB that all memories of a process share.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::RefCell;

/// Bytes of a frame.
pub const FRAME_BYTES: u32 = 1024;

/// A frame, as words in the order of the machine. The least significant byte of a word has the lowest address.
pub type Frame = [u32; FRAME_BYTES as usize / 4];

/// Number of a frame, counted from 1. 0 stands for a frame that is not there.
#[cfg(feature = "large-arena")]
pub(crate) type FrameNumber = u32;
/// Number of a frame, counted from 1. 0 stands for a frame that is not there.
#[cfg(not(feature = "large-arena"))]
pub(crate) type FrameNumber = u8;

/// Frames that can be numbered; of a large arena 2 TiB.
const MAX_FRAMES: u32 = if cfg!(feature = "large-arena") {
    1 << 31
} else {
    255
};

/// Frames that memories take on first touch and give back when their store is dropped.
///
/// It is a handle: clones share the frames. The feature `large-arena` lifts the limit of 255 frames.
#[derive(Clone, Debug)]
pub struct Arena(pub(crate) Rc<RefCell<Frames>>);

#[derive(Debug)]
enum Storage {
    Static(&'static mut [Frame]),
    Heap(Box<[Frame]>),
}

#[derive(Debug)]
pub(crate) struct Frames {
    storage: Storage,
    /// The first free frame that was in use before; its first word has the number of the next.
    free: FrameNumber,
    /// Frames that have been in use.
    used_once: u32,
    in_use: u32,
}

impl Arena {
    /// An arena in static memory: at most as many frames are used as can be numbered.
    #[must_use]
    pub fn from_static(frames: &'static mut [Frame]) -> Self {
        Self::new(Storage::Static(frames))
    }

    /// An arena of `frames` frames on the heap.
    #[must_use]
    pub fn on_heap(frames: u32) -> Self {
        let frames = frames.min(MAX_FRAMES);
        Self::new(Storage::Heap(vec![[0; _]; frames as usize].into_boxed_slice()))
    }

    fn new(storage: Storage) -> Self {
        Self(Rc::new(RefCell::new(Frames {
            storage,
            free: 0,
            used_once: 0,
            in_use: 0,
        })))
    }

    /// Frames that memories hold.
    #[must_use]
    pub fn frames_in_use(&self) -> u32 {
        self.0.borrow().in_use
    }

    /// Frames in all.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.0.borrow().total()
    }
}

impl Frames {
    fn total(&self) -> u32 {
        let length = match &self.storage {
            Storage::Static(frames) => frames.len(),
            Storage::Heap(frames) => frames.len(),
        };
        u32::try_from(length).unwrap_or(u32::MAX).min(MAX_FRAMES)
    }

    /// All frames; that of number `n` is at `n - 1`.
    #[inline]
    pub(crate) fn all(&mut self) -> &mut [Frame] {
        match &mut self.storage {
            Storage::Static(frames) => frames,
            Storage::Heap(frames) => frames,
        }
    }

    pub(crate) fn get(&mut self, number: FrameNumber) -> Option<&mut Frame> {
        self.all().get_mut((number as usize).wrapping_sub(1))
    }

    /// Takes a frame, filled with zeros.
    pub(crate) fn take(&mut self) -> Option<FrameNumber> {
        let number = if self.free != 0 {
            let number = self.free;
            self.free = self.get(number)?[0] as FrameNumber;
            number
        } else {
            if self.used_once >= self.total() {
                return None;
            }
            self.used_once += 1;
            self.used_once as FrameNumber
        };
        self.get(number)?.fill(0);
        self.in_use += 1;
        Some(number)
    }

    pub(crate) fn give_back(&mut self, number: FrameNumber) {
        #[allow(clippy::useless_conversion, reason = "a frame number can be narrower")]
        let next = u32::from(self.free);
        if let Some(frame) = self.get(number) {
            frame[0] = next;
            self.free = number;
            self.in_use -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn frames_are_distinct_and_zero_when_taken_again() {
        let arena = Arena::on_heap(3);
        let mut frames = arena.0.borrow_mut();
        let mut taken: Vec<_> = (0..3).map(|_| frames.take().unwrap()).collect();
        assert_eq!(frames.take(), None);
        frames.get(taken[1]).unwrap().fill(7);
        frames.give_back(taken[1]);
        frames.give_back(taken[0]);
        assert_eq!(frames.in_use, 1);
        let again = [frames.take().unwrap(), frames.take().unwrap()];
        assert!(
            again
                .iter()
                .all(|number| frames.get(*number).unwrap().iter().all(|word| *word == 0))
        );
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 3);
        assert_eq!(frames.take(), None);
    }
}

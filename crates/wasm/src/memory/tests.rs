//! A memory in frames agrees with a flat one.

use super::*;
use proptest::prelude::*;
use std::vec;

#[derive(Clone, Debug)]
enum Operation {
    Load(u32, u32),
    Store(u32, u32, u64),
    Read(u32, usize),
    Write(u32, Vec<u8>),
    Grow(u32),
}

fn operation() -> impl Strategy<Value = Operation> {
    // Near the ends of frames and of the memory, and far outside.
    let address = || {
        prop_oneof![
            8 => (0u32..9, -9i32..9).prop_map(|(frame, offset)| (frame * FRAME_BYTES).wrapping_add_signed(offset)),
            1 => any::<u32>(),
        ]
    };
    let size = || (0u32..4).prop_map(|log2| 1 << log2);
    prop_oneof![
        (address(), size()).prop_map(|(address, size)| Operation::Load(address, size)),
        (address(), size(), any::<u64>())
            .prop_map(|(address, size, value)| Operation::Store(address, size, value)),
        (address(), 0usize..3000).prop_map(|(address, length)| Operation::Read(address, length)),
        (address(), proptest::collection::vec(any::<u8>(), 0..2100))
            .prop_map(|(address, bytes)| Operation::Write(address, bytes)),
        (0u32..2000).prop_map(Operation::Grow),
    ]
}

proptest! {
    #[test]
    fn memory_with_byte_pages_agrees_with_a_flat_one(min in 0u32..5000, operations in proptest::collection::vec(operation(), 1..60)) {
        let arena = Arena::on_heap(100);
        let mut memory = Memory::new(&arena, MemoryType { min, max: Some(8 << 10), page_log2: 0 }, 32).unwrap();
        let mut budget = Budget { limit: 100, used: 0 };
        let mut flat = vec![0u8; min as usize];
        for operation in operations {
            let frames = &mut *arena.0.borrow_mut();
            match operation {
                Operation::Load(address, size) => {
                    let expected = flat.get(address as usize..).and_then(|bytes| bytes.get(..size as usize)).map(|bytes| {
                        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
                    });
                    prop_assert_eq!(memory.load(frames, &mut budget, address, size).ok(), expected);
                }
                Operation::Store(address, size, value) => {
                    let place = flat.get_mut(address as usize..).and_then(|bytes| bytes.get_mut(..size as usize));
                    let fits = place.is_some();
                    if let Some(place) = place {
                        place.copy_from_slice(&value.to_le_bytes()[..size as usize]);
                    }
                    prop_assert_eq!(memory.store(frames, &mut budget, address, size, value).is_ok(), fits);
                }
                Operation::Read(address, length) => {
                    let mut bytes = vec![0; length];
                    let result = memory.read(frames, &mut budget, address, &mut bytes);
                    match flat.get(address as usize..).and_then(|flat| flat.get(..length)) {
                        Some(expected) => {
                            prop_assert_eq!(result, Ok(()));
                            prop_assert_eq!(bytes.as_slice(), expected);
                        }
                        None => prop_assert_eq!(result, Err(Fault::OutOfBounds)),
                    }
                }
                Operation::Write(address, bytes) => {
                    let place = flat.get_mut(address as usize..).and_then(|flat| flat.get_mut(..bytes.len()));
                    let fits = place.is_some();
                    if let Some(place) = place {
                        place.copy_from_slice(&bytes);
                    }
                    prop_assert_eq!(memory.write(frames, &mut budget, address, &bytes).is_ok(), fits);
                }
                Operation::Grow(more) => {
                    let old = flat.len() as u32;
                    let grown = old + more <= 8 << 10;
                    if grown {
                        flat.resize((old + more) as usize, 0);
                    }
                    prop_assert_eq!(memory.grow(more), grown.then_some(old));
                }
            }
            prop_assert_eq!(memory.bytes(), flat.len() as u64);
        }
        drop(memory);
        prop_assert_eq!(arena.frames_in_use(), 0);
    }
}

fn memory_of(arena: &Arena, pages: u32) -> Memory {
    Memory::new(
        arena,
        MemoryType {
            min: pages,
            max: None,
            page_log2: 16,
        },
        32,
    )
    .unwrap()
}

#[test]
fn store_leaves_all_bytes_when_the_second_of_its_frames_is_refused() {
    let arena = Arena::on_heap(4);
    let mut memory = memory_of(&arena, 1);
    let mut budget = Budget { limit: 1, used: 0 };
    let frames = &mut *arena.0.borrow_mut();
    memory.store(frames, &mut budget, 1020, 4, 0x0403_0201).unwrap();
    assert_eq!(
        memory.store(frames, &mut budget, 1022, 4, 0xffff_ffff),
        Err(Fault::OutOfMemory)
    );
    assert_eq!(memory.load(frames, &mut budget, 1020, 4), Ok(0x0403_0201));
}

#[test]
fn memory_takes_no_frame_when_it_is_declared_or_grown() {
    let arena = Arena::on_heap(4);
    let mut memory = memory_of(&arena, 17);
    assert_eq!(memory.grow(15), Some(17));
    assert_eq!(memory.grow(1), None, "the host allows 32 pages");
    assert_eq!(arena.frames_in_use(), 0);
    assert_eq!(
        memory.table_bytes(),
        32 * 64 * core::mem::size_of::<FrameNumber>()
    );
}

#[test]
fn memories_share_the_frames_of_their_arena() {
    let arena = Arena::on_heap(3);
    let (mut first, mut second) = (memory_of(&arena, 1), memory_of(&arena, 1));
    let mut budgets = [Budget { limit: 10, used: 0 }; 2];
    {
        let frames = &mut *arena.0.borrow_mut();
        for address in [0, 1024] {
            first.store(frames, &mut budgets[0], address, 1, 1).unwrap();
        }
        second.store(frames, &mut budgets[1], 0, 1, 2).unwrap();
        assert_eq!(
            second.store(frames, &mut budgets[1], 1024, 1, 2),
            Err(Fault::OutOfMemory)
        );
        assert_eq!(first.load(frames, &mut budgets[0], 0, 1), Ok(1));
    }
    drop(first);
    assert_eq!(arena.frames_in_use(), 1);
    let frames = &mut *arena.0.borrow_mut();
    assert_eq!(
        second.load(frames, &mut budgets[1], 1024, 1),
        Ok(0),
        "zero when taken again"
    );
}

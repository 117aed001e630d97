//! How much heap staging takes.

use picolet_update::console::Console;
use picolet_update::testing::{MemoryBoard, Release};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Bytes in use by this thread since it began, and the most.
    static USED: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn add(bytes: isize) {
    // A thread that ends has no cell any more.
    let _ = USED.try_with(|used| {
        let (now, most) = used.get();
        used.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: all is done by the system's allocator; numbers are counted besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

#[test]
fn staging_takes_less_than_12_kb_of_heap_and_none_at_rest() {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let release = Release::new("0.2.0");
    let mut console = Console::new(&updater);
    let requests = crate::console::requests(&release, picolet_boot::Slot::B, false);
    let (before, _) = USED.get();
    USED.set((before, before));
    for request in &requests {
        // What a board in memory takes to read flash is not the console's.
        let (line, _) = console.answer(request);
        assert!(line.starts_with("% ok"), "{line}");
        if !request.starts_with("data") {
            let (now, _) = USED.get();
            assert!(now - before <= 12 * 1024, "{request}: {}", now - before);
        }
    }
    let (after, most) = USED.get();
    assert_eq!(after, before, "at rest");
    // The copy of a slot that a board in memory reads from.
    assert!(
        most - before <= 12 * 1024 + 2 * picolet_update::testing::SLOT as isize,
        "{}",
        most - before
    );
}

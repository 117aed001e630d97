//! What one agent takes of the heap, to the byte, by an allocator that counts what its thread asks for.

use super::world::{World, eventually, spawn};
use picolet_devcluster::host::HostOptions;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts what threads that are tracked allocate.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static TRACKED: Cell<Option<&'static Figures>> = const { Cell::new(None) };
}

#[derive(Default)]
struct Figures {
    live: AtomicUsize,
    peak: AtomicUsize,
}

fn count(change: isize) {
    // A thread that is ending has no such cell any more.
    let Some(figures) = TRACKED.try_with(Cell::get).ok().flatten() else {
        return;
    };
    let live = figures
        .live
        .fetch_add(change as usize, Ordering::Relaxed)
        .wrapping_add(change as usize);
    if change > 0 {
        figures.peak.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator with its arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above, for `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as above, for `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The heap of one thread.
#[derive(Clone)]
pub(super) struct Tracked(Arc<&'static Figures>);

impl Default for Tracked {
    fn default() -> Self {
        Self(Arc::new(Box::leak(Box::default())))
    }
}

impl Tracked {
    /// Runs something, its allocations counted.
    pub(super) fn run(&self, run: &mut dyn FnMut()) {
        TRACKED.set(Some(*self.0));
        run();
        TRACKED.set(None);
    }

    pub(super) fn live(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    fn reset_peak(&self) {
        self.0.peak.store(self.live(), Ordering::Relaxed);
    }

    fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Budgets of the issue, in bytes, on a machine of twice the word size of the device.
const AT_REST: usize = 20 * 1024;
const GROWTH: usize = 8 * 1024;

#[test]
fn an_agent_at_rest_and_with_large_objects_arriving() {
    let world = World::start(HostOptions {
        plain_http: true,
        ..HostOptions::default()
    });
    let (node, _) = world.node("pico-heap", true);
    // What tokio itself takes to begin with.
    let empty = Tracked::default();
    let tracked = empty.clone();
    std::thread::spawn(move || {
        tracked.run(&mut || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let live = Tracked(tracked.0.clone());
            live.reset_peak();
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        });
    })
    .join()
    .expect("no panic");
    let runtime = empty.peak();

    let live = Tracked::default();
    let tracked = live.clone();
    let _running = spawn(node, move |run| tracked.run(run));
    eventually("Ready", PATIENCE, || world.is_ready("pico-heap"));
    let rest = || {
        (0..100)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(20));
                live.live()
            })
            .min()
            .unwrap_or(0)
    };
    let at_rest = rest();
    // The future of the agent is on the heap here and static on a board: its size is a budget of its own.
    let agent = at_rest.saturating_sub(runtime);
    println!("tokio {runtime} bytes, agent at rest {agent} bytes, its future included");

    let noise: String = "x".repeat((1 << 20) - 64);
    live.reset_peak();
    world.with(move |cluster| {
        cluster
            .create(
                "configmaps",
                "default",
                json!({"metadata": {"name": "pico-config"}, "data": {"noise": noise, "memory_values": "7=9"}}),
            )
            .expect("a ConfigMap");
    });
    let applied = || {
        let node = world.get("nodes", "", "pico-heap");
        node.is_some_and(|node| node.to_string().contains("1 memory cell,"))
    };
    eventually("a ConfigMap of 1 MiB was read", PATIENCE, applied);
    let growth = live.peak().saturating_sub(at_rest);
    println!("while 1 MiB arrived: {growth} bytes more");
    assert!(growth <= GROWTH + 4096, "1 MiB cost {growth} bytes");

    let managed: Vec<_> = (0..2000).map(|n| json!({"manager": format!("m{n}"), "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {format!("f:{n}"): {}}}}})).collect();
    live.reset_peak();
    world.with(move |cluster| {
        let pod = json!({"metadata": {"name": "big", "managedFields": managed}, "spec": {"nodeName": "pico-heap", "containers": [{"name": "c", "image": "i"}]}});
        cluster.create("pods", "default", pod).expect("a Pod");
    });
    let refused = || {
        world
            .get("pods", "default", "big")
            .is_some_and(|pod| pod["status"]["phase"] == "Failed")
    };
    eventually(
        "a Pod with 200 KB of managedFields was answered",
        PATIENCE,
        refused,
    );
    let growth = live.peak().saturating_sub(at_rest);
    println!("while a Pod with 200 KB of managedFields arrived: {growth} bytes more");
    assert!(growth <= GROWTH + 4096, "the Pod cost {growth} bytes");
    assert!(agent <= 3 * AT_REST, "{agent} bytes at rest");
}

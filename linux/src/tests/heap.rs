//! What one agent takes of the heap, to the byte, by an allocator that counts what its thread asks for.

use super::world::{World, block_on, eventually, spawn};
use picolet_devcluster::host::HostOptions;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
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

/// The heap of one node.
#[derive(Clone, Copy)]
pub(super) struct Tracked(&'static Figures);

impl Default for Tracked {
    fn default() -> Self {
        Self(Box::leak(Box::default()))
    }
}

impl Tracked {
    /// Counts what this thread allocates and frees from now on, be it the node itself or the runtime that drives it: what
    /// the one allocated, such as a socket's registration, the other may free.
    pub(super) fn follow_this_thread(self) {
        TRACKED.set(Some(self.0));
    }

    pub(super) fn live(self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    fn reset_peak(self) {
        self.0.peak.store(self.live(), Ordering::Relaxed);
    }

    pub(super) fn peak(self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }
}

/// The heap when nothing is under way: the least of two seconds.
pub(super) fn settled(heap: Tracked) -> usize {
    let looks = (0..100).map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        heap.live()
    });
    looks.min().unwrap_or(0)
}

const PATIENCE: Duration = Duration::from_secs(30);
/// The budgets of a device, in bytes. Here pointers are twice as wide and tokio's registrations count too, so what holds
/// here holds there.
const AT_REST: usize = 20 * 1024;
const GROWTH: usize = 8 * 1024;

#[test]
fn an_agent_at_rest_and_with_large_objects_arriving() {
    let world = World::start(HostOptions {
        plain_http: true,
        ..HostOptions::default()
    });
    let (node, _) = world.node("pico-heap", true);
    let (agent, future) = block_on(node.sizes());
    println!("the agent is {agent} bytes, its future {future}, as built for this test");
    let heap = Tracked::default();
    let _running = spawn(node, Some(heap));
    eventually("Ready", PATIENCE, || world.is_ready("pico-heap"));
    eventually("its own pod runs", PATIENCE, || {
        let pod = world.get("pods", "kube-system", "picolet-pico-heap");
        pod.is_some_and(|pod| pod["status"]["phase"] == "Running")
    });
    let at_rest = settled(heap);
    println!("at rest: {at_rest} bytes of heap");
    assert!(at_rest <= AT_REST, "{at_rest} bytes at rest");

    let noise = "x".repeat((1 << 20) - 64);
    heap.reset_peak();
    world.with(move |cluster| {
        let data = json!({"noise": noise, "memory_values": "7=9"});
        let map = json!({"metadata": {"name": "pico-config"}, "data": data});
        cluster.create("configmaps", "default", map).expect("a ConfigMap");
    });
    eventually("a ConfigMap of 1 MiB was read", PATIENCE, || {
        let node = world.get("nodes", "", "pico-heap");
        node.is_some_and(|node| node.to_string().contains("1 memory cell,"))
    });
    let growth = heap.peak().saturating_sub(at_rest);
    println!("while 1 MiB arrived: {growth} bytes more");
    assert!(growth <= GROWTH, "{growth} bytes more while 1 MiB arrived");

    let at_rest = settled(heap);
    let field = |n| json!({"manager": format!("m{n}"), "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {format!("f:{n}"): {}}}}});
    let managed: Vec<_> = (0..3000).map(field).collect();
    assert!(json!(managed).to_string().len() > 200_000);
    heap.reset_peak();
    world.with(move |cluster| {
        let spec = json!({"nodeName": "pico-heap", "containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"metadata": {"name": "big", "managedFields": managed}, "spec": spec});
        cluster.create("pods", "default", pod).expect("a Pod");
    });
    eventually(
        "a Pod with 200 KB of managedFields was answered",
        PATIENCE,
        || {
            world
                .get("pods", "default", "big")
                .is_some_and(|pod| pod["status"]["containerStatuses"].is_array())
        },
    );
    // There is no runtime: the pod waits, and its worker stays.
    let peak = heap.peak();
    let with_pod = settled(heap);
    println!("the Pod takes {} bytes", with_pod.saturating_sub(at_rest));
    let growth = peak.saturating_sub(with_pod);
    println!("while a Pod with 200 KB of managedFields arrived: {growth} bytes more");
    assert!(growth <= GROWTH, "{growth} bytes more while the Pod arrived");
}

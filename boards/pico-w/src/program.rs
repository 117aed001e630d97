//! The image of a Pico W: which board it is. Everything else is in `picolet-board`.

use picolet_board::Model;

#[cortex_m_rt::entry]
fn main() -> ! {
    picolet_board::run(&Model {
        layout: &picolet_store::layout::PICO_W,
        mcu: "rp2040",
        memory_bytes: 264 * 1024,
        pod_memory_bytes: 88 * 1024,
    })
}

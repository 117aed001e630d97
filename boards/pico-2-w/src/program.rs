//! The image of a Pico 2 W: which board it is. Everything else is in `picolet-board`.

use picolet_board::Model;

#[cortex_m_rt::entry]
fn main() -> ! {
    picolet_board::run(&Model {
        layout: &picolet_store::layout::PICO_2_W,
        mcu: "rp2350",
        memory_bytes: 520 * 1024,
        pod_memory_bytes: 320 * 1024,
    })
}

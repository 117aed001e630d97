//! Both cores: one is launched by the other, they share a spinlock, a mailbox and a counter.
#![no_std]
#![no_main]

use core::cell::RefCell;

use critical_section::Mutex;
use embassy_executor::Spawner;
use embassy_rp::multicore::{Stack, spawn_core1};
use embassy_rp::pac;
use embassy_rp::uart;
use emulator_firmware::{log_to, say};

static COUNT: Mutex<RefCell<u32>> = Mutex::new(RefCell::new(0));
static mut STACK: Stack<4096> = Stack::new();

fn count(times: u32) {
    for _ in 0..times {
        critical_section::with(|section| *COUNT.borrow_ref_mut(section) += 1);
    }
}

fn send(word: u32) {
    while !pac::SIO.fifo().st().read().rdy() {}
    pac::SIO.fifo().wr().write_value(word);
    cortex_m::asm::sev();
}

fn receive() -> u32 {
    while !pac::SIO.fifo().st().read().vld() {
        cortex_m::asm::wfe();
    }
    pac::SIO.fifo().rd().read()
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(_spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    log_to(uart::Uart::new_blocking(
        p.UART0,
        p.PIN_0,
        p.PIN_1,
        uart::Config::default(),
    ));
    say!("core {} starts the other", pac::SIO.cpuid().read());
    // SAFETY: nobody else takes a reference to the stack, and this is reached once.
    let stack = unsafe { &mut *core::ptr::addr_of_mut!(STACK) };
    spawn_core1(p.CORE1, stack, || {
        // embassy uses the mailbox's interrupt to pause this core: here it is for words
        cortex_m::peripheral::NVIC::mask(pac::Interrupt::SIO_IRQ_PROC1);
        send(pac::SIO.cpuid().read());
        count(5000);
        let word = receive();
        send(word.wrapping_mul(3));
        loop {
            cortex_m::asm::wfi();
        }
    });
    say!("the other is core {}", receive());
    count(5000);
    send(14);
    say!("answer {}", receive());
    say!(
        "count {}",
        critical_section::with(|section| *COUNT.borrow_ref(section))
    );
    say!("done");
    loop {
        cortex_m::asm::wfi();
    }
}

//! The programs of `programs.rs` as exports. The benchmark compiles them for the machine too.
#![no_std]

mod programs;

/// See [`programs::fib`].
#[unsafe(no_mangle)]
extern "C" fn fib(size: u32) -> u32 {
    programs::fib(size)
}

/// See [`programs::crc32`].
#[unsafe(no_mangle)]
extern "C" fn crc32(size: u32) -> u32 {
    programs::crc32(size)
}

/// See [`programs::sieve`].
#[unsafe(no_mangle)]
extern "C" fn sieve(size: u32) -> u32 {
    programs::sieve(size)
}

/// See [`programs::json`].
#[unsafe(no_mangle)]
extern "C" fn json(size: u32) -> u32 {
    programs::json(size)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

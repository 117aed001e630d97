//! The imports as they are: i32 only, and an errno of WASI as the result.

#[link(wasm_import_module = "picolet")]
unsafe extern "C" {
    pub(crate) fn abi() -> i32;
    pub(crate) fn gpio_mode(pin: i32, mode: i32) -> i32;
    pub(crate) fn gpio_write(pin: i32, level: i32) -> i32;
    pub(crate) fn gpio_read(pin: i32, level: *mut u32) -> i32;
    pub(crate) fn gpio_pwm(pin: i32, duty: i32, hertz: i32) -> i32;
    pub(crate) fn gpio_watch(pin: i32, edges: i32, descriptor: *mut u32) -> i32;
    pub(crate) fn led(mode: i32, period_ms: i32) -> i32;
    pub(crate) fn adc_read(channel: i32, millivolts: *mut u32) -> i32;
    pub(crate) fn temperature(millicelsius: *mut i32) -> i32;
    pub(crate) fn i2c_transfer(
        bus: i32,
        address: i32,
        write: *const u8,
        write_length: usize,
        read: *mut u8,
        read_length: usize,
    ) -> i32;
    pub(crate) fn cell_get(index: i32, value: *mut u32) -> i32;
    pub(crate) fn config_get(
        key: *const u8,
        key_length: usize,
        buffer: *mut u8,
        capacity: usize,
        length: *mut usize,
    ) -> i32;
    pub(crate) fn signal(number: *mut u32) -> i32;
    pub(crate) fn signal_watch(descriptor: *mut u32) -> i32;
}

/// A buffer of a call.
#[repr(C)]
pub(crate) struct Vector {
    pub(crate) address: *const u8,
    pub(crate) length: usize,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub(crate) fn fd_write(descriptor: u32, vectors: *const Vector, count: usize, written: *mut usize)
    -> i32;
    pub(crate) fn fd_read(descriptor: u32, vectors: *const Vector, count: usize, read: *mut usize) -> i32;
    pub(crate) fn fd_close(descriptor: u32) -> i32;
    pub(crate) fn poll_oneoff(
        subscriptions: *const [u64; 6],
        events: *mut [u64; 4],
        count: usize,
        happened: *mut usize,
    ) -> i32;
    pub(crate) fn proc_exit(code: i32) -> !;
}

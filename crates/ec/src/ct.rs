//! Constant time: how a secret chooses between values without a branch or an address.
//!
//! ARMv6-M has no conditional select, so LLVM turns a mask that it understands (`0 - (bit as u32)`, `if bit { a } else
//! { b }`) back into a branch. Two habits prevent that here, and the address traces show that they hold with each
//! compiler: a bit is made arithmetically, never from a `bool`; and a mask passes through [`hide`], after which the
//! compiler knows nothing about it.

use core::sync::atomic::{Ordering, compiler_fence};
use zeroize::Zeroize;

/// Returns `x`, of which the compiler then knows nothing: not that it is 0 or 1, not that it is a mask.
///
/// An empty `asm!` where the processor is known, free of cost. Elsewhere `black_box`, which promises nothing.
#[inline(always)]
pub(crate) fn hide(x: u32) -> u32 {
    #[cfg(any(
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "x86_64",
        target_arch = "riscv32"
    ))]
    {
        let mut hidden = x as usize; // as wide as a register, whatever the processor
        // SAFETY: no instruction at all; the register comes out as it went in.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) hidden, options(pure, nomem, nostack, preserves_flags));
        }
        hidden as u32
    }
    #[cfg(not(any(
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "x86_64",
        target_arch = "riscv32"
    )))]
    core::hint::black_box(x)
}

/// All ones for bit 1, 0 for bit 0.
#[inline(always)]
pub(crate) fn mask(bit: u32) -> u32 {
    hide(bit.wrapping_neg())
}

/// All ones if `x` is negative, else 0.
#[inline(always)]
pub(crate) fn sign_mask(x: i32) -> i32 {
    hide((x >> 31) as u32) as i32
}

/// 1 if `x` is 0, else 0.
#[inline(always)]
pub(crate) fn is_zero(x: u32) -> u32 {
    (hide(x | x.wrapping_neg()) >> 31) ^ 1
}

/// All ones if both are equal, else 0.
#[inline(always)]
#[cfg_attr(picolet_ec_armv6m, expect(dead_code, reason = "the assembly has its own"))]
pub(crate) fn equal_mask(a: u32, b: u32) -> u32 {
    mask(is_zero(a ^ b))
}

/// 1 if all words are 0, else 0. Reads all of them.
#[inline(always)]
pub(crate) fn all_zero(words: &[u32]) -> u32 {
    is_zero(words.iter().fold(0, |all, word| all | word))
}

/// `a` where the mask is all ones, `b` where it is 0.
#[inline(always)]
pub(crate) fn select<const N: usize>(mask: u32, a: &[u32; N], b: &[u32; N]) -> [u32; N] {
    core::array::from_fn(|i| b[i] ^ ((a[i] ^ b[i]) & mask))
}

/// Exchanges both where the mask is all ones.
#[inline(always)]
pub(crate) fn swap<const N: usize>(mask: u32, a: &mut [u32; N], b: &mut [u32; N]) {
    for (a, b) in a.iter_mut().zip(b) {
        let difference = (*a ^ *b) & mask;
        *a ^= difference;
        *b ^= difference;
    }
}

/// Runs an operation on secrets, then overwrites the stack that it used: `BYTES`, which a test on the simulated target shows
/// to be enough. Frames elsewhere are larger, and so is what is overwritten there.
///
/// Values that the compiler moves or spills leave copies that no `Drop` reaches. All of them lie below the frame of this
/// function: `operation` is called, not inlined, and the wipe that follows writes over the same addresses. The result is
/// written to where the caller wants it, so that no copy of it stays in this frame either.
#[inline(never)]
pub(crate) fn with_clean_stack<const BYTES: usize, R>(operation: impl FnOnce() -> R) -> R {
    let _wipe = WipeOnDrop::<BYTES>;
    called(operation)
}

#[inline(never)]
fn called<R>(operation: impl FnOnce() -> R) -> R {
    operation()
}

struct WipeOnDrop<const BYTES: usize>;

impl<const BYTES: usize> Drop for WipeOnDrop<BYTES> {
    fn drop(&mut self) {
        if cfg!(picolet_ec_armv6m) {
            wipe::<BYTES>()
        } else {
            wipe::<8192>()
        }
    }
}

#[inline(never)]
fn wipe<const BYTES: usize>() {
    #[repr(align(8))]
    struct Region<const BYTES: usize>([u8; BYTES]);
    let mut stack = core::mem::MaybeUninit::<Region<BYTES>>::uninit();
    let words = stack.as_mut_ptr().cast::<usize>();
    for i in 0..BYTES / size_of::<usize>() {
        // SAFETY: within the region, which is aligned for words. Volatile, so that it happens though nothing reads it.
        unsafe { words.add(i).write_volatile(0) };
    }
    compiler_fence(Ordering::SeqCst);
}

/// A value that is overwritten when it goes out of scope.
pub(crate) type Secret<T> = zeroize::Zeroizing<T>;

/// Wraps a value so that it is overwritten when it goes out of scope.
#[inline(always)]
pub(crate) fn secret<T: Zeroize>(value: T) -> Secret<T> {
    Secret::new(value)
}

//! Every operation on a Cortex-M33, ours and RustCrypto's: first that they come to the same, then the instructions that each took.
//!
//! QEMU with `-icount shift=0` lets a nanosecond pass with every instruction, and the machine's SysTick counts 50 of them: so its
//! difference times 50 is the number of instructions. It says nothing of cycles. Lines go out by semihosting.
#![no_std]
#![no_main]

use core::arch::asm;
use core::fmt::{self, Write};
use core::hint::black_box;
use core::ptr::{read_volatile, write_volatile};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::elliptic_curve::sec1::ToSec1Point;
use picolet_ec::{p256 as ours, x25519};

/// The vectors that are ever taken: the stack's top, and where to begin.
#[repr(C)]
struct Vectors(u32, unsafe extern "C" fn() -> !);

#[used]
#[unsafe(link_section = ".vectors")]
static VECTORS: Vectors = Vectors(0x3810_0000, reset);

const SYST_CSR: *mut u32 = 0xe000_e010 as *mut u32;
const SYST_RVR: *mut u32 = 0xe000_e014 as *mut u32;
const SYST_CVR: *mut u32 = 0xe000_e018 as *mut u32;
const CPACR: *mut u32 = 0xe000_ed88 as *mut u32;
/// Instructions for each count of SysTick at 20 MHz.
const PER_COUNT: u32 = 50;

/// Semihosting: an operation and its argument.
fn semihosting(operation: u32, argument: u32) {
    // SAFETY: QEMU reads what the argument points to, and changes r0 alone.
    unsafe { asm!("bkpt 0xab", inout("r0") operation => _, in("r1") argument) }
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.as_bytes().chunks(63) {
            let mut buffer = [0; 64];
            buffer[..part.len()].copy_from_slice(part);
            semihosting(4, (&raw const buffer) as u32); // SYS_WRITE0
        }
        Ok(())
    }
}

/// Runs it and prints its instructions.
fn count<R>(name: &str, run: impl FnOnce() -> R) -> R {
    // SAFETY: SysTick is there, and reading it has no effect.
    let before = unsafe { read_volatile(SYST_CVR) };
    let result = black_box(run());
    // SAFETY: as above.
    let after = unsafe { read_volatile(SYST_CVR) };
    let counts = before.wrapping_sub(after) & 0xff_ffff;
    let _ = writeln!(Console, "{name} {}", counts * PER_COUNT);
    result
}

static mut PREPARED: ours::PreparedKey = ours::PreparedKey::EMPTY;

fn run() -> Option<()> {
    for key in 1..=KEYS {
        compare(key)?;
    }
    let (bytes, peer_bytes, digest) = black_box(([0x5a; 32], [0x5b; 32], [0xc3; 32]));
    // SAFETY: this is the one place that uses it.
    let prepared = unsafe { &mut *(&raw mut PREPARED) };
    let key = ours::SecretKey::from_bytes(&bytes).ok()?;
    let peer = ours::SecretKey::from_bytes(&peer_bytes).ok()?.public_key();
    let public = count("p256_public_key", || key.public_key());
    let signature = count("p256_sign", || key.sign(&digest));
    count("p256_verify", || public.verify(&digest, &signature)).ok()?;
    count("p256_prepare", || prepared.prepare(&public));
    count("p256_verify_prepared", || prepared.verify(&digest, &signature)).ok()?;
    count("p256_diffie_hellman", || key.diffie_hellman(&peer));
    let key = x25519::SecretKey::from_bytes(bytes);
    count("x25519_public_key", || key.public_key());
    let point = x25519::PublicKey::from_bytes(peer_bytes);
    count("x25519_diffie_hellman", || key.diffie_hellman(&point)).ok()?;

    let scalar = p256::SecretKey::from_slice(&bytes).ok()?;
    let key = p256::ecdsa::SigningKey::from(&scalar);
    let public = count("rustcrypto_p256_public_key", || scalar.public_key());
    let signature: p256::ecdsa::Signature =
        count("rustcrypto_p256_sign", || key.sign_prehash(&digest)).ok()?;
    let verifying = p256::ecdsa::VerifyingKey::from(public);
    count("rustcrypto_p256_verify", || {
        verifying.verify_prehash(&digest, &signature)
    })
    .ok()?;
    let peer = p256::PublicKey::from_sec1_bytes(&peer.to_sec1_bytes()).ok()?;
    count("rustcrypto_p256_diffie_hellman", || {
        p256::ecdh::diffie_hellman(scalar.to_nonzero_scalar(), peer.as_affine())
    });
    count("rustcrypto_x25519_public_key", || {
        x25519_dalek::x25519(bytes, x25519_dalek::X25519_BASEPOINT_BYTES)
    });
    count("rustcrypto_x25519_diffie_hellman", || {
        x25519_dalek::x25519(bytes, peer_bytes)
    });
    Some(())
}

/// Keys that are compared: 0xff and 0 in turn, which make carries, with a number in them.
const KEYS: u8 = 12;

/// What ours and RustCrypto's come to for one key must be the same: `None` if not.
fn compare(number: u8) -> Option<()> {
    let mut bytes: [u8; 32] = core::array::from_fn(|i| {
        if i / 4 % 2 == usize::from(number % 2) {
            0xff
        } else {
            0
        }
    });
    bytes[0] = 0x7f;
    bytes[31] ^= number;
    let digest = [number.wrapping_mul(21); 32];
    let own = ours::SecretKey::from_bytes(&bytes).ok()?;
    let scalar = p256::SecretKey::from_slice(&bytes).ok()?;
    let public = own.public_key();
    let theirs = scalar.public_key();
    let signature = own.sign(&digest);
    let their_signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(&scalar)
        .sign_prehash(&digest)
        .ok()?;
    public.verify(&digest, &signature).ok()?;
    let shared = own.diffie_hellman(&public);
    let their_shared = p256::ecdh::diffie_hellman(scalar.to_nonzero_scalar(), theirs.as_affine());
    let key = x25519::SecretKey::from_bytes(bytes);
    let point = x25519::PublicKey::from_bytes(digest);
    let base = x25519_dalek::X25519_BASEPOINT_BYTES;
    let same = ours::PublicKey::from_sec1_bytes(theirs.to_sec1_point(false).as_bytes()) == Ok(public)
        && signature.to_bytes()[..] == their_signature.to_bytes()[..]
        && shared.as_bytes()[..] == their_shared.raw_secret_bytes()[..]
        && *key.public_key().as_bytes() == x25519_dalek::x25519(bytes, base)
        && *key.diffie_hellman(&point).ok()?.as_bytes() == x25519_dalek::x25519(bytes, digest);
    same.then_some(())
}

/// What the processor begins with.
#[unsafe(no_mangle)]
unsafe extern "C" fn reset() -> ! {
    // SAFETY: the architecture's registers: floating-point registers on, SysTick at the processor's clock.
    unsafe {
        write_volatile(CPACR, 0xf << 20);
        asm!("dsb", "isb");
        write_volatile(SYST_RVR, 0xff_ffff);
        write_volatile(SYST_CVR, 0);
        write_volatile(SYST_CSR, 0b101);
    }
    let done = run().is_some();
    // SYS_EXIT: ADP_Stopped_ApplicationExit, or a run-time error
    semihosting(0x18, if done { 0x2_0026 } else { 0x2_0023 });
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    semihosting(0x18, 0x2_0023);
    loop {}
}

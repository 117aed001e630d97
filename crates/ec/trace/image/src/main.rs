//! picolet-ec's operations as functions that the simulator calls: each takes its input's address and its output's.
//!
//! Bytes in, bytes out, in the encodings of the crate. There is no entry point and no runtime.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use picolet_ec::{p256, x25519};

#[cfg(feature = "leak")]
mod leak;
#[cfg(feature = "rustcrypto")]
mod rustcrypto;

/// Where a panic ends: an undefined instruction, which the simulator reports.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it does not return and touches nothing.
    unsafe { core::arch::asm!("udf #0", options(noreturn)) }
}

/// Makes functions that the linker keeps and the simulator finds by name, of bodies on arrays.
#[macro_export]
macro_rules! operations {
    ($(fn $name:ident($input:ident: [$in:expr], $output:ident: [$out:expr]) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".operations")]
        extern "C" fn $name(input: *const [u8; $in], output: *mut [u8; $out]) {
            // SAFETY: the simulator gives room for both, apart from each other and from everything else.
            let ($input, $output) = unsafe { (&*input, &mut *output) };
            $body
        }
        const _: () = {
            // What keeps it through link-time optimization.
            #[used]
            static KEPT: extern "C" fn(*const [u8; $in], *mut [u8; $out]) = $name;
        };
    )*};
}

/// The `index`th part of 32 bytes.
pub(crate) fn part(input: &[u8], index: usize) -> &[u8; 32] {
    match input[32 * index..].first_chunk() {
        Some(part) => part,
        None => panic!(),
    }
}

fn secret_key(bytes: &[u8; 32]) -> p256::SecretKey {
    match p256::SecretKey::from_bytes(bytes) {
        Ok(key) => key,
        Err(_) => panic!(),
    }
}

/// The one prepared key. The simulator calls one function at a time.
struct Prepared(UnsafeCell<p256::PreparedKey>);
// SAFETY: there is one thread.
unsafe impl Sync for Prepared {}
static PREPARED: Prepared = Prepared(UnsafeCell::new(p256::PreparedKey::EMPTY));

operations! {
    // key -> point
    fn p256_public_key(input: [32], output: [65]) {
        *output = secret_key(input).public_key().to_sec1_bytes();
    }
    // entropy -> key, point
    fn p256_generate(input: [48], output: [97]) {
        let key = p256::SecretKey::generate(input);
        output[..32].copy_from_slice(&*key.to_bytes());
        output[32..].copy_from_slice(&key.public_key().to_sec1_bytes());
    }
    // key, digest -> signature
    fn p256_sign(input: [64], output: [64]) {
        *output = secret_key(part(input, 0)).sign(part(input, 1)).to_bytes();
    }
    // key, digest, entropy -> signature
    fn p256_sign_hedged(input: [96], output: [64]) {
        *output = secret_key(part(input, 0)).sign_hedged(part(input, 1), part(input, 2)).to_bytes();
    }
    // digest, signature, point -> 1 if valid; 2 if the signature or the key is refused when read
    fn p256_verify(input: [161], output: [1]) {
        let (Some(signature), Ok(key)) = (signature(input), p256::PublicKey::from_sec1_bytes(&input[96..])) else {
            output[0] = 2;
            return;
        };
        output[0] = u8::from(key.verify(part(input, 0), &signature).is_ok());
    }
    // point -> 1 if valid
    fn p256_prepare(input: [65], output: [1]) {
        let key = p256::PublicKey::from_sec1_bytes(input);
        if let Ok(key) = &key {
            // SAFETY: nobody else uses it during this call.
            unsafe { &mut *PREPARED.0.get() }.prepare(key);
        }
        output[0] = u8::from(key.is_ok());
    }
    // digest, signature -> 1 if valid for the key that was prepared; 2 as above
    fn p256_verify_prepared(input: [96], output: [1]) {
        // SAFETY: nobody else uses it during this call.
        let key = unsafe { &*PREPARED.0.get() };
        output[0] = signature(input).map_or(2, |signature| u8::from(key.verify(part(input, 0), &signature).is_ok()));
    }
    // key, point -> secret and 1; zeros if the point is none
    fn p256_diffie_hellman(input: [97], output: [33]) {
        if let Ok(peer) = p256::PublicKey::from_sec1_bytes(&input[32..]) {
            let key = secret_key(part(input, 0));
            output[..32].copy_from_slice(key.diffie_hellman(&peer).as_bytes());
            output[32] = 1;
        }
    }
    // key -> point, in memory as it is: no arithmetic on the stack after that on the secret
    fn p256_public_key_alone(input: [32], output: [64]) {
        let key = secret_key(input).public_key();
        // SAFETY: the type is two elements of eight words, 64 bytes; any bytes are readable as bytes.
        unsafe { core::ptr::copy_nonoverlapping((&raw const key).cast(), output.as_mut_ptr(), size_of_val(&key)) };
    }
    // 33 bytes -> 65 bytes; zeros if the point is none
    fn p256_decompress(input: [33], output: [65]) {
        *output = p256::PublicKey::from_sec1_bytes(input).map_or([0; 65], |key| key.to_sec1_bytes());
    }
    // length and DER -> r and s; zeros if refused
    fn p256_read_signature(input: [256], output: [64]) {
        let der = &input[1..][..usize::from(input[0])];
        *output = p256::Signature::from_der(der).map_or([0; 64], |signature| signature.to_bytes());
    }
    // r and s -> length and DER
    fn p256_write_signature(input: [64], output: [73]) {
        if let Ok(signature) = p256::Signature::from_bytes(input) {
            let der = signature.to_der();
            output[0] = der.as_bytes().len() as u8;
            output[1..][..der.as_bytes().len()].copy_from_slice(der.as_bytes());
        }
    }
    // length and DER SubjectPublicKeyInfo -> point; zeros if refused
    fn p256_read_spki(input: [256], output: [65]) {
        let der = &input[1..][..usize::from(input[0])];
        *output = p256::PublicKey::from_spki_der(der).map_or([0; 65], |key| key.to_sec1_bytes());
    }
    // length and DER PKCS #8 -> key; zeros if refused
    fn p256_read_pkcs8(input: [256], output: [32]) {
        let der = &input[1..][..usize::from(input[0])];
        *output = p256::SecretKey::from_pkcs8_der(der).map_or([0; 32], |key| *key.to_bytes());
    }
    // length and DER ECPrivateKey -> key; zeros if refused
    fn p256_read_sec1(input: [256], output: [32]) {
        let der = &input[1..][..usize::from(input[0])];
        *output = p256::SecretKey::from_sec1_der(der).map_or([0; 32], |key| *key.to_bytes());
    }
    // key -> point
    fn x25519_public_key(input: [32], output: [32]) {
        *output = *x25519::SecretKey::from_bytes(*input).public_key().as_bytes();
    }
    // key, point -> secret; zeros if refused
    fn x25519_diffie_hellman(input: [64], output: [32]) {
        let peer = x25519::PublicKey::from_bytes(*part(input, 1));
        let secret = x25519::SecretKey::from_bytes(*part(input, 0)).diffie_hellman(&peer);
        output.fill(0);
        if let Ok(secret) = &secret {
            output.copy_from_slice(secret.as_bytes());
        }
    }
    // a block hashed, to tell what of a signature is hashing
    fn sha256(input: [64], output: [32]) {
        use sha2::Digest;
        *output = sha2::Sha256::digest(input).into();
    }
}

fn signature(input: &[u8]) -> Option<p256::Signature> {
    p256::Signature::from_bytes(input[32..].first_chunk()?).ok()
}

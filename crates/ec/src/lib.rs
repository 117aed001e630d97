//! P-256, X25519 and P-384 verification for the Cortex-M0+: a TLS handshake's public-key arithmetic in a tenth of the time.
//!
//! That core has no 32 × 32 → 64 multiply, which every portable library builds on. Here the two fields are assembly made
//! for it, with a Rust twin of the same interface for everything else.
//!
//! | module | what it does |
//! |---|---|
//! | `words`, `ct` | 256-bit integers; selecting without branches, wiping |
//! | `arch` | products and the two fields: assembly, or the twin |
//! | `inverse` | modular inversion (safegcd) |
//! | [`p256`] | keys, ECDSA, ECDH and their encodings; inside: field, scalar, point, comb, window |
//! | [`p384`] | ECDSA verification, for chains of public registries |
//! | [`x25519`] | keys and shared secrets; inside: the ladder, and a comb on edwards25519 |
//!
//! # What is claimed
//! **Constant time** for every secret: secret keys, nonces and shared secrets reach no branch and no address. Each
//! function that takes one says so. On thumbv6m it is shown for each release by comparing the addresses of all fetches,
//! loads and stores over edge and random secrets (`crates/ec/trace`); elsewhere it is written the same way but not checked.
//! Functions on public data only (verifying, preparing and decoding public keys) take variable time and say that too.
//!
//! **Nothing left behind**: types that own a secret overwrite it when dropped, and each operation on secrets wipes the
//! stack that it used.
//!
//! # What it will never do
//! Hash messages (callers give digests), draw random numbers (callers give entropy), allocate, or panic on any input.
//! It does not defend against power analysis or injected faults.
#![cfg_attr(not(test), no_std)]

mod arch;
mod ct;
mod inverse;
mod words;

pub mod p256;
pub mod p384;
pub mod x25519;

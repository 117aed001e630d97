//! Operations that leak on purpose: the traces must tell.

use crate::operations;

operations! {
    // the planted leak: as a public key, but a branch on the secret's lowest bit
    fn leaking_public_key(input: [32], output: [65]) {
        *output = crate::secret_key(input).public_key().to_sec1_bytes();
        if core::hint::black_box(input[31]) & 1 == 1 {
            output[0] = core::hint::black_box(output[0]);
        }
    }
    // the other planted leak: a table read at a secret index
    fn leaking_lookup(input: [32], output: [1]) {
        static TABLE: [u8; 16] = *b"0123456789abcdef";
        output[0] = core::hint::black_box(&TABLE)[usize::from(input[31] & 15)];
    }
}

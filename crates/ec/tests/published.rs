//! The published vectors, on the host.
#![allow(missing_docs, reason = "tests")]

mod vectors;

use vectors::host::HOST;

#[test]
fn wycheproof_ecdsa() {
    let (count, valid) = vectors::wycheproof_ecdsa(&mut { HOST });
    println!("{count} vectors, {valid} of them valid");
    assert!(count > 1000 && valid > 300);
}

#[test]
fn wycheproof_ecdh() {
    let count = vectors::wycheproof_ecdh(&mut { HOST });
    println!("{count} vectors");
    assert!(count > 800);
}

#[test]
fn wycheproof_x25519() {
    let count = vectors::wycheproof_x25519(&mut { HOST });
    println!("{count} vectors");
    assert!(count > 500);
}

#[test]
fn nist() {
    assert_eq!(vectors::nist(&mut { HOST }), 202);
}

#[test]
fn rfcs() {
    vectors::rfcs(&mut { HOST });
}

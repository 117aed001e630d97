//! What k3s serves to nodes beside the API: their certificates, signed at once.
//!
//! Made from reading k3s (`pkg/server/handlers`, `pkg/nodepassword`, `pkg/clientaccess`): a node shows the token of its cluster
//! until it has a certificate, and a password that it made itself, by which k3s knows the machine behind a name.

use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::fmt::Write as _;
use core::net::IpAddr;
use picolet_kube::Address;
use zeroize::Zeroizing;

/// What a full token begins with; the hash of the cluster's authority follows.
const PREFIX: &str = "K10";

/// What in `token`, `K10<hash>::<credential>`, is told to the server; `None` where it is no token of k3s.
pub fn credential(token: &str) -> Option<&str> {
    let (_, rest) = token.strip_prefix(PREFIX)?.split_once(':')?;
    rest.strip_prefix(":")
}

/// The value of `Authorization` that `token` stands for: one of k3s, or a bootstrap token.
pub fn authorization(token: &str) -> String {
    let told = credential(token).unwrap_or(token);
    let mut value = String::new();
    if let Some((_, secret)) = told.split_once(':') {
        // Whoever's the token is, k3s knows nodes as this user (`clientaccess.WithUser` in `pkg/agent/run.go`).
        value.extend(["node:", secret]);
        value = Base64::encode_string(value.as_bytes());
        value.insert_str(0, "Basic ");
    } else {
        value.extend(["Bearer ", told]);
    }
    value
}

/// What a node asks k3s to sign.
pub(crate) struct Signing<'a> {
    /// Whether the certificate is for the kubelet port, and not for calling the API server.
    pub(crate) serving: bool,
    /// The node's name.
    pub(crate) node: &'a str,
    /// Its password: letters and digits.
    pub(crate) password: &'a str,
    /// The address that a serving certificate is to be for.
    pub(crate) address: Option<IpAddr>,
}

impl Signing<'_> {
    pub(crate) const fn path(&self) -> &'static str {
        if self.serving {
            "/v1-k3s/serving-kubelet.crt"
        } else {
            "/v1-k3s/client-kubelet.crt"
        }
    }

    /// The fields of the head, the password among them.
    pub(crate) fn fields(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(160));
        let _ = write!(
            out,
            "k3s-Node-Name: {}\r\nk3s-Node-Password: {}\r\n",
            self.node, self.password
        );
        if let Some(address) = self.address {
            let _ = write!(out, "k3s-Node-IP: {}\r\n", Address(address));
        }
        out
    }
}

/// The first certificate of an answer in PEM. k3s puts its authority behind it, which whoever is to believe the certificate
/// has anyway; and a key that somebody else made, where it did not understand the request.
#[derive(Default)]
pub struct FirstCertificate {
    text: Vec<u8>,
    whole: bool,
}

impl FirstCertificate {
    /// The longest that is taken, in bytes.
    pub const LONGEST: usize = 3072;

    /// Takes a piece of the answer.
    pub fn push(&mut self, piece: &[u8]) {
        const END: &[u8] = b"-----END CERTIFICATE-----";
        if self.whole {
            return;
        }
        let looked_at = self.text.len().saturating_sub(END.len() - 1);
        let room = Self::LONGEST - self.text.len();
        self.text.extend_from_slice(&piece[..piece.len().min(room)]);
        let end = self.text[looked_at..]
            .windows(END.len())
            .position(|window| window == END);
        if let Some(end) = end {
            self.text.truncate(looked_at + end + END.len());
            self.whole = true;
        }
    }

    /// The certificate, with whatever stands before it; `None` where there was none, or a longer one.
    pub fn finish(self) -> Option<Vec<u8>> {
        self.whole.then_some(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn what_of_a_token_is_told() {
        let hash = "ab".repeat(32);
        let of = |text: &str| credential(&std::format!("K10{hash}{text}")).map(ToString::to_string);
        assert_eq!(of("::node:s3cret").as_deref(), Some("node:s3cret"));
        assert_eq!(of("::node:a::b").as_deref(), Some("node:a::b"));
        assert_eq!(of(":node:s3cret"), None);
        assert_eq!(credential("abcdef.0123456789abcdef"), None);
    }

    #[test]
    fn a_token_says_how_it_is_told() {
        let k3s = std::format!("K10{}::", "0".repeat(64));
        for (token, value) in [
            ("abcdef.0123456789abcdef".into(), "Bearer abcdef.0123456789abcdef"),
            (
                std::format!("{k3s}abcdef.0123456789abcdef"),
                "Bearer abcdef.0123456789abcdef",
            ),
            (std::format!("{k3s}server:s3cret"), "Basic bm9kZTpzM2NyZXQ="),
        ] {
            assert_eq!(authorization(&token), value);
        }
    }

    #[test]
    fn request_says_who_asks_and_for_which_address() {
        let signing = Signing {
            serving: true,
            node: "pico",
            password: "00112233445566778899aabbccddeeff",
            address: Some([10, 0, 0, 5].into()),
        };
        assert_eq!(signing.path(), "/v1-k3s/serving-kubelet.crt");
        assert_eq!(
            *signing.fields(),
            "k3s-Node-Name: pico\r\nk3s-Node-Password: 00112233445566778899aabbccddeeff\r\nk3s-Node-IP: 10.0.0.5\r\n"
        );
    }

    fn first(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let mut answer = FirstCertificate::default();
        for piece in pieces {
            answer.push(piece);
        }
        answer.finish()
    }

    #[test]
    fn the_first_certificate_counts() {
        let one: &[u8] = b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----";
        let all = [one, b"\n", one, b"\n-----BEGIN EC PRIVATE KEY-----\n"].concat();
        for size in 1..=all.len() {
            let pieces: Vec<&[u8]> = all.chunks(size).collect();
            assert_eq!(first(&pieces).as_deref(), Some(one), "in pieces of {size}");
        }
        assert_eq!(first(&[&one[..one.len() - 1]]), None);
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn no_answer_takes_more_than_its_room() {
        let mut answer = FirstCertificate::default();
        for _ in 0..100 {
            answer.push(&vec![b'x'; 1000]);
        }
        answer.push(b"-----END CERTIFICATE-----");
        assert!(answer.text.len() <= FirstCertificate::LONGEST);
        assert_eq!(answer.finish(), None);
    }
}

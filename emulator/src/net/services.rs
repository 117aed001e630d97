//! What every network here offers without being asked to: names and the time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use smoltcp::wire::{DnsPacket, DnsQueryType, DnsQuestion};

use super::addresses::{DNS, HOST};

pub(super) const DNS_PORT: u16 = 53;
pub(super) const NTP_PORT: u16 = 123;

/// How long a name may be kept, in seconds.
const TTL: u32 = 60;
/// Seconds from NTP's epoch, 1900, to that of Unix, 1970 (RFC 5905).
const EPOCHS: u64 = 2_208_988_800;

/// Names and their addresses.
#[derive(Debug, Clone)]
pub(super) struct Names(BTreeMap<String, Vec<Ipv4Addr>>);

impl Default for Names {
    /// Time servers, and names for the host and the DNS server.
    fn default() -> Self {
        let names = [
            ("host.internal", HOST),
            ("dns.internal", DNS),
            ("pool.ntp.org", HOST),
        ];
        Self(
            names
                .into_iter()
                .map(|(name, address)| (name.to_owned(), vec![address]))
                .collect(),
        )
    }
}

impl Names {
    pub(super) fn insert(&mut self, name: &str, addresses: &[Ipv4Addr]) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.insert(name, addresses.to_vec());
    }

    /// The addresses of that name, or of the longest known name that it ends with after a dot.
    fn find(&self, name: &str) -> Option<&[Ipv4Addr]> {
        let suffixes = std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, rest)| rest));
        let found = suffixes.into_iter().find_map(|suffix| self.0.get(suffix));
        found.map(Vec::as_slice)
    }

    /// The answer to a query (RFC 1035); `None` if it makes no sense. A name that is not known does not exist if
    /// `alone` says that nobody else would know it either, and has no answer here otherwise.
    pub(super) fn answer(&self, query: &[u8], alone: bool) -> Option<Vec<u8>> {
        const RESPONSE: u16 = 0x8180;
        const NO_SUCH_NAME: u16 = 3;
        let packet = DnsPacket::new_checked(query).ok()?;
        if query[2] & 0xf8 != 0 || packet.question_count() != 1 {
            return None;
        }
        let (rest, question) = DnsQuestion::parse(packet.payload()).ok()?;
        let mut labels = Vec::new();
        for label in packet.parse_name(question.name) {
            labels.push(std::str::from_utf8(label.ok()?).ok()?.to_ascii_lowercase());
        }
        let known = self.find(&labels.join("."));
        if known.is_none() && !alone {
            return None;
        }
        let given = known
            .filter(|_| question.type_ == DnsQueryType::A)
            .unwrap_or_default();
        let question = &packet.payload()[..packet.payload().len() - rest.len()];
        let mut answer = query[..2].to_vec();
        answer.extend((RESPONSE | if known.is_none() { NO_SUCH_NAME } else { 0 }).to_be_bytes());
        for count in [1, u16::try_from(given.len()).ok()?, 0, 0] {
            answer.extend(count.to_be_bytes());
        }
        answer.extend(question);
        for address in given {
            // The name is that of the question, at offset 12; type A, class IN.
            answer.extend([0xc0, 12, 0, 1, 0, 1]);
            answer.extend(TTL.to_be_bytes());
            answer.extend([0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

/// The answer to a client that asks for the time (RFC 5905), which is `nanos` since the epoch of Unix.
pub(super) fn ntp(request: &[u8], nanos: u128) -> Option<Vec<u8>> {
    let request = request.first_chunk::<48>()?;
    let (version, mode) = (request[0] >> 3 & 7, request[0] & 7);
    if mode != 3 || !(1..=4).contains(&version) {
        return None;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()? + EPOCHS;
    let fraction = ((nanos % 1_000_000_000) << 32) / 1_000_000_000;
    // Seconds are sent without their upper half, the era.
    let timestamp = (seconds << 32 | u64::try_from(fraction).ok()?).to_be_bytes();
    let mut answer = vec![0; 48];
    answer[0] = version << 3 | 4;
    answer[1] = 1; // a primary server
    answer[2] = request[2];
    answer[3] = (-20i8).cast_unsigned(); // precise to a microsecond
    answer[12..16].copy_from_slice(b"PICO");
    answer[16..24].copy_from_slice(&timestamp);
    answer[24..32].copy_from_slice(&request[40..48]);
    answer[32..40].copy_from_slice(&timestamp);
    answer[40..48].copy_from_slice(&timestamp);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.push(0);
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        query
    }

    #[test]
    fn names_have_addresses() {
        let names = Names::default();
        let answer = names
            .answer(&query("2.Pool.NTP.org", 1), true)
            .expect("an answer");
        assert_eq!(answer[..4], [0x12, 0x34, 0x81, 0x80]);
        assert_eq!(answer[7], 1);
        assert_eq!(answer[answer.len() - 4..], HOST.octets());
        let answer = names.answer(&query("pool.ntp.org", 28), true).expect("an answer");
        assert_eq!(
            (answer[3], answer[7]),
            (0x80, 0),
            "it exists, and has no IPv6 address"
        );
    }

    #[test]
    fn an_unknown_name_does_not_exist_or_is_left_to_others() {
        let names = Names::default();
        let unknown = query("example.org", 1);
        assert_eq!(names.answer(&unknown, true).expect("an answer")[3], 0x83);
        assert_eq!(names.answer(&unknown, false), None);
    }

    #[test]
    fn the_time_is_told() {
        let mut request = vec![0; 48];
        request[0] = 0x23;
        request[40..48].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        // 2026-01-01T00:00:00.5Z.
        let answer = ntp(&request, 1_767_225_600_500_000_000).expect("an answer");
        assert_eq!(answer[0], 0x24);
        assert_eq!(answer[24..32], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            u32::from_be_bytes(answer[40..44].try_into().unwrap()),
            3_976_214_400
        );
        assert_eq!(
            u32::from_be_bytes(answer[44..48].try_into().unwrap()),
            0x8000_0000
        );
        assert_eq!(ntp(&request[..47], 0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ntp(&bytes, 1);
            let _ = Names::default().answer(&bytes, true);
        }

        #[test]
        fn any_question_gets_an_answer_or_none(name in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(name);
            query.extend([0, 0, 1, 0, 1]);
            let _ = Names::default().answer(&query, true);
        }
    }
}

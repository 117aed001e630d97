//! The time of day as a time server tells it: SNTP (RFC 4330), the question and the answer.
//!
//! Who is asked, when, and through which socket is the board's. Nothing here judges whether the time can be true.

/// How long a question is, and an answer at least, in bytes.
pub const PACKET: usize = 48;
/// Where a time server listens (RFC 4330, section 4).
pub const PORT: u16 = 123;

/// Seconds from NTP's epoch, 1900, to that of Unix, 1970; and of an era, after which NTP's seconds begin anew.
const EPOCHS: u64 = 2_208_988_800;
const ERA: u64 = 1 << 32;

/// A question. It says nothing of our time; `mark`, which stands in its place, comes back in the answer, and nobody but
/// the server that was asked can know it.
#[must_use]
pub fn question(mark: u64) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    // Version 4, a client.
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&mark.to_be_bytes());
    packet
}

/// The time at which the server sent this answer to the question that had `mark`, in microseconds since 1970. `None` if
/// it is no such answer, or from a server that does not know the time itself.
#[must_use]
pub fn time(answer: &[u8], mark: u64) -> Option<u64> {
    let answer = answer.first_chunk::<PACKET>()?;
    let word = |at: usize| {
        answer[at..at + 8]
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 7, answer[1]);
    // Not synchronized; no server; the kiss of death and what is too far away.
    let useful = leap != 3 && mode == 4 && (1..16).contains(&stratum);
    let (originate, transmit) = (word(24), word(40));
    (useful && originate == mark && transmit != 0).then(|| unix_micros(transmit))
}

/// NTP's 64 bits as microseconds since the epoch of Unix. What would be before 1970 is of the next era,
/// which begins in 2036.
fn unix_micros(timestamp: u64) -> u64 {
    let (mut seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    if seconds < EPOCHS {
        seconds += ERA;
    }
    (seconds - EPOCHS) * 1_000_000 + ((fraction * 1_000_000) >> 32)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// What a server answers that knows the time, `transmit`, from a clock of its own.
    fn answer(mark: u64, transmit: u64) -> [u8; PACKET] {
        let mut answer = [0; PACKET];
        answer[..2].copy_from_slice(&[4 << 3 | 4, 1]);
        answer[24..32].copy_from_slice(&mark.to_be_bytes());
        answer[40..].copy_from_slice(&transmit.to_be_bytes());
        answer
    }

    #[test]
    fn reads_the_time() {
        // 2026-01-01T00:00:00.5Z.
        let transmit = (1_767_225_600 + EPOCHS) << 32 | 1 << 31;
        assert_eq!(time(&answer(7, transmit), 7), Some(1_767_225_600_500_000));
        // NTP's seconds begin anew on 2036-02-07T06:28:16Z.
        assert_eq!(time(&answer(7, 1 << 32), 7), Some(2_085_978_497_000_000));
    }

    #[test]
    fn believes_only_the_server_that_was_asked() {
        let good = answer(7, 1 << 63);
        assert!(time(&good, 7).is_some());
        assert_eq!(time(&good, 8), None, "another question's");
        assert_eq!(time(&good[..47], 7), None, "cut");
        let altered = |at: usize, byte| {
            let mut answer = good;
            answer[at] = byte;
            time(&answer, 7)
        };
        assert_eq!(
            altered(0, 3 << 6 | 4 << 3 | 4),
            None,
            "a clock that is not synchronized"
        );
        assert_eq!(altered(0, 4 << 3 | 3), None, "a client");
        assert_eq!(altered(1, 0), None, "the kiss of death");
        assert_eq!(altered(1, 16), None, "too far from a clock");
        assert_eq!(time(&answer(7, 0), 7), None, "no time at all");
    }

    proptest! {
        #[test]
        fn times_keep_their_order(first: u32, later in 0..u32::MAX / 2, fraction: u32) {
            // Within one era the time grows with the timestamp, to the microsecond.
            let of = |seconds: u32| unix_micros(u64::from(seconds) << 32 | u64::from(fraction));
            if let Some(second) = first.checked_add(later)
                && (u64::from(first) < EPOCHS) == (u64::from(second) < EPOCHS)
            {
                prop_assert_eq!(of(second) - of(first), u64::from(later) * 1_000_000);
            }
        }

        #[test]
        fn anything_may_come(bytes: Vec<u8>, mark: u64) {
            if let Some(time) = time(&bytes, mark) {
                prop_assert!(time < (2 * ERA) * 1_000_000);
                prop_assert_eq!(bytes.get(24..32), Some(&mark.to_be_bytes()[..]));
            }
        }
    }
}

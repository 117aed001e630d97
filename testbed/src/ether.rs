//! The cable between the access point and the network: how bad it is can change while the board runs, and echo requests
//! (ping) go out on it.

use picolet_emulator::Time;
use picolet_emulator::net::{Conditions, HOST, Impaired, Link};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Marks echo requests as ours.
const MARK: u16 = 0x7069;
/// Where an Ethernet frame has the IPv4 packet, and that has what it carries.
const IP: usize = 14;
const ICMP: usize = IP + 20;

/// An echo request, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// When it was sent.
    pub sent: Time,
    /// How long the answer took, if there is one.
    pub took: Option<Duration>,
}

#[derive(Debug, Default)]
struct State {
    changed: Option<Conditions>,
    asked: VecDeque<Time>,
    echoes: Vec<Echo>,
}

/// What a test does with the cable. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ether(Arc<Mutex<State>>);

impl Ether {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end that the radio gets, with `link` at the other.
    pub(crate) fn cable(&self, link: Box<dyn Link>, board: [u8; 6]) -> Cable {
        Cable {
            link: Impaired::new(link, Conditions::default()),
            ether: self.clone(),
            board,
        }
    }

    /// From the next frame on it is as bad as that.
    pub(crate) fn set(&self, conditions: Conditions) {
        self.lock().changed = Some(conditions);
    }

    /// Sends an echo request to the board, past all conditions.
    pub(crate) fn ping(&self, now: Time) {
        self.lock().asked.push_back(now);
    }

    /// The echo requests so far.
    pub(crate) fn echoes(&self) -> Vec<Echo> {
        self.lock().echoes.clone()
    }
}

/// The cable itself.
pub(crate) struct Cable {
    link: Impaired,
    ether: Ether,
    /// The board's Ethernet address.
    board: [u8; 6],
}

impl Cable {
    fn turn(&mut self) {
        if let Some(conditions) = self.ether.lock().changed.take() {
            self.link.set_conditions(conditions);
        }
    }
}

/// The checksum of the Internet (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An echo request of that number (RFC 792) from the gateway to the board.
fn request(board: [u8; 6], address: Ipv4Addr, number: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0];
    icmp.extend(MARK.to_be_bytes());
    icmp.extend(number.to_be_bytes());
    icmp.extend([0x55; 24]);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let length = u16::try_from(20 + icmp.len()).unwrap_or(u16::MAX);
    let mut ip = vec![0x45, 0];
    ip.extend(length.to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 1, 0, 0]);
    ip.extend(HOST.octets());
    ip.extend(address.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let mut frame = board.to_vec();
    frame.extend([0x02, 0x50, 0x49, 0x43, 0x4f, 0x02, 0x08, 0x00]);
    frame.extend(ip);
    frame.extend(icmp);
    frame
}

/// The number of the request that a frame answers, if it is one of ours.
fn answered(frame: &[u8]) -> Option<usize> {
    let is_icmp = frame.get(12..14)? == [8, 0] && *frame.get(IP)? == 0x45 && *frame.get(IP + 9)? == 1;
    let icmp = frame.get(ICMP..ICMP + 8)?;
    let ours = is_icmp && icmp[0] == 0 && icmp[4..6] == MARK.to_be_bytes();
    ours.then(|| usize::from(u16::from_be_bytes([icmp[6], icmp[7]])))
}

impl Link for Cable {
    fn send(&mut self, frame: &[u8], now: Time) {
        self.turn();
        if let Some(number) = answered(frame) {
            if let Some(echo) = self.ether.lock().echoes.get_mut(number) {
                echo.took.get_or_insert(now.since(echo.sent));
            }
            return;
        }
        self.link.send(frame, now);
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        self.turn();
        let mut state = self.ether.lock();
        if state.asked.pop_front().is_some() {
            let number = u16::try_from(state.echoes.len()).ok()?;
            state.echoes.push(Echo {
                sent: now,
                took: None,
            });
            return Some(request(self.board, crate::BOARD, number));
        }
        drop(state);
        self.link.receive(now)
    }

    fn next_event(&self) -> Option<Time> {
        let asked = self.ether.lock().asked.front().copied();
        [asked, self.link.next_event()].into_iter().flatten().min()
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_and_its_answer_is_known() {
        let mut frame = request([2; 6], crate::BOARD, 7);
        // Whoever adds up all of it, the sum included, gets nothing.
        assert_eq!(checksum(&frame[IP..ICMP]), [0, 0]);
        assert_eq!(checksum(&frame[ICMP..]), [0, 0]);
        assert_eq!(answered(&frame), None);
        frame[ICMP] = 0;
        assert_eq!(answered(&frame), Some(7));
        frame[ICMP + 4] ^= 1;
        assert_eq!(answered(&frame), None);
        assert_eq!(answered(&frame[..ICMP + 3]), None);
    }
}

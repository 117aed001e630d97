//! The time of day from time servers: SNTP (RFC 4330), one datagram there and one back.

use crate::{clock, entropy, log};
use core::net::IpAddr;
use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use picolet_platform::{Level, TimeSource, UnixMicros};
use picolet_store::settings::Settings;
use static_cell::ConstStaticCell;

const PORT: u16 = 123;
const PACKET: usize = 48;
/// Where nobody named a server.
const DEFAULT: &str = "pool.ntp.org";
/// For the name and for the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a failure, first and at most, and after a success.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
const REST: Duration = Duration::from_secs(3600);
/// Between two looks whether there is an address.
const LOOK: Duration = Duration::from_millis(50);
/// Seconds from NTP's epoch, 1900, to that of Unix, 1970; and of an era, after which NTP's seconds begin anew.
const EPOCHS: u64 = 2_208_988_800;
const ERA: u64 = 1 << 32;

/// NTP's 64 bits as microseconds since the epoch of Unix. What would be before 1970 is of the next era,
/// which begins in 2036.
fn unix_micros(timestamp: u64) -> u64 {
    let (mut seconds, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    if seconds < EPOCHS {
        seconds += ERA;
    }
    (seconds - EPOCHS) * 1_000_000 + ((fraction * 1_000_000) >> 32)
}

/// The time in an answer to the question that had `mark`: when the server sent it. `None` if it is no such answer.
fn read(answer: &[u8], mark: u64) -> Option<u64> {
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

/// Asks one server.
async fn ask(stack: Stack<'static>, socket: &UdpSocket<'_>, name: &str) -> Option<()> {
    let addresses = with_timeout(PATIENCE, stack.dns_query(name, DnsQueryType::A))
        .await
        .ok()?
        .ok()?;
    let server: IpAddress = *addresses.first()?;
    // No time of ours, but a mark that only the server that was asked can know.
    let mark = entropy::number();
    let mut packet = [0; PACKET];
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&mark.to_be_bytes());
    let sent = Instant::now();
    socket.send_to(&packet, (server, PORT)).await.ok()?;
    let heard = async {
        loop {
            let mut answer = [0; PACKET];
            // One that is too long for an answer is none.
            if let Ok((length, from)) = socket.recv_from(&mut answer).await
                && from.endpoint.addr == server
                && let Some(time) = read(&answer[..length], mark)
            {
                break time;
            }
        }
    };
    let time = with_timeout(PATIENCE, heard).await.ok()?;
    // The way back took half of all.
    let now = UnixMicros(time + sent.elapsed().as_micros() / 2);
    let first = clock::source() != TimeSource::Synchronized;
    let believed = clock::set(now, TimeSource::Synchronized);
    let (server, seconds) = (IpAddr::from(server), now.seconds());
    if !believed {
        log::line(
            Level::Warn,
            format_args!("{seconds} s since 1970, says {server}: not believed, it was later before"),
        );
        return None;
    }
    if first {
        log::line(Level::Info, format_args!("{seconds} s since 1970, says {server}"));
    }
    Some(())
}

/// Learns the time and keeps it right, for ever.
#[embassy_executor::task]
pub(super) async fn keep_time(stack: Stack<'static>, settings: Settings<'static>) -> ! {
    static BUFFERS: ConstStaticCell<[[u8; 2 * PACKET]; 2]> = ConstStaticCell::new([[0; 2 * PACKET]; 2]);
    let [receive, send] = BUFFERS.take();
    let (mut received, mut sending) = ([PacketMetadata::EMPTY; 2], [PacketMetadata::EMPTY; 2]);
    let mut socket = UdpSocket::new(stack, &mut received, receive, &mut sending, send);
    // Port 0 is taken for any that is free.
    let bound = socket.bind(0).is_ok();
    let mut pause = FIRST_PAUSE;
    loop {
        // The stack's own waits are for one task alone: the radio's.
        while super::address().is_none() {
            Timer::after(LOOK).await;
        }
        let mut known = false;
        let default = settings.ntp().next().is_none().then_some(DEFAULT);
        for name in settings.ntp().chain(default) {
            if bound && ask(stack, &socket, name).await.is_some() {
                known = true;
                break;
            }
        }
        if known {
            pause = FIRST_PAUSE;
            Timer::after(REST).await;
        } else {
            log::line(Level::Warn, format_args!("no time server answers"));
            Timer::after(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

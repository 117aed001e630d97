//! The time of day from time servers: who is asked and when. What is said stands in [`picolet_device::sntp`].

use crate::{clock, entropy, log};
use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use picolet_device::sntp::{self, PACKET, PORT};
use picolet_kube::{Address, Timestamp};
use picolet_platform::{Level, TimeSource, UnixMicros};
use picolet_store::settings::Settings;
use static_cell::ConstStaticCell;

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

/// Asks one server. Returns whether the time is known then; `None` if the server does not answer.
async fn ask(stack: Stack<'static>, socket: &UdpSocket<'_>, name: &str) -> Option<bool> {
    let addresses = with_timeout(PATIENCE, stack.dns_query(name, DnsQueryType::A))
        .await
        .ok()?
        .ok()?;
    let server: IpAddress = *addresses.first()?;
    let mark = entropy::number();
    let sent = Instant::now();
    socket.send_to(&sntp::question(mark), (server, PORT)).await.ok()?;
    let heard = async {
        loop {
            let mut answer = [0; PACKET];
            // One that is too long for an answer is none.
            if let Ok((length, from)) = socket.recv_from(&mut answer).await
                && from.endpoint.addr == server
                && let Some(time) = sntp::time(&answer[..length], mark)
            {
                break time;
            }
        }
    };
    let time = with_timeout(PATIENCE, heard).await.ok()?;
    // The way back took half of all.
    let now = UnixMicros(time + sent.elapsed().as_micros() / 2);
    let source = clock::source();
    let accepted = clock::hint(now);
    let (server, time) = (Address(server.into()), Timestamp::from_micros(now.0));
    let time = time.time();
    match (accepted, source) {
        (true, TimeSource::Unknown) => {
            log::line(
                Level::Info,
                format_args!("time synchronized to {time} from {server}"),
            );
        }
        (true, _) => {}
        (false, TimeSource::Unknown | TimeSource::Hint) => {
            log::line(
                Level::Warn,
                format_args!("time {time} from {server} refused: it is before a time that was confirmed"),
            );
            return Some(false);
        }
        // There is no hurry: the API server's time is known.
        (false, _) => log::line(
            Level::Warn,
            format_args!(
                "time {time} from {server} refused: the API server's differs; check the time server"
            ),
        ),
    }
    Some(true)
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
        let (mut known, mut silent) = (false, true);
        let default = settings.ntp().next().is_none().then_some(DEFAULT);
        for name in settings.ntp().chain(default) {
            if !bound {
                break;
            }
            let answered = ask(stack, &socket, name).await;
            silent &= answered.is_none();
            known = answered == Some(true);
            if known {
                break;
            }
        }
        if known {
            pause = FIRST_PAUSE;
            Timer::after(REST).await;
        } else {
            if silent {
                log::line(Level::Warn, format_args!("no time server answers"));
            }
            Timer::after(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

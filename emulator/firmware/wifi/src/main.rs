//! Joins a network, gets an address, and then moves bytes: as a server for whoever connects, and as a client of
//! whomever it is told to connect to.
//!
//! Port 7 sends back what comes (RFC 862). Port 9 counts what comes and answers with the count and a checksum. Port 19
//! is told a length and sends that many bytes. Port 5000 is told an address, a port and a length; it connects there,
//! sends that many bytes and reads as many back, and answers with how many were right. Numbers are 32 bits, big-endian.
//! Port 80 is a web server.
#![no_std]
#![no_main]

mod http;

use cyw43::{A4, Aligned, Control, JoinOptions, NetDriver, PowerManagementMode};
use cyw43_pio::{DEFAULT_CLOCK_DIVIDER, PioSpi};
use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_net::tcp::{Error, TcpSocket};
use embassy_net::{Config, Ipv4Address, Stack, StackResources};
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, PIO0};
use embassy_rp::pio::{InterruptHandler, Pio};
use embassy_rp::{bind_interrupts, dma, uart};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::Write;
use emulator_firmware::{log_to, say};
use static_cell::{ConstStaticCell, StaticCell};

const NAME: &str = "picolet";
const PASSPHRASE: &str = "correct horse";
const BUFFER: usize = 8192;

/// The radio's firmware, aligned as its driver wants it, and the parameters of the board that it goes with.
static FIRMWARE: Aligned<A4, [u8; cyw43_firmware::CYW43_43439A0.len()]> =
    Aligned(*cyw43_firmware::CYW43_43439A0);
static PARAMETERS: Aligned<A4, [u8; 44]> = Aligned(*b"manfid=0x2d0\0prodid=0x0727\0xtalfreq=37400\0\0\0");

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
});

type Radio = cyw43::Runner<'static, cyw43::SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>>;

#[embassy_executor::task]
async fn run_radio(radio: Radio) -> ! {
    radio.run().await
}

#[embassy_executor::task]
async fn run_stack(mut runner: embassy_net::Runner<'static, NetDriver<'static>>) -> ! {
    runner.run().await
}

/// Joins, and joins again whenever the link is lost.
#[embassy_executor::task]
async fn stay_joined(mut control: Control<'static>, stack: Stack<'static>) -> ! {
    loop {
        match control.join(NAME, JoinOptions::new(PASSPHRASE.as_bytes())).await {
            Ok(()) => {
                say!("joined at {} ms", Instant::now().as_millis());
                control.gpio_set(0, true).await;
                stack.wait_link_down().await;
                control.gpio_set(0, false).await;
                say!("lost the link at {} ms", Instant::now().as_millis());
            }
            Err(error) => {
                say!("not joined: {error:?}");
                Timer::after_millis(500).await;
            }
        }
    }
}

/// The byte at that place of what is sent and expected.
fn pattern(index: u32) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 21) as u8
}

/// Sends the pattern, from its start.
async fn send_pattern(writer: &mut impl Write<Error = Error>, length: u32) -> Result<(), Error> {
    let mut chunk = [0; 1024];
    let mut sent = 0;
    while sent < length {
        let now = (length - sent).min(chunk.len() as u32);
        for (byte, index) in chunk.iter_mut().zip(sent..sent + now) {
            *byte = pattern(index);
        }
        writer.write_all(&chunk[..now as usize]).await?;
        sent += now;
    }
    writer.flush().await
}

async fn read_words<const N: usize>(socket: &mut TcpSocket<'_>) -> Result<[u32; N], Error> {
    let mut words = [0; N];
    for word in &mut words {
        let mut bytes = [0; 4];
        let mut have = 0;
        while have < 4 {
            match socket.read(&mut bytes[have..]).await? {
                0 => return Err(Error::ConnectionReset),
                length => have += length,
            }
        }
        *word = u32::from_be_bytes(bytes);
    }
    Ok(words)
}

async fn echo(socket: &mut TcpSocket<'_>, buffer: &mut [u8]) -> Result<(), Error> {
    loop {
        match socket.read(buffer).await? {
            0 => return Ok(()),
            length => socket.write_all(&buffer[..length]).await?,
        }
    }
}

/// Counts what comes, with a checksum (FNV-1a).
async fn count(socket: &mut TcpSocket<'_>, buffer: &mut [u8]) -> Result<(), Error> {
    let (mut total, mut hash) = (0u32, 0x811c_9dc5u32);
    loop {
        match socket.read(buffer).await? {
            0 => break,
            length => {
                total += length as u32;
                for byte in &buffer[..length] {
                    hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
                }
            }
        }
    }
    socket.write_all(&total.to_be_bytes()).await?;
    socket.write_all(&hash.to_be_bytes()).await
}

async fn visit(stack: Stack<'_>, socket: &mut TcpSocket<'_>) -> Result<(), Error> {
    static RECEIVE: StaticCell<[u8; BUFFER]> = StaticCell::new();
    static SEND: StaticCell<[u8; BUFFER]> = StaticCell::new();
    static BUFFERS: portable_atomic::AtomicBool = portable_atomic::AtomicBool::new(false);
    // One task serves this port, one connection after the other; it takes the buffers once.
    assert!(
        !BUFFERS.swap(true, portable_atomic::Ordering::Relaxed),
        "one visit per run"
    );
    let (receive, send) = (RECEIVE.init([0; BUFFER]), SEND.init([0; BUFFER]));
    let [address, port, length] = read_words(socket).await?;
    let mut outward = TcpSocket::new(stack, receive, send);
    outward.set_timeout(Some(Duration::from_secs(60)));
    let mut right = 0;
    match outward.connect((Ipv4Address::from(address), port as u16)).await {
        Err(error) => say!("not connected: {error:?}"),
        Ok(()) => {
            let start = Instant::now();
            let (mut reader, mut writer) = outward.split();
            let take = async {
                let mut chunk = [0; 1024];
                let mut taken = 0;
                while taken < length {
                    match reader.read(&mut chunk).await {
                        Ok(0) | Err(_) => break,
                        Ok(came) => {
                            for byte in &chunk[..came] {
                                right += u32::from(*byte == pattern(taken));
                                taken += 1;
                            }
                        }
                    }
                }
            };
            let (_, sent) = join(take, send_pattern(&mut writer, length)).await;
            say!(
                "visit: {right} of {length} bytes right, {sent:?}, {} ms",
                start.elapsed().as_millis()
            );
            outward.close();
            let _ = outward.flush().await;
        }
    }
    socket.write_all(&right.to_be_bytes()).await
}

#[embassy_executor::task(pool_size = 5)]
async fn serve(stack: Stack<'static>, port: u16, memory: &'static mut [[u8; BUFFER]; 3]) -> ! {
    let [receive, send, buffer] = memory;
    loop {
        let mut socket = TcpSocket::new(stack, receive, send);
        socket.set_timeout(Some(Duration::from_secs(60)));
        if socket.accept(port).await.is_err() {
            continue;
        }
        let result = match port {
            7 => echo(&mut socket, buffer).await,
            9 => count(&mut socket, buffer).await,
            19 => match read_words(&mut socket).await {
                Ok([length]) => send_pattern(&mut socket, length).await,
                Err(error) => Err(error),
            },
            80 => http::answer(stack, &mut socket, buffer).await,
            _ => visit(stack, &mut socket).await,
        };
        socket.close();
        let _ = socket.flush().await;
        if let Err(error) = result {
            say!("port {port}: {error:?}");
        }
    }
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    let mut config = uart::Config::default();
    config.baudrate = 921_600;
    log_to(uart::Uart::new_blocking(p.UART0, p.PIN_0, p.PIN_1, config));
    say!("start");

    let power = Output::new(p.PIN_23, Level::Low);
    let select = Output::new(p.PIN_25, Level::High);
    let mut pio = Pio::new(p.PIO0, Interrupts);
    let spi = PioSpi::new(
        &mut pio.common,
        pio.sm0,
        DEFAULT_CLOCK_DIVIDER,
        pio.irq0,
        select,
        p.PIN_24,
        p.PIN_29,
        dma::Channel::new(p.DMA_CH0, Interrupts),
    );
    static STATE: StaticCell<cyw43::State> = StaticCell::new();
    let state = STATE.init(cyw43::State::new());
    let (device, mut control, radio) = cyw43::new(state, power, spi, &FIRMWARE, &PARAMETERS).await;
    say!("radio up at {} ms", Instant::now().as_millis());
    spawner.spawn(run_radio(radio).unwrap());
    control.init(cyw43_firmware::CYW43_43439A0_CLM).await;
    control.set_power_management(PowerManagementMode::PowerSave).await;
    say!("radio set up at {} ms", Instant::now().as_millis());

    static RESOURCES: StaticCell<StackResources<10>> = StaticCell::new();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) =
        embassy_net::new(device, Config::dhcpv4(Default::default()), resources, 0x7069_636f);
    spawner.spawn(run_stack(runner).unwrap());
    spawner.spawn(stay_joined(control, stack).unwrap());
    stack.wait_config_up().await;
    if let Some(config) = stack.config_v4() {
        say!("address {} at {} ms", config.address, Instant::now().as_millis());
    }

    // const: what is made at run time lies on the stack first, and there is no room for it twice
    static MEMORY: ConstStaticCell<[[[u8; BUFFER]; 3]; 5]> = ConstStaticCell::new([[[0; BUFFER]; 3]; 5]);
    for (port, memory) in [7, 9, 19, 80, 5000].into_iter().zip(MEMORY.take()) {
        spawner.spawn(serve(stack, port, memory).unwrap());
    }
}

//! The console on USB: a serial port (CDC-ACM) that tells the log and takes settings.
//!
//! A host that is not there, or does not read, costs nothing: the port waits, and the ring goes on without it. What is
//! typed is never told again, neither here nor in the log.

use crate::flash::Part;
use crate::noise::ChipNoise;
use crate::{entropy, log, machine, shutdown};
use core::convert::Infallible;
use embassy_executor::Spawner;
use embassy_futures::join::join3;
use embassy_futures::select::{Either, select};
use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_rp::{Peri, bind_interrupts};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer, with_timeout};
use embassy_usb::class::cdc_acm::{self, CdcAcmClass, ControlChanged};
use embassy_usb::driver::EndpointError;
use embassy_usb::{Builder, Config};
use heapless::String;
use picolet_platform::Level;
use picolet_store::serial::{Console, SAMPLES, Then, noise_line};
use picolet_update::Updater;
use picolet_update::console::{self, Console as FirmwareConsole};
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

/// Raspberry Pi's numbers for a serial port of a board of theirs (their list of product identifiers).
const VENDOR: u16 = 0x2e8a;
const PRODUCT: u16 = 0x000a;

/// Bytes of a packet on a full-speed bus.
const PACKET: usize = 64;
/// After a full packet a host waits for more before it tells a program.
const SHORT: usize = PACKET - 1;

/// Between a program opening the port and the first line: in it a terminal's echo is switched off.
const OPENED: Duration = Duration::from_millis(100);
/// How long a host may take for the last answer.
const FAREWELL: Duration = Duration::from_millis(100);
/// What is answered where there is no boot log.
const NO_UPDATES: &str = "% error the boot log cannot be read: this board takes no firmware updates\r\n";
/// How long an update waits for a host that has gone away.
const ABANDONED: Duration = Duration::from_secs(60);
/// When a board restarts that was given settings, and whose host does not ask for it: until then the node runs with a
/// copy of the settings from before.
const UNASKED: Duration = Duration::from_secs(2);

type Sender = cdc_acm::Sender<'static, Driver<'static, USB>>;
type Receiver = cdc_acm::Receiver<'static, Driver<'static, USB>>;

/// What lives as long as the port.
struct Buffers {
    configuration: [u8; 96],
    bos: [u8; 16],
    control: [u8; 64],
    state: cdc_acm::State<'static>,
}

/// Starts the port of the board of this kind with this number. Settings that come over it are written to their region,
/// which is `settings` alone.
#[inline(never)]
pub(crate) fn spawn(
    spawner: Spawner,
    usb: Peri<'static, USB>,
    unique: [u8; 8],
    board: &'static str,
    settings: Part,
    updater: Option<&'static Updater<'static>>,
) {
    static SERIAL: StaticCell<String<16>> = StaticCell::new();
    let serial = SERIAL.init(machine::serial_number(unique));
    spawner.spawn(run(usb, serial, board, settings, updater).expect("this is spawned once"));
}

/// Runs it, for ever.
#[embassy_executor::task]
async fn run(
    usb: Peri<'static, USB>,
    serial: &'static str,
    board: &'static str,
    mut settings: Part,
    updater: Option<&'static Updater<'static>>,
) {
    static BUFFERS: StaticCell<Buffers> = StaticCell::new();
    let buffers = BUFFERS.init_with(|| Buffers {
        configuration: [0; _],
        bos: [0; _],
        control: [0; _],
        state: cdc_acm::State::new(),
    });
    let mut config = Config::new(VENDOR, PRODUCT);
    config.manufacturer = Some("picolet");
    config.product = Some("picolet node");
    config.serial_number = Some(serial);
    let mut builder = Builder::new(
        Driver::new(usb, Interrupts),
        config,
        &mut buffers.configuration,
        &mut buffers.bos,
        &mut [],
        &mut buffers.control,
    );
    let class = CdcAcmClass::new(&mut builder, &mut buffers.state, PACKET as u16);
    let (mut sender, mut receiver, control) = class.split_with_control();
    let mut device = builder.build();
    let mut console = Console::new(board);
    let mut firmware = updater.map(FirmwareConsole::new);
    let restarts = Signal::new();
    let serve = async {
        loop {
            sender.wait_connection().await;
            until_dtr(&control, true).await;
            Timer::after(OPENED).await;
            // It ends when the host goes away.
            let consoles = (&mut console, &mut firmware);
            let talk = talk(&mut sender, &mut receiver, consoles, &mut settings, &restarts);
            select(talk, until_dtr(&control, false)).await;
            // An update that nobody goes on with does not keep its memory.
            if let Some(firmware) = firmware.as_mut().filter(|firmware| firmware.is_busy())
                && with_timeout(ABANDONED, until_dtr(&control, true)).await.is_err()
            {
                firmware.abandon();
            }
        }
    };
    let restart = async {
        let mut left = restarts.wait().await;
        while let Either::First(sooner) = select(restarts.wait(), Timer::after(left)).await {
            left = sooner;
        }
        shutdown::restart().await
    };
    join3(device.run(), serve, restart).await;
}

/// Waits until a program has the port open, or has closed it.
async fn until_dtr(control: &ControlChanged<'static>, open: bool) {
    while control.dtr() != open {
        control.control_changed().await;
    }
}

/// Sends the log and answers what is typed, until the host goes away.
async fn talk(
    sender: &mut Sender,
    receiver: &mut Receiver,
    (console, firmware): (&mut Console, &mut Option<FirmwareConsole<'static>>),
    settings: &mut Part,
    restarts: &Signal<NoopRawMutex, Duration>,
) -> Result<Infallible, EndpointError> {
    let (mut cursor, mut line, mut packet) = (log::oldest(), log::Sent::new(), [0; PACKET]);
    loop {
        while log::next(&mut cursor, &mut line) {
            send(sender, line.as_bytes()).await?;
        }
        let typed = match select(log::NEW_FOR_USB.wait(), receiver.read_packet(&mut packet)).await {
            Either::First(()) => continue,
            Either::Second(length) => &packet[..length?],
        };
        for byte in typed {
            let Some(answer) = console.take(*byte, settings).await else {
                continue;
            };
            if answer.then == Then::Firmware {
                let Some(firmware) = firmware else {
                    send(sender, NO_UPDATES.as_bytes()).await?;
                    continue;
                };
                let (line, then) = firmware.answer(&answer.line);
                if then == console::Then::Restart {
                    log::line(
                        Level::Info,
                        format_args!("new firmware is on trial after this restart"),
                    );
                    restarts.signal(FAREWELL);
                }
                if then == console::Then::Refused {
                    log::line(Level::Warn, format_args!("firmware update: {}", line.trim_end()));
                }
                send(sender, line.as_bytes()).await?;
                continue;
            }
            if answer.then == Then::Written {
                log::line(
                    Level::Info,
                    format_args!("there are new settings; they count after a restart"),
                );
                restarts.signal(UNASKED);
            }
            if answer.then == Then::Restart {
                // The host may be gone before it has read the answer.
                restarts.signal(FAREWELL);
            }
            if let Then::Noise(lines) = answer.then {
                let mut noise = ChipNoise::default();
                for _ in 0..lines {
                    let mut samples = [0; SAMPLES];
                    entropy::sample(&mut noise, &mut samples);
                    send(sender, noise_line(&samples).as_bytes()).await?;
                }
            }
            send(sender, answer.line.as_bytes()).await?;
        }
    }
}

async fn send(sender: &mut Sender, bytes: &[u8]) -> Result<(), EndpointError> {
    for piece in bytes.chunks(SHORT) {
        sender.write_packet(piece).await?;
    }
    Ok(())
}

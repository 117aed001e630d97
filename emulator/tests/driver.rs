//! The radio with embassy's released driver and stack, unmodified, on the host: what the images run on the chip,
//! without the chip.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use cyw43::{
    A4, Aligned, Control, JoinError, JoinOptions, NetDriver, PowerManagementMode, ScanOptions, State,
};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config as NetConfig, Stack, StackResources};
use embassy_time::Timer;
use embedded_io_async::Write;
use picolet_emulator::Time;
use picolet_emulator::net::{DEVICE, HOST, Impaired, Link, Local, Stream};
use picolet_emulator::radio::{AccessPoint, Air, Change, Config, Cyw43439, Radio, Security};
use support::client::pattern;
use support::executor::{Pins, beside};

const NAME: &str = "picolet";
const PASSPHRASE: &str = "correct horse";
/// Of emulated time, for what takes a second or two.
const LIMIT: Duration = Duration::from_secs(120);

/// Board parameters in the form of those of a Pico W.
const PARAMETERS: Aligned<A4, [u8; 44]> = Aligned(*b"manfid=0x2d0\0prodid=0x0727\0xtalfreq=37400\0\0\0");

fn access_point() -> AccessPoint {
    AccessPoint::new(NAME, Security::Wpa2(PASSPHRASE.into()))
}

fn pins(air: Air, link: Box<dyn Link>) -> Pins {
    Pins::new(Cyw43439::new(Config::default(), air, link))
}

/// The blob that the registry ships, aligned as the driver wants it.
static FIRMWARE: Aligned<A4, [u8; cyw43_firmware::CYW43_43439A0.len()]> =
    Aligned(*cyw43_firmware::CYW43_43439A0);

/// Starts the driver and hands its control and its device to `app`.
fn run<T>(pins: &Pins, limit: Duration, app: impl AsyncFnOnce(&mut Control<'_>, NetDriver<'_>) -> T) -> T {
    let mut state = State::new();
    pins.run(limit, async {
        let (device, mut control, runner) =
            cyw43::new(&mut state, pins.clone(), pins.clone(), &FIRMWARE, &PARAMETERS).await;
        let app = async {
            control.init(cyw43_firmware::CYW43_43439A0_CLM).await;
            app(&mut control, device).await
        };
        beside(runner.run(), app).await
    })
}

/// Joins, gets an address, and hands the stack to `app`.
async fn online<T>(
    control: &mut Control<'_>,
    device: NetDriver<'_>,
    app: impl AsyncFnOnce(&mut Control<'_>, Stack<'_>) -> T,
) -> T {
    let mut resources = StackResources::<4>::new();
    let (stack, mut runner) =
        embassy_net::new(device, NetConfig::dhcpv4(Default::default()), &mut resources, 7);
    let app = async {
        control
            .join(NAME, JoinOptions::new(PASSPHRASE.as_bytes()))
            .await
            .expect("joined");
        stack.wait_config_up().await;
        app(control, stack).await
    };
    beside(runner.run(), app).await
}

/// A network that sends everything back on port 7.
fn local() -> Local {
    let local = Local::new(7);
    local.serve(7, || {
        |stream: &mut Stream<'_>, _now: Time| {
            let mut buffer = [0; 4096];
            loop {
                let room = stream.room().min(buffer.len());
                let length = stream.read(&mut buffer[..room]);
                if length == 0 {
                    break;
                }
                stream.write(&buffer[..length]);
            }
            if stream.is_finished() {
                stream.close();
            }
            None
        }
    });
    local
}

/// Sends `data` to port 7 and reads it back.
async fn echo(stack: Stack<'_>, data: &[u8]) -> Vec<u8> {
    let (mut receive, mut transmit) = (vec![0; 4096], vec![0; 4096]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    socket.connect((HOST, 7)).await.expect("connected");
    let mut came = Vec::new();
    let (mut reader, mut writer) = socket.split();
    let send = async {
        writer.write_all(data).await.expect("sent");
        writer.flush().await.expect("flushed");
    };
    let receive = async {
        let mut buffer = [0; 2048];
        while came.len() < data.len() {
            let length = reader.read(&mut buffer).await.expect("received");
            assert_ne!(length, 0, "closed after {} bytes", came.len());
            came.extend_from_slice(&buffer[..length]);
        }
    };
    embassy_futures::join::join(send, receive).await;
    socket.close();
    let _ = socket.flush().await;
    came
}

#[test]
fn joins_gets_an_address_and_moves_bytes() {
    let pins = pins(Air::new(vec![access_point()]), local().link());
    let data = pattern(300_000);
    let came = run(&pins, LIMIT, async |control, device| {
        online(control, device, async |control, stack| {
            let config = stack.config_v4().expect("an address");
            assert_eq!((config.address.address(), config.gateway), (DEVICE, Some(HOST)));
            assert!(pins.now() < Time::from_millis(2_500), "{}", pins.now());
            control.gpio_set(0, true).await;
            assert_eq!(control.get_rssi().await, -50);
            echo(stack, &data).await
        })
        .await
    });
    assert!(came == data);
    let status = pins.0.borrow().radio.status();
    assert_eq!((status.joined.as_deref(), status.gpio & 1), (Some(NAME), 1));
}

#[test]
fn two_runs_are_the_same_to_the_nanosecond() {
    let run = || {
        let pins = pins(Air::new(vec![access_point()]), local().link());
        run(&pins, LIMIT, async |control, device| {
            online(control, device, async |_, stack| {
                echo(stack, &pattern(20_000)).await
            })
            .await
        });
        (pins.now(), pins.0.borrow().radio.statistics())
    };
    assert_eq!(run(), run());
}

#[test]
fn bytes_come_through_five_percent_of_loss() {
    let conditions = "loss=5%,delay=2ms".parse().expect("conditions");
    let pins = pins(
        Air::new(vec![access_point()]),
        Box::new(Impaired::new(local().link(), conditions)),
    );
    let data = pattern(100_000);
    let came = run(&pins, Duration::from_secs(3600), async |control, device| {
        online(control, device, async |_, stack| echo(stack, &data).await).await
    });
    assert!(came == data);
}

#[test]
fn joins_in_every_way_that_the_driver_knows() {
    for (security, options) in [
        (Security::Open, JoinOptions::new_open()),
        (
            Security::Wpa2(PASSPHRASE.into()),
            JoinOptions::new(PASSPHRASE.as_bytes()),
        ),
        (
            Security::Wpa3(PASSPHRASE.into()),
            JoinOptions::new(PASSPHRASE.as_bytes()),
        ),
        (
            Security::Wpa2Wpa3(PASSPHRASE.into()),
            JoinOptions::new(PASSPHRASE.as_bytes()),
        ),
        (Security::Wpa2(PASSPHRASE.into()), {
            let mut options = JoinOptions::new(PASSPHRASE.as_bytes());
            options.auth = cyw43::JoinAuth::Wpa2;
            options
        }),
    ] {
        let pins = pins(Air::new(vec![AccessPoint::new(NAME, security)]), local().link());
        run(&pins, LIMIT, async |control, _device| {
            control.join(NAME, options).await.expect("joined")
        });
    }
}

#[test]
fn what_is_wrong_with_a_join_is_told() {
    let pins = pins(Air::new(vec![access_point()]), local().link());
    run(&pins, LIMIT, async |control, _device| {
        let mut wpa2 = JoinOptions::new(b"another one");
        wpa2.auth = cyw43::JoinAuth::Wpa2;
        assert!(matches!(
            control.join(NAME, wpa2).await,
            Err(JoinError::AuthenticationFailure)
        ));
        let unknown = control
            .join("elsewhere", JoinOptions::new(PASSPHRASE.as_bytes()))
            .await;
        assert!(matches!(unknown, Err(JoinError::NetworkNotFound)));
        let open = control.join(NAME, JoinOptions::new_open()).await;
        assert!(matches!(open, Err(JoinError::NetworkNotFound)));
        control
            .join(NAME, JoinOptions::new(PASSPHRASE.as_bytes()))
            .await
            .expect("joined");
        control.leave().await;
    });
    assert_eq!(pins.0.borrow().radio.status().joined, None);
}

#[test]
fn a_wrong_passphrase_fails_in_wpa3_too() {
    let air = Air::new(vec![AccessPoint::new(NAME, Security::Wpa3(PASSPHRASE.into()))]);
    let pins = pins(air, local().link());
    run(&pins, LIMIT, async |control, _device| {
        let result = control.join(NAME, JoinOptions::new(b"another one")).await;
        assert!(matches!(result, Err(JoinError::AuthenticationFailure)));
    });
}

#[test]
fn an_access_point_that_goes_takes_the_link_with_it_and_brings_it_back() {
    let ap = access_point();
    let bssid = ap.bssid;
    let pins = pins(Air::new(vec![ap]), local().link());
    run(&pins, LIMIT, async |control, device| {
        online(control, device, async |control, stack| {
            let now = pins.now();
            {
                let mut host = pins.0.borrow_mut();
                let air = host.radio.air_mut();
                air.plan(now + Duration::from_secs(5), Change::Present(bssid, false));
                air.plan(now + Duration::from_secs(30), Change::Present(bssid, true));
            }
            stack.wait_link_down().await;
            let down = pins.now().since(now);
            assert!(
                down > Duration::from_secs(12) && down < Duration::from_secs(15),
                "{down:?}"
            );
            while control
                .join(NAME, JoinOptions::new(PASSPHRASE.as_bytes()))
                .await
                .is_err()
            {
                Timer::after_millis(500).await;
            }
            assert!(pins.now().since(now) > Duration::from_secs(30));
            stack.wait_config_up().await;
            let data = pattern(5_000);
            assert!(echo(stack, &data).await == data);
        })
        .await;
    });
}

#[test]
fn power_save_delays_what_comes_unasked() {
    let local = local();
    let arrivals = Rc::new(RefCell::new(Vec::new()));
    for (mode, most) in [
        (PowerManagementMode::None, 5),
        (PowerManagementMode::PowerSave, 110),
    ] {
        let pins = pins(Air::new(vec![access_point()]), local.link());
        run(&pins, LIMIT, async |control, device| {
            control.set_power_management(mode).await;
            online(control, device, async |_, stack| {
                let (mut receive, mut transmit) = ([0; 256], [0; 256]);
                let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
                Timer::after_millis(1037).await;
                let asked = pins.now();
                local.connect(
                    std::net::SocketAddrV4::new(DEVICE, 10_250),
                    |_: &mut Stream<'_>, _: Time| None,
                );
                socket.accept(10_250).await.expect("accepted");
                arrivals.borrow_mut().push(pins.now().since(asked).as_millis());
                assert!(
                    pins.now().since(asked) < Duration::from_millis(2 * most),
                    "{mode:?}"
                );
            })
            .await;
        });
    }
    let arrivals = arrivals.borrow();
    assert!(arrivals[1] > arrivals[0] + 10, "{arrivals:?}");
}

#[test]
fn scans_and_listens_to_groups() {
    let mut far = AccessPoint::new("far", Security::Open);
    far.bssid[5] = 9;
    far.rssi = -80;
    let pins = pins(Air::new(vec![access_point(), far]), local().link());
    run(&pins, LIMIT, async |control, _device| {
        let mut found = Vec::new();
        let mut scanner = control.scan(ScanOptions::default()).await;
        while let Some(bss) = scanner.next().await {
            let name = String::from_utf8_lossy(&bss.ssid[..usize::from(bss.ssid_len)]).into_owned();
            found.push((name, { bss.rssi }, bss.ctl_ch));
        }
        drop(scanner);
        assert_eq!(found, [(NAME.to_owned(), -50, 6), ("far".to_owned(), -80, 6)]);
        assert_eq!(
            control
                .add_multicast_address([1, 0, 0x5e, 0, 0, 0xfb])
                .await
                .expect("room"),
            1
        );
        let mut list = [[0; 6]; 10];
        assert_eq!(control.list_multicast_addresses(&mut list).await, 1);
        assert_eq!(list[0], [1, 0, 0x5e, 0, 0, 0xfb]);
        assert_eq!(control.address().await, Config::default().address);
    });
}

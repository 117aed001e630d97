//! The radio: joined, joined again when the link is lost, its signal measured, its LED lit.

use super::{LED, condition, shown, update};
use crate::log;
use cyw43::{Control, JoinAuth, JoinOptions};
use embassy_futures::select::{Either, Either4, select, select4};
use embassy_net::Stack;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use picolet_device::led::{self, Show};
use picolet_platform::Level;
use picolet_store::settings::{Security, Settings};

/// The LED's pin of the radio.
const LED_PIN: u8 = 0;
/// An access point that does not answer is given up after this.
const JOIN: Duration = Duration::from_secs(10);
/// Between two attempts: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Between two measurements of the signal.
const MEASURE: Duration = Duration::from_secs(10);

/// The LED, and what it is to show.
struct Light {
    show: Show,
    since: Instant,
    lit: bool,
    /// When it changes by itself.
    next: Option<Instant>,
}

impl Light {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            show: led::BOOTING,
            since: now,
            lit: true,
            next: Some(now),
        }
    }

    /// Waits until the LED must change.
    async fn change(&mut self) {
        let by_itself = async {
            match self.next {
                Some(next) => Timer::at(next).await,
                None => core::future::pending().await,
            }
        };
        if let Either::First(()) = select(LED.wait(), by_itself).await {
            (self.show, self.since) = (shown(), Instant::now());
        }
        // They start over after 49 days, and a flash may be a shorter one then.
        let (lit, more) = led::at(self.show, self.since.elapsed().as_millis() as u32);
        self.next = more.map(|millis| Instant::now() + Duration::from_millis(millis.into()));
        self.lit = lit;
    }
}

/// Shows what is to be shown and does nothing else, for ever.
pub(super) async fn only_show(mut control: Control<'static>) -> ! {
    let mut light = Light::new();
    loop {
        light.change().await;
        control.gpio_set(LED_PIN, light.lit).await;
    }
}

/// What the settings say of the network, as the driver takes it.
fn options(settings: Settings<'static>) -> JoinOptions<'static> {
    let mut options = JoinOptions::new(settings.passphrase().as_bytes());
    options.auth = match settings.security() {
        Security::Open => return JoinOptions::new_open(),
        Security::Wpa2 => JoinAuth::Wpa2,
        Security::Wpa2Wpa3 => JoinAuth::Wpa2Wpa3,
        Security::Wpa3 => JoinAuth::Wpa3,
    };
    options
}

/// Joins, and joins again whenever the link is lost, for ever.
pub(super) async fn stay_joined(
    mut control: Control<'static>,
    stack: Stack<'static>,
    settings: Settings<'static>,
) -> ! {
    let mut light = Light::new();
    let mut pause = FIRST_PAUSE;
    loop {
        // The driver does nothing else while it joins.
        control.gpio_set(LED_PIN, true).await;
        let joined = with_timeout(JOIN, control.join(settings.ssid(), options(settings))).await;
        match joined {
            Ok(Ok(())) => {
                log::line(Level::Info, format_args!("joined {:?}", settings.ssid()));
                pause = FIRST_PAUSE;
                serve(&mut control, stack, &mut light).await;
                log::line(Level::Warn, format_args!("the access point is gone"));
                update(|condition| {
                    condition.rssi_dbm = None;
                    condition.address = None;
                });
            }
            Ok(Err(error)) => {
                log::line(Level::Warn, format_args!("not joined: {}", words(&error)));
            }
            Err(_) => log::line(
                Level::Warn,
                format_args!("not joined: the access point does not answer"),
            ),
        }
        control.leave().await;
        let again = Instant::now() + pause;
        while let Either::Second(()) = select(Timer::at(again), light.change()).await {
            control.gpio_set(LED_PIN, light.lit).await;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn words(error: &cyw43::JoinError) -> &'static str {
    match error {
        cyw43::JoinError::NetworkNotFound => "there is no network of that name",
        cyw43::JoinError::AuthenticationFailure => "the passphrase is not accepted",
        _ => "the access point refuses",
    }
}

/// What is to be done while the link is up. Returns when it is down.
async fn serve(control: &mut Control<'static>, stack: Stack<'static>, light: &mut Light) {
    stack.wait_link_up().await;
    let mut measure = Instant::now();
    loop {
        let known = condition().address.is_some();
        // Only one task can wait for what the stack tells: two would wake each other for ever.
        let address = async {
            match known {
                true => stack.wait_config_down().await,
                false => stack.wait_config_up().await,
            }
        };
        let all = select4(
            stack.wait_link_down(),
            light.change(),
            Timer::at(measure),
            address,
        );
        match all.await {
            Either4::First(()) => return,
            Either4::Second(()) => control.gpio_set(LED_PIN, light.lit).await,
            Either4::Fourth(()) => {
                let address = stack.config_v4().map(|config| config.address.address());
                match address {
                    Some(address) => log::line(Level::Info, format_args!("address {address}")),
                    None => log::line(Level::Warn, format_args!("no address")),
                }
                update(|condition| condition.address = address);
            }
            Either4::Third(()) => {
                let rssi = control.get_rssi().await;
                update(|condition| condition.rssi_dbm = i8::try_from(rssi).ok().filter(|rssi| *rssi < 0));
                measure = Instant::now() + MEASURE;
            }
        }
    }
}

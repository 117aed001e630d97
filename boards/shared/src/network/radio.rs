//! The radio: joined, joined again when the link is lost, its signal measured, its LED lit.

use super::supervisor::Supervisor;
use super::{LEAVE, LED, LEFT, condition, device, shown, update};
use crate::{fault, log};
use core::future::pending;
use cyw43::{Control, JoinAuth, JoinOptions};
use embassy_futures::select::{Either, Either4, select, select4};
use embassy_net::Stack;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use picolet_device::led::{self, Show};
use picolet_device::recovery::{Health, Joins, RadioFailure, Reception};
use picolet_kube::Address;
use picolet_platform::Level;
use picolet_store::settings::{Security, Settings};

/// The LED's pin of the radio.
const LED_PIN: u8 = 0;
/// Limit of a control call. The radio's firmware answers an ioctl within milliseconds, so one that has taken a thousand times
/// as long hangs.
const ANSWER: Duration = Duration::from_secs(5);
/// Limit of a join, which takes up to 6 s at busy access points.
const JOIN: Duration = Duration::from_secs(20);
/// What a frame needs to be on the air after the radio has taken it.
const SENT: Duration = Duration::from_millis(20);
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

/// Keeps the radio joined, or without settings lights the LED and does nothing else, for ever. A radio that does not answer is
/// asked again from the beginning until the board is reset.
pub(super) async fn run(
    control: Control<'static>,
    supervisor: &Supervisor,
    network: Option<(Settings<'static>, Stack<'static>)>,
) -> ! {
    let mut controls = Controls { control, supervisor };
    loop {
        let work = async {
            match network {
                Some((settings, stack)) => controls.stay_joined(stack, settings).await,
                None => controls.only_show().await,
            }
        };
        select(work, supervisor.overdue()).await;
        supervisor.fail(RadioFailure::NotAnswering);
        disconnected();
    }
}

fn disconnected() {
    update(|condition| {
        condition.rssi_dbm = None;
        condition.address = None;
    });
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

fn words(error: &cyw43::JoinError) -> &'static str {
    match error {
        cyw43::JoinError::NetworkNotFound => "there is no network of that name",
        cyw43::JoinError::AuthenticationFailure => "the passphrase is not accepted",
        cyw43::JoinError::HandshakeTimeout => "the access point does not begin the handshake",
        cyw43::JoinError::Refused => "the radio refuses",
        _ => "the access point refuses",
    }
}

/// Why the network is left.
#[derive(Clone, Copy)]
enum End {
    LinkDown,
    /// No frame arrived for minutes.
    Silent,
    /// The same, after joins that did not help.
    Failed,
    /// The board restarts.
    Restart,
}

impl End {
    fn words(self) -> &'static str {
        match self {
            Self::LinkDown => "disconnected from the access point",
            Self::Silent | Self::Failed => "no frame received for minutes",
            Self::Restart => "left the network to restart",
        }
    }
}

/// The radio's control calls, supervised.
struct Controls<'a> {
    control: Control<'static>,
    supervisor: &'a Supervisor,
}

impl Controls<'_> {
    async fn set_led(&mut self, lit: bool) {
        self.supervisor.begin(ANSWER);
        self.control.gpio_set(LED_PIN, lit).await;
        self.supervisor.end();
    }

    /// Shows what is to be shown and does nothing else, for ever.
    async fn only_show(&mut self) -> ! {
        let mut light = Light::new();
        loop {
            light.change().await;
            self.set_led(light.lit).await;
        }
    }

    /// Joins, and joins again whenever the link is lost, for ever.
    async fn stay_joined(&mut self, stack: Stack<'static>, settings: Settings<'static>) -> ! {
        let mut light = Light::new();
        let mut reception = Reception::default();
        let mut joins = Joins::default();
        let mut pause = FIRST_PAUSE;
        loop {
            // The driver does nothing else while it joins.
            self.set_led(true).await;
            let join = self.control.join(settings.ssid(), options(settings));
            let joined = with_timeout(JOIN, join).await;
            let mut end = End::LinkDown;
            if let Ok(Ok(())) = joined {
                log::line(Level::Info, format_args!("joined {:?}", settings.ssid()));
                pause = FIRST_PAUSE;
                end = self.serve(stack, &mut light, &mut reception).await;
                disconnected();
            }
            // What the radio does not answer says nothing about the access point.
            self.leave().await;
            let (what, why) = match &joined {
                Ok(Ok(())) => (end.words(), ""),
                Ok(Err(error)) => ("not joined: ", words(error)),
                Err(_) => ("not joined: ", "the radio reports no outcome"),
            };
            log::line(
                Level::Warn,
                format_args!("{what}{why} (SSID {:?})", settings.ssid()),
            );
            match end {
                End::Restart => {
                    Timer::after(SENT).await;
                    LEFT.signal(());
                    pending().await
                }
                End::Failed => fault::reset_for_radio(RadioFailure::NoFrames),
                End::LinkDown | End::Silent => {}
            }
            if joins.record(!matches!(joined, Err(_) | Ok(Err(cyw43::JoinError::Refused)))) {
                self.supervisor.fail(RadioFailure::NotAnswering);
            }
            let again = Instant::now() + pause;
            while let Either::Second(()) = select(Timer::at(again), light.change()).await {
                self.set_led(light.lit).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn leave(&mut self) {
        self.supervisor.begin(ANSWER);
        self.control.leave().await;
        self.supervisor.end();
    }

    /// What is to be done while the link is up. Returns why the network is to be left.
    async fn serve(&mut self, stack: Stack<'static>, light: &mut Light, reception: &mut Reception) -> End {
        // It comes up with the join, unless it is lost at that moment.
        if with_timeout(ANSWER, stack.wait_link_up()).await.is_err() {
            return End::LinkDown;
        }
        let mut measured = Instant::now();
        let mut measure = measured;
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
            let event = match select(all, LEAVE.wait()).await {
                Either::First(event) => event,
                Either::Second(()) => return End::Restart,
            };
            match event {
                Either4::First(()) => return End::LinkDown,
                Either4::Second(()) => self.set_led(light.lit).await,
                Either4::Fourth(()) => {
                    let address = stack.config_v4().map(|config| config.address.address());
                    match address {
                        Some(address) => {
                            log::line(Level::Info, format_args!("address {}", Address(address.into())))
                        }
                        None => log::line(Level::Warn, format_args!("no address")),
                    }
                    update(|condition| condition.address = address);
                }
                Either4::Third(()) => {
                    self.supervisor.begin(ANSWER);
                    let rssi = self.control.get_rssi().await;
                    self.supervisor.end();
                    update(|condition| condition.rssi_dbm = i8::try_from(rssi).ok().filter(|rssi| *rssi < 0));
                    let seconds = measured.elapsed().as_secs() as u32;
                    measured = Instant::now();
                    measure = measured + MEASURE;
                    match reception.record(device::take_received(), seconds) {
                        Health::Unknown => {}
                        Health::Working => fault::radio_works(),
                        Health::Silent => return End::Silent,
                        Health::Failed => return End::Failed,
                    }
                }
            }
        }
    }
}

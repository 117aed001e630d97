//! The radio as a network device that notes whether frames arrive.

use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Context;
use cyw43::NetDriver;
use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState};

/// Whether a frame arrived since this was last asked. The stack and whoever asks run on one executor.
static RECEIVED: AtomicBool = AtomicBool::new(false);

/// Returns whether a frame arrived since the last call.
pub(super) fn take_received() -> bool {
    // An RP2040 has no instruction to do both at once.
    let received = RECEIVED.load(Ordering::Relaxed);
    RECEIVED.store(false, Ordering::Relaxed);
    received
}

/// The driver's device, with the frames that arrive noted.
pub(super) struct Device(pub(super) NetDriver<'static>);

impl Driver for Device {
    type RxToken<'a> = <NetDriver<'static> as Driver>::RxToken<'a>;
    type TxToken<'a> = <NetDriver<'static> as Driver>::TxToken<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let tokens = self.0.receive(cx);
        if tokens.is_some() {
            RECEIVED.store(true, Ordering::Relaxed);
        }
        tokens
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        self.0.transmit(cx)
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.0.link_state(cx)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.0.hardware_address()
    }
}

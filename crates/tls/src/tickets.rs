//! The newest session ticket of the one server that a connector talks to.

use alloc::boxed::Box;
use core::cell::Cell;
use core::fmt;
use critical_section::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// Room for one ticket. A ticket is taken out to be used (RFC 8446, appendix C.4: never twice), and the server sends
/// the next one on the connection that was made with it.
pub(crate) struct Newest(Mutex<Cell<Option<Box<Tls13ClientSessionValue>>>>);

impl Newest {
    pub(crate) const fn empty() -> Self {
        Self(Mutex::new(Cell::new(None)))
    }

    fn replace(&self, with: Option<Box<Tls13ClientSessionValue>>) -> Option<Box<Tls13ClientSessionValue>> {
        critical_section::with(|section| self.0.borrow(section).replace(with))
    }
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Newest")
    }
}

impl ClientSessionStore for Newest {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        drop(self.replace(Some(Box::new(ticket))));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.replace(None).map(|ticket| *ticket)
    }
}

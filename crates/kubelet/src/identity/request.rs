//! One certificate, from the request to the record that is kept.
//!
//! A node cannot delete a CertificateSigningRequest, so each that is left behind waits for an administrator for a day. The key of
//! a request and its name are therefore stored before it is sent: whatever ends the run, the next one goes on with it. That is
//! one write for each request, and one for the certificate that comes of it.

use super::IdentityController;
use super::failure::Failure;
use crate::apart::apart;
use crate::backoff::Backoff;
use crate::client::Wanted;
use crate::host::Host;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::fmt;
use core::net::IpAddr;
use picolet_kube::Timestamp;
use picolet_kube::certificate::{self, CERTIFICATE_BYTES, CertificateSigningRequest, Decision, Signer};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{
    Clock, Duration, Entropy, Identities, IdentityError, LONGEST_RECORD, Level, Log, Network, Purpose,
    Record, Records,
};
use zeroize::Zeroizing;

/// Delay before the request is read for the first time, and the longest between two reads.
const FIRST_READ: Duration = Duration::from_millis(250);
const READS: Duration = Duration::from_secs(5);
/// After which a request that waits is a warning: whoever approves by a controller or by `picolet approve` does so before.
const LONG_WAIT: Duration = Duration::from_secs(30);
/// A certificate that is being requested. Its record is all of it, in this order.
pub(super) struct Pending {
    /// What its CertificateSigningRequest's name ends with.
    suffix: [u8; 4],
    /// The address that it is for, as IPv6. For a client certificate it is who requests it: `::` for the node, `::1` for whoever
    /// has its token. Who approves the requests of one need not approve those of the other.
    subject: [u8; 16],
    /// The private key (PKCS#8, DER); empty until it is generated.
    pub(super) key: Zeroizing<Vec<u8>>,
}

/// An address as IPv6; `::` stands for none.
pub(super) fn octets(address: Option<IpAddr>) -> [u8; 16] {
    match address {
        None => [0; 16],
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(address)) => address.octets(),
    }
}

impl Pending {
    fn new(platform: &impl Entropy, subject: [u8; 16]) -> Self {
        let mut suffix = [0; 4];
        platform.fill(&mut suffix);
        Self {
            suffix,
            subject,
            key: Zeroizing::default(),
        }
    }

    /// Reads what [`Pending::to_record`] has written.
    fn from_record(record: &[u8]) -> Option<Self> {
        let (suffix, rest) = record.split_first_chunk()?;
        let (subject, key) = rest.split_first_chunk()?;
        Some(Self {
            suffix: *suffix,
            subject: *subject,
            key: Zeroizing::new(key.to_vec()),
        })
    }

    fn to_record(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&self.suffix[..], &self.subject, &self.key].concat())
    }

    /// Whether it is for a serving certificate with this address.
    pub(super) fn is_for(&self, address: Option<IpAddr>) -> bool {
        self.subject == octets(address)
    }

    /// The name of its CertificateSigningRequest.
    fn name(&self, node: &str, purpose: Purpose) -> String {
        let suffix = u32::from_be_bytes(self.suffix);
        let mut name = String::from(node);
        let _ = fmt::write(&mut name, format_args!("-{}-{suffix:08x}", purpose.as_str()));
        name
    }
}

const fn record(purpose: Purpose) -> Record {
    match purpose {
        Purpose::Client => Record::ClientIdentity,
        Purpose::Serving => Record::ServingIdentity,
    }
}

const fn pending_record(purpose: Purpose) -> Record {
    match purpose {
        Purpose::Client => Record::PendingClient,
        Purpose::Serving => Record::PendingServing,
    }
}

impl<H: Host> IdentityController<'_, H> {
    /// Uses what was kept when the node ran before, and goes on with what it had requested.
    pub(super) async fn restore(&self, purpose: Purpose) {
        let mut kept = Zeroizing::new(Vec::new());
        kept.resize(LONGEST_RECORD, 0);
        if let Some(length) = self.machine.load(record(purpose), &mut kept).await {
            let name = &self.node.name;
            let restored = self.network.identities().restore(purpose, name, &kept[..length]);
            if let Err(error) = restored {
                self.machine.log(
                    Level::Warn,
                    format_args!("the {} certificate that was kept: {error}", purpose.as_str()),
                );
            }
        }
        if let Some(length) = self.machine.load(pending_record(purpose), &mut kept).await {
            self.certificates.state.borrow_mut().pending[purpose as usize] =
                Pending::from_record(&kept[..length]);
        }
    }

    /// Has a new certificate issued to the node, and uses it from then on. Takes as long as it takes to be approved, or until
    /// `patience` is at its end.
    pub(super) async fn obtain(&self, purpose: Purpose, patience: Option<Duration>) -> Result<(), Failure> {
        let name = &*self.node.name;
        let address = self.network.address().filter(|_| purpose == Purpose::Serving);
        let kept = self.certificates.state.borrow_mut().pending[purpose as usize].take();
        let mut subject = octets(address);
        if purpose == Purpose::Client {
            subject[15] = self.client.credentials.has_authorization().into();
        }
        let mut pending = match kept {
            Some(pending) if pending.subject == subject => pending,
            _ => Pending::new(self.machine, subject),
        };
        let on_k3s = self.certificates.state.borrow().k3s;
        let signed = if on_k3s {
            Box::pin(self.sign_by_k3s(purpose, &mut pending)).await
        } else {
            Box::pin(self.sign(purpose, address, &mut pending, patience)).await
        };
        let adopted = signed.and_then(|chain| {
            let identities = self.network.identities();
            Ok(identities.adopt(purpose, name, &pending.key, &chain, self.time.now().seconds())?)
        });
        let record = match adopted {
            Ok(record) => Zeroizing::new(record),
            Err(failure) => {
                if !failure.ends_request() {
                    self.certificates.state.borrow_mut().pending[purpose as usize] = Some(pending);
                }
                return Err(failure);
            }
        };
        // A bootstrap token gets a certificate for any name. What is stored counts as proof that the name is this node's.
        if purpose == Purpose::Client && !self.node.is_registered() {
            self.certificates.state.borrow_mut().unconfirmed = Some(record);
        } else {
            self.store(purpose, &record).await;
        }
        let until = self
            .network
            .identities()
            .lifetime(purpose)
            .map_or(0, |lifetime| lifetime.not_after);
        self.machine.log(
            Level::Info,
            format_args!(
                "a new {} certificate, valid until {}",
                purpose.as_str(),
                Timestamp::from_seconds(until).time()
            ),
        );
        self.node.outdated.signal(());
        Ok(())
    }

    /// The node is registered: keeps the client certificate that was issued to the bootstrap token, and has the serving certificate
    /// looked at.
    pub(crate) async fn confirm(&self) {
        let record = self.certificates.state.borrow_mut().unconfirmed.take();
        if let Some(record) = record {
            self.store(Purpose::Client, &record).await;
        }
        self.certificates.changed.signal(());
    }

    /// Keeps a certificate and its key, and then no longer what it was requested by.
    async fn store(&self, purpose: Purpose, kept: &[u8]) {
        let mut stored = self.machine.store(record(purpose), kept).await;
        // On k3s too: it may have been requested of Kubernetes before.
        if stored.is_ok() {
            stored = self.machine.store(pending_record(purpose), &[]).await;
        }
        if let Err(error) = stored {
            self.machine.log(
                Level::Error,
                format_args!(
                    "the {} certificate is not kept over a restart: {error}",
                    purpose.as_str()
                ),
            );
        }
    }

    /// Has a request approved and signed by the signers of Kubernetes, and returns the certificates (PEM). One that an earlier try
    /// or run has sent is found by its name.
    async fn sign(
        &self,
        purpose: Purpose,
        address: Option<IpAddr>,
        pending: &mut Pending,
        patience: Option<Duration>,
    ) -> Result<Vec<u8>, Failure> {
        let name = pending.name(&self.node.name, purpose);
        let until = patience.map(|patience| self.machine.uptime() + patience);
        let mut may_be_sent = !pending.key.is_empty();
        loop {
            if !may_be_sent {
                self.send(purpose, address, pending, &name).await?;
            }
            match apart(self.wait(purpose, &name, address, until)).await {
                Err(Failure::Gone) if may_be_sent => may_be_sent = false,
                signed => return decoded(signed?),
            }
        }
    }

    /// Stores a request and sends it.
    async fn send(
        &self,
        purpose: Purpose,
        address: Option<IpAddr>,
        pending: &mut Pending,
        name: &str,
    ) -> Result<(), Failure> {
        let node = &*self.node.name;
        let identities = self.network.identities();
        let request = identities.request(purpose, node, address, &mut pending.key)?;
        let record = pending.to_record();
        // That storage fails is reported when the certificate is to be stored.
        let _ = self.machine.store(pending_record(purpose), &record).await;
        drop(record);
        let encoded = Base64::encode_string(request.as_bytes());
        drop(request);
        let signer = match purpose {
            Purpose::Client => Signer::Client,
            Purpose::Serving => Signer::Serving,
        };
        let mut body = String::with_capacity(encoded.len() + 384);
        certificate::write(&mut body, name, signer, &encoded);
        drop(encoded);
        let create = Request {
            resource: Resource::CertificateSigningRequests,
            verb: Verb::Create,
            body: &body,
        };
        let named = Resource::CertificateSigningRequest(name);
        match self.client.create(&create, named, Wanted::Nothing).await {
            // An answer was lost; a certificate for another's request does not fit our key.
            Err(error) if error.code() == 409 => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// Waits until the request of that name is decided, and returns the base64 of the certificates that came of it. It is read now
    /// and then, over the connection that all requests share: a watch would be one connection more, for as long as nobody approves.
    async fn wait(
        &self,
        purpose: Purpose,
        request: &str,
        address: Option<IpAddr>,
        until: Option<Duration>,
    ) -> Result<Vec<u8>, Failure> {
        let mut pause = Backoff::new(FIRST_READ, READS);
        let mut approved = false;
        let mut warn_at = Some(self.machine.uptime() + LONG_WAIT);
        loop {
            pause.wait(self.machine).await;
            // A certificate for an address that is no longer ours would be of no use.
            let current = self.network.address();
            if purpose == Purpose::Serving && current.is_some() && current != address {
                return Err(Failure::Outdated);
            }
            let mut answer = CertificateSigningRequest::default();
            let question = Request::get(Resource::CertificateSigningRequest(request));
            let answered = self.client.get(&question, &mut answer).await;
            let late = until.is_some_and(|until| self.machine.uptime() >= until);
            match answered {
                Ok(()) => {}
                Err(error) => match error.code() {
                    404 => return Err(Failure::Gone),
                    401 | 403 => return Err(error.into()),
                    _ if late => return Err(error.into()),
                    // The API server is away, or busy.
                    _ => continue,
                },
            }
            match answer.decision {
                Decision::Denied(why) => return Err(Failure::Denied(why)),
                Decision::Failed(why) => return Err(Failure::Failed(why)),
                _ if answer.too_long => {
                    // As base64 of PEM it is 16/9 of its length at least.
                    return Err(IdentityError::TooLong(CERTIFICATE_BYTES / 16 * 9).into());
                }
                _ if !answer.certificate.is_empty() => return Ok(answer.certificate),
                _ if late => return Err(Failure::Undecided),
                Decision::Pending => {
                    let long = self.is_over(&mut warn_at);
                    self.report_progress(purpose, request, false, long);
                }
                // Signers take a moment, which is not worth a line.
                Decision::Approved if core::mem::replace(&mut approved, true) => {
                    let long = self.is_over(&mut warn_at);
                    self.report_progress(purpose, request, true, long);
                }
                // From here on it waits for another.
                Decision::Approved => warn_at = Some(self.machine.uptime() + LONG_WAIT),
            }
        }
    }

    /// Whether the uptime of `deadline` is reached, which is then taken.
    fn is_over(&self, deadline: &mut Option<Duration>) -> bool {
        deadline.take_if(|at| self.machine.uptime() >= *at).is_some()
    }
}

/// What `text` is the base64 of, in its place.
pub(super) fn decoded(mut text: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let length = Base64::decode_in_place(&mut text)
        .map_err(|_| Failure::Answer)?
        .len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn pending_request_is_read_back_as_it_was_stored() {
        for address in [None, Some("192.0.2.15"), Some("2001:db8::15")] {
            let pending = Pending {
                suffix: [0, 0xa1, 2, 3],
                subject: octets(address.map(|address| address.parse().expect("an address"))),
                key: Zeroizing::new(vec![7; 67]),
            };
            let read = Pending::from_record(&pending.to_record()).expect("it is whole");
            assert_eq!(
                (read.suffix, read.subject, &read.key),
                (pending.suffix, pending.subject, &pending.key)
            );
            assert_eq!(read.name("pico-1", Purpose::Serving), "pico-1-serving-00a10203");
        }
        assert!(Pending::from_record(&[1; 19]).is_none());
    }
}

//! What a person is told about certificates: the log, and the condition `CertificatesValid`.

use super::IdentityController;
use super::failure::Failure;
use crate::host::Host;
use crate::node::{Condition, Reporter};
use alloc::string::String;
use core::fmt;
use picolet_kube::Timestamp;
use picolet_platform::{Identities, Level, Log, Network, Purpose};

impl<H: Host> IdentityController<'_, H> {
    /// Reports what a request waits for, as a warning once it waits for long. What is renewed in good time is not worth a line.
    pub(super) fn report_progress(&self, purpose: Purpose, request: &str, approved: bool, long: bool) {
        let valid = self.is_valid(purpose);
        if valid && purpose == Purpose::Client && !approved {
            return;
        }
        let name = &*self.node.name;
        let is_open = self.certificates.state.borrow().presents_old
            || self.network.identities().lifetime(Purpose::Serving).is_some();
        let mut words = String::new();
        let _ = match purpose {
            _ if approved => fmt::write(
                &mut words,
                format_args!(
                    "certificate signing request {request} is approved, waiting for the signer (kube-controller-manager's csrsigning controller)"
                ),
            ),
            Purpose::Client => fmt::write(
                &mut words,
                format_args!(
                    "the client certificate waits for approval: kubectl certificate approve {request}, or once for all boards kubectl apply -f deploy/bootstrap.yaml"
                ),
            ),
            // One that has expired, or is of another CA, is presented until then.
            Purpose::Serving if is_open => fmt::write(
                &mut words,
                format_args!("the new serving certificate waits for approval: picolet approve {name}"),
            ),
            Purpose::Serving => fmt::write(
                &mut words,
                format_args!(
                    "the kubelet port is closed until its certificate is approved: picolet approve {name}, or kubectl certificate approve {request}"
                ),
            ),
        };
        let long = long && !valid;
        self.report_at(
            if long { Level::Warn } else { Level::Info },
            long,
            purpose,
            Some(words),
        );
    }

    pub(super) fn report_failure(&self, purpose: Purpose, failure: &Failure) {
        // Another try follows. What a request waits for is reported already.
        if matches!(failure, Failure::Gone | Failure::Outdated | Failure::Undecided) {
            return;
        }
        let mut words = String::new();
        let on_k3s = self.certificates.state.borrow().k3s;
        failure.write(purpose, on_k3s, &mut words);
        self.report(purpose, Some(words));
    }

    /// Reports that a renewal has gained nothing.
    pub(super) fn report_limit(&self, purpose: Purpose) {
        let mut words = String::new();
        let _ = fmt::write(
            &mut words,
            format_args!(
                "the new {} certificate is not valid for longer than the one before: the CA is about to expire; renew it",
                purpose.as_str()
            ),
        );
        self.report(purpose, Some(words));
    }

    /// Logs what is the matter, unless that was said before, and has the status tell it, or that nothing is.
    pub(super) fn report(&self, purpose: Purpose, words: Option<String>) {
        let level = if self.is_valid(purpose) {
            Level::Info
        } else {
            Level::Warn
        };
        self.report_at(level, false, purpose, words);
    }

    /// The same at this level, and `again` where it was logged before at another.
    fn report_at(&self, level: Level, again: bool, purpose: Purpose, words: Option<String>) {
        let words = words.map(String::into_boxed_str);
        let mut certificates = self.certificates.state.borrow_mut();
        let trouble = &mut certificates.trouble[purpose as usize];
        let changed = *trouble != words;
        if changed || again {
            *trouble = words;
            if let Some(words) = trouble {
                self.machine.log(level, format_args!("{words}"));
            }
            self.node.outdated.signal(());
        }
    }
}

impl<H: Host> Reporter for IdentityController<'_, H> {
    /// The condition `CertificatesValid`. `None` where others see to certificates.
    fn condition(&self, words: &mut String) -> Option<Condition> {
        let condition = |valid: bool, reason| Condition {
            kind: "CertificatesValid",
            status: valid.into(),
            reason,
        };
        self.settings.join.as_ref()?;
        let certificates = self.certificates.state.borrow();
        if let Some(trouble) = certificates.trouble.iter().flatten().next() {
            words.push_str(trouble);
            let usable = self.is_valid(Purpose::Client) && self.is_valid(Purpose::Serving);
            return Some(condition(
                usable,
                if usable {
                    "RenewalPending"
                } else {
                    "CertificateMissing"
                },
            ));
        }
        for (index, purpose) in [Purpose::Client, Purpose::Serving].into_iter().enumerate() {
            let lifetime = self.network.identities().lifetime(purpose);
            let Some(lifetime) = lifetime.filter(|_| self.is_valid(purpose)) else {
                words.clear();
                words.push_str("the serving certificate is about to be asked for");
                return Some(condition(false, "CertificateMissing"));
            };
            let before = if index == 0 { "" } else { ", " };
            let until = Timestamp::from_seconds(lifetime.not_after);
            let _ = fmt::write(
                words,
                format_args!("{before}{} certificate until {}", purpose.as_str(), until.time()),
            );
        }
        Some(condition(true, "CertificatesValid"))
    }
}

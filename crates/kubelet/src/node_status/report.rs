//! What the node says of itself at a moment.

use super::StatusController;
use crate::fingerprint;
use crate::host::Host;
use crate::node::{ARCHITECTURE, OPERATING_SYSTEM, amounts};
use crate::settings::VERSION;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use picolet_kube::Address;
use picolet_kube::Timestamp;
use picolet_kube::node::{
    CONDITIONS, ConditionReport, Node, StatusReport, SystemInfo, Truth, write_status_patch,
};
use picolet_platform::{Network, System};
use picolet_runtime::Runtime;

impl<H: Host> StatusController<'_, H> {
    /// The patch of this moment, its hash but for the time, and whether the API server has other conditions.
    pub(super) fn render(&self) -> (String, u64, bool) {
        // What a status takes, so that it need not grow by doubling.
        let mut body = String::with_capacity(3072);
        let mut hash = 0;
        let mut differs = false;
        let node = self.node.object.borrow();
        self.with_report(&node, &mut |report| {
            let is_reported = |kind: &str| report.conditions.iter().any(|ours| ours.kind == kind);
            // What an earlier run or other settings have left there.
            let stale: heapless::Vec<&str, { CONDITIONS.len() }> = (node.conditions.iter())
                .map(|theirs| &*theirs.kind)
                .filter(|kind| !is_reported(kind))
                .collect();
            differs = node.boot_id.as_ref() != report.info.boot_id
                || !stale.is_empty()
                || report.conditions.iter().any(|ours| {
                    !node
                        .conditions
                        .iter()
                        .any(|theirs| &*theirs.kind == ours.kind && theirs.status == ours.status)
                });
            write_status_patch(
                &mut body,
                &StatusReport {
                    heartbeat: Timestamp::default(),
                    ..*report
                },
                &stale,
            );
            hash = fingerprint::of(body.bytes());
            body.clear();
            write_status_patch(&mut body, report, &stale);
        });
        // It is kept until it is answered, with the Node that the answer is beside it.
        body.shrink_to_fit();
        (body, hash, differs)
    }

    /// Makes the report of this moment. A condition that is in `node`, as the API server has it, and has not flipped keeps
    /// its time.
    pub(super) fn with_report(&self, node: &Node, use_it: &mut dyn FnMut(&StatusReport<'_>)) {
        let now = self.time.now();
        let machine = self.machine.machine();
        let capacity = amounts(self.settings, self.machine, false);
        let allocatable = amounts(self.settings, self.machine, true);
        let address = self.network.address();
        let mut address_text = String::new();
        if let Some(address) = address {
            let _ = write!(address_text, "{}", Address(address));
        }
        let mut wifi_text = String::new();
        let signal = self.network.rssi_dbm();
        if let Some(dbm) = signal {
            // In steps of 5 dB: a signal never stands still.
            let _ = write!(
                wifi_text,
                "about {} dBm",
                i64::from(i32::from(dbm).div_euclid(5) * 5)
            );
        }
        let mut words = Vec::with_capacity(self.reporters.len());
        for reporter in self.reporters {
            let mut message = String::new();
            if let Some(condition) = reporter.condition(&mut message) {
                words.push((condition, message));
            }
        }

        let mut conditions = heapless::Vec::<ConditionReport<'_>, { CONDITIONS.len() }>::new();
        let mut add = |kind: &'static str, status: Truth, reason, message| {
            let known = node
                .conditions
                .iter()
                .find(|c| &*c.kind == kind && c.status == status);
            // One that is ahead was written by a clock that was wrong.
            let last_transition = known.and_then(|c| c.last_transition).unwrap_or(now).min(now);
            // There are fewer kinds than places.
            let _ = conditions.push(ConditionReport {
                kind,
                status,
                reason,
                message,
                last_transition,
            });
        };
        if self.health.has_memory_pressure() {
            add(
                "MemoryPressure",
                Truth::True,
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            );
        } else {
            add(
                "MemoryPressure",
                Truth::False,
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            );
        }
        let full =
            self.machine.storage_used_bytes().saturating_mul(100) >= machine.storage_bytes.saturating_mul(95);
        if full && machine.storage_bytes > 0 {
            add(
                "DiskPressure",
                Truth::True,
                "KubeletHasDiskPressure",
                "kubelet has disk pressure",
            );
        } else {
            add(
                "DiskPressure",
                Truth::False,
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            );
        }
        add(
            "PIDPressure",
            Truth::False,
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        );
        add(
            "Ready",
            Truth::True,
            "KubeletReady",
            "kubelet is posting ready status",
        );
        for (condition, message) in &words {
            add(condition.kind, condition.status, condition.reason, message);
        }
        if let Some(dbm) = signal {
            let good = dbm >= -75;
            add(
                "WifiSignal",
                good.into(),
                if good { "SignalGood" } else { "SignalWeak" },
                &wifi_text,
            );
        }
        use_it(&StatusReport {
            name: &self.node.name,
            address: &address_text,
            port: self.identity.reported_port(),
            capacity: &capacity,
            allocatable: &allocatable,
            info: SystemInfo {
                machine_id: machine.machine_id,
                system_uuid: machine.system_uuid,
                boot_id: machine.boot_id,
                kernel_version: machine.kernel_version,
                os_image: machine.os_image,
                container_runtime_version: self.runtime.version(),
                kubelet_version: VERSION,
                operating_system: OPERATING_SYSTEM,
                architecture: ARCHITECTURE,
            },
            conditions: &conditions,
            heartbeat: now,
        });
    }
}

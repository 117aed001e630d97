//! Figures of the node: `/metrics`, `/metrics/resource`, `/stats/summary`.
//!
//! Prometheus's text format, in base units, with Kubernetes' own names where they mean the same
//! (`pkg/kubelet/server/metrics`, `pkg/kubelet/metrics/collectors/resource_metrics.go`) and `picolet_` before the rest.
//! No label has a value that a caller chooses.

use crate::firmware::letter;
use crate::host::Host;
use crate::metrics::{BUCKETS_MS, Histogram};
use crate::server::Server;
use crate::server::response::{Answer, METRICS, Quoted};
use crate::settings::VERSION;
use alloc::string::String;
use core::cell::Cell;
use core::fmt::{self, Display, Write as _};
use picolet_kube::Timestamp;
use picolet_platform::{Clock, Duration, Identities, Memory, Network, Purpose, Sensors, System};

/// Counters of requests that are written at once.
const REQUESTS_AT_ONCE: usize = 8;

/// A number with so many digits behind the point.
pub(super) struct Decimal(pub(super) i64, pub(super) u32);

impl Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10u64.pow(self.1);
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / scale)?;
        if self.1 > 0 {
            write!(f, ".{:0width$}", magnitude % scale, width = self.1 as usize)?;
        }
        Ok(())
    }
}

/// Milliseconds as seconds, with no more digits than it takes.
fn seconds(millis: u32) -> Decimal {
    let (mut value, mut digits) = (millis, 3);
    while digits > 0 && value % 10 == 0 {
        value /= 10;
        digits -= 1;
    }
    Decimal(i64::from(value), digits)
}

/// Writes Prometheus's text format.
struct Exposition<'a> {
    out: &'a mut String,
    /// Of the family whose samples are written.
    name: &'static str,
    /// When the samples were taken, where that is told, in milliseconds since the epoch.
    taken: Option<u64>,
}

impl<'a> Exposition<'a> {
    fn new(out: &'a mut String) -> Self {
        Self {
            out,
            name: "",
            taken: None,
        }
    }

    /// Begins a family of samples: its name, its type and what it is, a space between each.
    // A line in one piece takes a third less flash than its parts, at each of the places that begin one.
    fn family(&mut self, family: &'static str) {
        let (name, rest) = family.split_once(' ').unwrap_or((family, ""));
        let (kind, help) = rest.split_once(' ').unwrap_or_default();
        self.name = name;
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes one sample. `labels` begin with the series' suffix, where it has one; no label's value needs an escape.
    fn sample(&mut self, labels: fmt::Arguments<'_>, value: Decimal) {
        let _ = write!(self.out, "{}{labels} {value}", self.name);
        if let Some(taken) = self.taken {
            let _ = write!(self.out, " {taken}");
        }
        self.out.push('\n');
    }

    /// A family of one sample, with so many digits behind the point.
    #[inline(never)]
    fn decimal(&mut self, family: &'static str, value: u64, digits: u32) {
        self.family(family);
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.sample(format_args!(""), Decimal(value, digits));
    }

    /// A family of one sample in microseconds, written as seconds.
    fn micros(&mut self, family: &'static str, micros: u64) {
        self.decimal(family, micros, 6);
    }

    fn whole(&mut self, family: &'static str, value: u64) {
        self.decimal(family, value, 0);
    }

    /// Writes one sample of whole numbers.
    #[inline(never)]
    fn count(&mut self, labels: fmt::Arguments<'_>, count: u32) {
        self.sample(labels, Decimal(i64::from(count), 0));
    }

    /// A family with a sample for each result.
    fn results(&mut self, family: &'static str, results: &[(&str, u32)]) {
        self.family(family);
        for (result, count) in results {
            self.count(format_args!("{{result=\"{result}\"}}"), *count);
        }
    }

    fn histogram(&mut self, family: &'static str, histogram: &Histogram) {
        self.family(family);
        let mut count = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            count += bucket.get();
            match BUCKETS_MS.get(index) {
                Some(millis) => {
                    self.count(format_args!("_bucket{{le=\"{}\"}}", seconds(*millis)), count);
                }
                None => self.count(format_args!("_bucket{{le=\"+Inf\"}}"), count),
            }
        }
        let sum = i64::try_from(histogram.sum_micros.get()).unwrap_or(i64::MAX);
        self.sample(format_args!("_sum"), Decimal(sum, 6));
        self.count(format_args!("_count"), count);
    }
}

/// How busy the processor was since it was last asked.
#[derive(Default)]
pub(super) struct CpuUsage {
    /// Uptime and processor time then, in microseconds.
    last: Cell<(u64, u64)>,
    nano_cores: Cell<u64>,
}

/// Shorter than this is no time to measure over.
const CPU_WINDOW_MICROS: u64 = 1_000_000;

impl CpuUsage {
    /// Billionths of a core.
    fn nano_cores(&self, uptime: Duration, cpu_micros: u64) -> u64 {
        let now = uptime.as_micros();
        let (then, used) = self.last.get();
        let passed = now.saturating_sub(then);
        if passed >= CPU_WINDOW_MICROS {
            let busy = cpu_micros.saturating_sub(used);
            self.nano_cores
                .set(busy.saturating_mul(1_000_000) / (passed / 1000));
            self.last.set((now, cpu_micros));
        }
        self.nano_cores.get()
    }
}

impl<H: Host> Server<'_, H> {
    /// Memory that is in use: what the machine has but for what is free. Never 0, which would be taken for missing.
    fn working_set_bytes(&self) -> u64 {
        let machine = self.node.machine;
        let memory = machine.machine().memory_bytes;
        let used = machine.used_bytes();
        let used = used.unwrap_or_else(|| memory.saturating_sub(machine.heap().free()));
        used.clamp(1, memory)
    }

    /// Processor time that was used. Never 0, for the same reason.
    fn cpu_micros(&self) -> u64 {
        self.node.machine.cpu_micros().max(1)
    }

    fn started(&self) -> Timestamp {
        let uptime = self.node.machine.uptime().as_micros();
        Timestamp::from_micros(self.node.time.now().micros().saturating_sub(uptime))
    }

    /// `/metrics`
    pub(super) fn metrics(&self) -> Answer<'_> {
        let mut group = 0;
        Answer::pieces(METRICS, move |out| {
            let mut w = Exposition::new(out);
            match group {
                0 => self.write_machine(&mut w),
                1 => self.write_node(&mut w),
                2 => self.write_api_client(&mut w),
                3 => self.write_configuration(&mut w),
                4 => self.write_network(&mut w),
                5 => self.write_server(&mut w),
                6 => self.write_firmware(&mut w),
                more => return self.write_requests(&mut w, more - 7, &mut group),
            }
            group += 1;
            true
        })
    }

    fn write_machine(&self, w: &mut Exposition<'_>) {
        let machine = self.node.machine;
        let heap = machine.heap();
        w.whole(
            "node_memory_free_bytes gauge Memory that is free, in bytes.",
            heap.free(),
        );
        w.micros(
            "node_uptime_seconds gauge Time since the device or the process started.",
            machine.uptime().as_micros(),
        );
        if let Some(temperature) = machine.temperature_millicelsius() {
            w.family("node_temperature_celsius gauge Temperature of the chip.");
            w.sample(format_args!(""), Decimal(i64::from(temperature), 3));
        }
        if let Some(dbm) = self.node.network.rssi_dbm() {
            w.family("node_wifi_rssi_dbm gauge Signal strength of the Wi-Fi network.");
            w.sample(format_args!(""), Decimal(i64::from(dbm), 0));
        }
        w.whole("picolet_heap_size_bytes gauge The whole heap.", heap.total);
        w.whole(
            "picolet_heap_used_bytes gauge What is handed out of the heap.",
            heap.used,
        );
        w.whole(
            "picolet_heap_peak_bytes gauge The most that was ever handed out of the heap.",
            heap.peak,
        );
        w.micros(
            "process_cpu_seconds_total counter Processor time that the node has used.",
            self.cpu_micros(),
        );
    }

    fn write_node(&self, w: &mut Exposition<'_>) {
        let node = &self.node;
        w.family("kubelet_node_name gauge The node's name. The count is always 1.");
        w.count(format_args!("{{node=\"{}\"}}", node.settings.node_name), 1);
        let pods = node.pods.borrow();
        w.whole(
            "kubelet_running_pods gauge Number of pods that run.",
            pods.running() as u64,
        );
        let (admitted, refused) = pods.admissions();
        w.results(
            "picolet_pod_admissions_total counter Pods by whether they were let in.",
            &[("admitted", admitted), ("refused", refused)],
        );
        w.micros(
            "process_start_time_seconds gauge Start time of the process since the Unix epoch.",
            self.started().micros(),
        );
        for (purpose, family) in [
            (
                Purpose::Client,
                "kubelet_certificate_manager_client_expiration_seconds gauge When the client certificate ends, since the Unix epoch.",
            ),
            (
                Purpose::Serving,
                "kubelet_certificate_manager_server_expiration_seconds gauge When the serving certificate ends, since the Unix epoch.",
            ),
        ] {
            if let Some(lifetime) = node.network.identities().lifetime(purpose) {
                w.whole(family, lifetime.not_after);
            }
        }
        w.family("picolet_build_info gauge The version that runs. The value is always 1.");
        let machine = node.machine.machine();
        w.count(
            format_args!(
                "{{version=\"{VERSION}\",board=\"{}\",mcu=\"{}\"}}",
                machine.board, machine.mcu
            ),
            1,
        );
        w.family("picolet_reset_info gauge Why the device started. The value is always 1.");
        let reason = node.machine.reset_reason().as_str();
        w.count(format_args!("{{reason=\"{reason}\"}}"), 1);
        if let Some((_, at)) = node.health.heartbeat() {
            w.micros(
                "picolet_last_heartbeat_timestamp_seconds gauge When the API server last took a Lease or a status.",
                at.micros(),
            );
        }
        w.histogram(
            "picolet_lease_renewal_duration_seconds histogram How long renewing the Lease took.",
            &node.metrics.lease_latency,
        );
    }

    fn write_firmware(&self, w: &mut Exposition<'_>) {
        let Some(firmware) = self.node.machine.firmware() else {
            return;
        };
        let (slots, metrics, mut version) = (firmware.slots(), self.node.metrics, String::new());
        let name = firmware.identify(slots.running(), &mut version);
        let digest = name.map_or(0, |name| u32::from_be_bytes(name.to_bytes()));
        w.family("picolet_firmware_info gauge The firmware that runs. The value is always 1.");
        w.count(
            format_args!(
                "{{version=\"{version}\",digest=\"{digest:08x}\",slot=\"{}\",state=\"{}\"}}",
                letter(slots.running()),
                if slots.is_on_trial() { "trial" } else { "confirmed" }
            ),
            1,
        );
        w.results(
            "picolet_firmware_updates_total counter Firmware updates by what came of them since the start.",
            &[
                ("confirmed", metrics.firmware_confirmed.get()),
                ("reverted", metrics.firmware_reverted.get()),
                ("repeated", metrics.firmware_repeated.get()),
                ("refused", firmware.refused()),
            ],
        );
    }

    fn write_api_client(&self, w: &mut Exposition<'_>) {
        let metrics = &self.node.metrics;
        w.histogram(
            "picolet_api_request_duration_seconds histogram How long requests to the API server took, watches apart.",
            &metrics.api_latency,
        );
        w.results(
            "picolet_api_requests_total counter Requests to the API server by what came of them.",
            &[
                ("ok", metrics.api_ok.get()),
                ("refused", metrics.api_refused.get()),
                ("conflict", metrics.api_conflict.get()),
                ("throttled", metrics.api_throttled.get()),
                ("failed", metrics.api_failed.get()),
            ],
        );
        w.whole(
            "picolet_watches_total counter Watches that were begun.",
            metrics.watches.get().into(),
        );
        w.whole(
            "picolet_lists_total counter Lists that were read before a watch.",
            metrics.relists.get().into(),
        );
    }

    fn write_configuration(&self, w: &mut Exposition<'_>) {
        let metrics = &self.node.metrics;
        w.results(
            "picolet_configuration_changes_total counter Changes of ConfigMaps by what came of them.",
            &[
                ("applied", metrics.configuration_applied.get()),
                ("rejected", metrics.configuration_rejected.get()),
            ],
        );
        w.whole(
            "picolet_configuration_layers gauge ConfigMaps that are followed.",
            self.node.devices.layers() as u64,
        );
        w.whole(
            "picolet_events_dropped_total counter Events that were dropped because too many came at once.",
            metrics.events_dropped.get().into(),
        );
    }

    fn write_network(&self, w: &mut Exposition<'_>) {
        let figures = self.node.network.figures();
        w.family(
            "picolet_tls_handshakes_total counter TLS handshakes that succeeded, by the node's role and whether a session was resumed.",
        );
        for (role, kind, count) in [
            ("client", "full", figures.handshakes_client_full),
            ("client", "resumed", figures.handshakes_client_resumed),
            ("server", "full", figures.handshakes_server),
        ] {
            w.count(format_args!("{{role=\"{role}\",kind=\"{kind}\"}}"), count);
        }
        w.whole(
            "picolet_tls_handshake_failures_total counter TLS handshakes that failed.",
            figures.handshakes_failed.into(),
        );
    }

    fn write_server(&self, w: &mut Exposition<'_>) {
        let open = self.slots.iter().filter(|slot| slot.open.get()).count();
        w.whole(
            "picolet_server_connections gauge Connections to the kubelet API that are open.",
            open as u64,
        );
        w.whole(
            "picolet_server_connections_evicted_total counter Idle connections that were ended to make room.",
            self.evicted.get().into(),
        );
        w.whole(
            "picolet_server_connections_refused_total counter Connections that were turned away because there was no room.",
            self.turned_away.get().into(),
        );
        w.histogram(
            "kubelet_http_requests_duration_seconds histogram How long answering requests to the kubelet API took.",
            &self.duration,
        );
    }

    /// Writes a part of the counters of requests; returns whether there are more.
    fn write_requests(&self, w: &mut Exposition<'_>, part: usize, group: &mut usize) -> bool {
        *group += 1;
        w.name = "kubelet_http_requests_total";
        if part == 0 {
            w.family(
                "kubelet_http_requests_total counter Requests to the kubelet API by what was asked for and how it was answered.",
            );
        }
        let requests = self.requests.borrow();
        let first = part * REQUESTS_AT_ONCE;
        for request in requests.iter().skip(first).take(REQUESTS_AT_ONCE) {
            let (endpoint, code) = (request.route.name(), u32::from(request.code));
            w.count(
                format_args!("{{endpoint=\"{endpoint}\",code=\"{code}\"}}"),
                request.count,
            );
        }
        requests.len() > first + REQUESTS_AT_ONCE
    }

    /// `/metrics/resource`: what metrics-server reads for `kubectl top`.
    pub(super) fn metrics_resource(&self) -> Answer<'_> {
        let mut body = String::new();
        let mut w = Exposition::new(&mut body);
        w.taken = Some(self.node.time.now().micros() / 1000);
        w.micros(
            "node_cpu_usage_seconds_total counter Cumulative cpu time consumed by the node in core-seconds",
            self.cpu_micros(),
        );
        w.whole(
            "node_memory_working_set_bytes gauge Current working set of the node in bytes",
            self.working_set_bytes(),
        );
        w.taken = None;
        w.whole(
            "resource_scrape_error gauge 1 if there was an error while getting container metrics, 0 otherwise",
            0,
        );
        Answer::whole(200, METRICS, body)
    }

    /// `/stats/summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`).
    pub(super) fn stats_summary(&self) -> Answer<'_> {
        let machine = self.node.machine;
        let (now, cpu) = (self.node.time.now().time(), self.cpu_micros());
        let storage = machine.machine().storage_bytes;
        let used = machine.storage_used_bytes();
        Answer::json(format_args!(
            concat!(
                r#"{{"node":{{"nodeName":{},"startTime":"{}","#,
                r#""cpu":{{"time":"{now}","usageNanoCores":{},"usageCoreNanoSeconds":{}}},"#,
                r#""memory":{{"time":"{now}","availableBytes":{},"usageBytes":{set},"workingSetBytes":{set}}},"#,
                r#""fs":{{"time":"{now}","availableBytes":{},"capacityBytes":{},"usedBytes":{used}}}}},"pods":[]}}"#
            ),
            Quoted(&self.node.settings.node_name),
            self.started().time(),
            self.cpu.nano_cores(machine.uptime(), cpu),
            cpu.saturating_mul(1000),
            machine.heap().free(),
            storage.saturating_sub(used),
            storage,
            now = now,
            set = self.working_set_bytes(),
            used = used,
        ))
    }
}

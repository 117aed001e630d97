//! Figures of the node: `/metrics`, `/metrics/resource`, `/stats/summary`.
//!
//! Prometheus's text format, in base units, with Kubernetes' own names where they mean the same
//! (`pkg/kubelet/server/metrics`, `pkg/kubelet/metrics/collectors/resource_metrics.go`) and `picolet_` before the rest.
//! No label has a value that a caller chooses.

use crate::metrics::{BUCKETS_MS, Histogram};
use crate::pods::Runtime;
use crate::server::Server;
use crate::server::response::{Answer, METRICS, Quoted};
use crate::settings::VERSION;
use alloc::string::String;
use core::cell::Cell;
use core::fmt::{self, Display, Write as _};
use picolet_kube::Timestamp;
use picolet_platform::{Duration, Network, Platform};

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

fn micros(micros: u64) -> Decimal {
    Decimal(i64::try_from(micros).unwrap_or(i64::MAX), 6)
}

/// Writes Prometheus's text format.
struct Exposition<'a> {
    out: &'a mut String,
    /// When the samples were taken, where that is told, in milliseconds since the epoch.
    taken: Option<u64>,
}

impl<'a> Exposition<'a> {
    fn new(out: &'a mut String) -> Self {
        Self { out, taken: None }
    }

    /// Begins a family of samples.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes one sample; each label has its value behind it, none of which needs an escape.
    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: &dyn Display) {
        self.out.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let begin = if index == 0 { "{" } else { "," };
            let _ = write!(self.out, "{begin}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = write!(self.out, "{end} {value}");
        if let Some(taken) = self.taken {
            let _ = write!(self.out, " {taken}");
        }
        self.out.push('\n');
    }

    fn gauge(&mut self, name: &str, help: &str, value: &dyn Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: &dyn Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut series = String::from(name);
        series.push_str("_bucket");
        let mut count: u64 = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            count += u64::from(bucket.get());
            match BUCKETS_MS.get(index) {
                Some(millis) => self.sample(&series, &[("le", &seconds(*millis))], &count),
                None => self.sample(&series, &[("le", &"+Inf")], &count),
            }
        }
        series.truncate(name.len());
        series.push_str("_sum");
        self.sample(&series, &[], &micros(histogram.sum_micros.get()));
        series.truncate(name.len());
        series.push_str("_count");
        self.sample(&series, &[], &count);
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

impl<P: Platform, N: Network, R: Runtime> Server<'_, P, N, R> {
    /// Memory that is in use: what the machine has but for what is free. Never 0, which would be taken for missing.
    fn working_set_bytes(&self) -> u64 {
        let heap = self.agent.platform.heap();
        let memory = self.agent.platform.machine().memory_bytes.max(heap.total);
        memory.saturating_sub(heap.free()).max(1)
    }

    /// Processor time that was used. Never 0, for the same reason.
    fn cpu_micros(&self) -> u64 {
        self.agent.platform.cpu_micros().max(1)
    }

    fn started(&self) -> Timestamp {
        let uptime = self.agent.platform.uptime().as_micros();
        Timestamp::from_micros(self.agent.now().micros().saturating_sub(uptime))
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
                more => return self.write_requests(&mut w, more - 6, &mut group),
            }
            group += 1;
            true
        })
    }

    fn write_machine(&self, w: &mut Exposition<'_>) {
        let platform = &self.agent.platform;
        let heap = platform.heap();
        w.gauge(
            "node_memory_free_bytes",
            "Memory that is free, in bytes.",
            &heap.free(),
        );
        let up = platform.uptime();
        w.gauge(
            "node_uptime_seconds",
            "Time since the device or the process started.",
            &micros(up.as_micros()),
        );
        if let Some(temperature) = platform.temperature_millicelsius() {
            let value = Decimal(i64::from(temperature), 3);
            w.gauge("node_temperature_celsius", "Temperature of the chip.", &value);
        }
        if let Some(dbm) = self.agent.network.rssi_dbm() {
            w.gauge(
                "node_wifi_rssi_dbm",
                "Signal strength of the Wi-Fi network.",
                &i64::from(dbm),
            );
        }
        w.gauge("picolet_heap_size_bytes", "The whole heap.", &heap.total);
        w.gauge(
            "picolet_heap_used_bytes",
            "What is handed out of the heap.",
            &heap.used,
        );
        w.gauge(
            "picolet_heap_peak_bytes",
            "The most that was ever handed out of the heap.",
            &heap.peak,
        );
        w.counter(
            "process_cpu_seconds_total",
            "Processor time that the node has used.",
            &micros(self.cpu_micros()),
        );
    }

    fn write_node(&self, w: &mut Exposition<'_>) {
        let agent = self.agent;
        let name = "kubelet_node_name";
        w.family(name, "gauge", "The node's name. The count is always 1.");
        w.sample(name, &[("node", &agent.settings.node_name)], &1u32);
        w.gauge(
            "kubelet_running_pods",
            "Number of pods that run.",
            &agent.pods.borrow().running(),
        );
        let name = "picolet_pod_admissions_total";
        w.family(name, "counter", "Pods by whether they were let in.");
        let (admitted, refused) = agent.pods.borrow().admissions();
        for (result, number) in [("admitted", admitted), ("refused", refused)] {
            w.sample(name, &[("result", &result)], &number);
        }
        w.gauge(
            "process_start_time_seconds",
            "Start time of the process since the Unix epoch.",
            &micros(self.started().micros()),
        );
        let name = "picolet_build_info";
        w.family(name, "gauge", "The version that runs. The value is always 1.");
        let machine = agent.platform.machine();
        w.sample(
            name,
            &[
                ("version", &VERSION),
                ("board", &machine.board),
                ("mcu", &machine.mcu),
            ],
            &1u32,
        );
        let name = "picolet_reset_info";
        w.family(name, "gauge", "Why the device started. The value is always 1.");
        w.sample(
            name,
            &[("reason", &agent.platform.reset_reason().as_str())],
            &1u32,
        );
        if let Some((_, at)) = agent.metrics.last_heartbeat.get() {
            w.gauge(
                "picolet_last_heartbeat_timestamp_seconds",
                "When the API server last took a Lease or a status.",
                &micros(at.micros()),
            );
        }
        w.histogram(
            "picolet_lease_renewal_duration_seconds",
            "How long renewing the Lease took.",
            &agent.metrics.lease_latency,
        );
    }

    fn write_api_client(&self, w: &mut Exposition<'_>) {
        let metrics = &self.agent.metrics;
        w.histogram(
            "picolet_api_request_duration_seconds",
            "How long requests to the API server took, watches apart.",
            &metrics.api_latency,
        );
        let name = "picolet_api_requests_total";
        w.family(
            name,
            "counter",
            "Requests to the API server by what came of them.",
        );
        for (result, counter) in [
            ("ok", &metrics.api_ok),
            ("refused", &metrics.api_refused),
            ("conflict", &metrics.api_conflict),
            ("throttled", &metrics.api_throttled),
            ("failed", &metrics.api_failed),
        ] {
            w.sample(name, &[("result", &result)], &counter.get());
        }
        w.counter(
            "picolet_watches_total",
            "Watches that were begun.",
            &metrics.watches.get(),
        );
        w.counter(
            "picolet_lists_total",
            "Lists that were read before a watch.",
            &metrics.relists.get(),
        );
    }

    fn write_configuration(&self, w: &mut Exposition<'_>) {
        let metrics = &self.agent.metrics;
        let name = "picolet_configuration_changes_total";
        w.family(name, "counter", "Changes of ConfigMaps by what came of them.");
        for (result, counter) in [
            ("applied", &metrics.configuration_applied),
            ("rejected", &metrics.configuration_rejected),
        ] {
            w.sample(name, &[("result", &result)], &counter.get());
        }
        w.gauge(
            "picolet_configuration_layers",
            "ConfigMaps that are followed.",
            &self.agent.configuration.borrow().layers(),
        );
        w.counter(
            "picolet_events_dropped_total",
            "Events that were dropped because too many came at once.",
            &metrics.events_dropped.get(),
        );
    }

    fn write_network(&self, w: &mut Exposition<'_>) {
        let figures = self.agent.network.figures();
        let name = "picolet_tls_handshakes_total";
        w.family(
            name,
            "counter",
            "TLS handshakes that succeeded, by the node's role and whether a session was resumed.",
        );
        for (role, kind, count) in [
            ("client", "full", figures.handshakes_client_full),
            ("client", "resumed", figures.handshakes_client_resumed),
            ("server", "full", figures.handshakes_server),
        ] {
            w.sample(name, &[("role", &role), ("kind", &kind)], &count);
        }
        w.counter(
            "picolet_tls_handshake_failures_total",
            "TLS handshakes that failed.",
            &figures.handshakes_failed,
        );
    }

    fn write_server(&self, w: &mut Exposition<'_>) {
        let open = self.slots.iter().filter(|slot| slot.open.get()).count();
        w.gauge(
            "picolet_server_connections",
            "Connections to the kubelet API that are open.",
            &open,
        );
        w.counter(
            "picolet_server_connections_evicted_total",
            "Idle connections that were ended to make room.",
            &self.evicted.get(),
        );
        w.counter(
            "picolet_server_connections_refused_total",
            "Connections that were turned away because there was no room.",
            &self.turned_away.get(),
        );
        w.histogram(
            "kubelet_http_requests_duration_seconds",
            "How long answering requests to the kubelet API took.",
            &self.duration,
        );
    }

    /// Writes a part of the counters of requests; returns whether there are more.
    fn write_requests(&self, w: &mut Exposition<'_>, part: usize, group: &mut usize) -> bool {
        *group += 1;
        let name = "kubelet_http_requests_total";
        if part == 0 {
            w.family(
                name,
                "counter",
                "Requests to the kubelet API by what was asked for and how it was answered.",
            );
        }
        let requests = self.requests.borrow();
        let first = part * REQUESTS_AT_ONCE;
        for request in requests.iter().skip(first).take(REQUESTS_AT_ONCE) {
            let labels: [(&str, &dyn Display); 2] = [
                ("endpoint", &request.route.name()),
                ("code", &u32::from(request.code)),
            ];
            w.sample(name, &labels, &request.count);
        }
        requests.len() > first + REQUESTS_AT_ONCE
    }

    /// `/metrics/resource`: what metrics-server reads for `kubectl top`.
    pub(super) fn metrics_resource(&self) -> Answer<'_> {
        let mut body = String::new();
        let mut w = Exposition::new(&mut body);
        w.taken = Some(self.agent.now().micros() / 1000);
        w.counter(
            "node_cpu_usage_seconds_total",
            "Cumulative cpu time consumed by the node in core-seconds",
            &micros(self.cpu_micros()),
        );
        w.gauge(
            "node_memory_working_set_bytes",
            "Current working set of the node in bytes",
            &self.working_set_bytes(),
        );
        w.taken = None;
        w.gauge(
            "resource_scrape_error",
            "1 if there was an error while getting container metrics, 0 otherwise",
            &0u32,
        );
        Answer::whole(200, METRICS, body)
    }

    /// `/stats/summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`).
    pub(super) fn stats_summary(&self) -> Answer<'_> {
        let platform = &self.agent.platform;
        let (now, cpu) = (self.agent.now().time(), self.cpu_micros());
        let storage = platform.machine().storage_bytes;
        let used = platform.storage_used_bytes();
        Answer::json(format_args!(
            concat!(
                r#"{{"node":{{"nodeName":{},"startTime":"{}","#,
                r#""cpu":{{"time":"{now}","usageNanoCores":{},"usageCoreNanoSeconds":{}}},"#,
                r#""memory":{{"time":"{now}","availableBytes":{},"usageBytes":{set},"workingSetBytes":{set}}},"#,
                r#""fs":{{"time":"{now}","availableBytes":{},"capacityBytes":{},"usedBytes":{used}}}}},"pods":[]}}"#
            ),
            Quoted(&self.agent.settings.node_name),
            self.started().time(),
            self.cpu.nano_cores(platform.uptime(), cpu),
            cpu.saturating_mul(1000),
            platform.heap().free(),
            storage.saturating_sub(used),
            storage,
            now = now,
            set = self.working_set_bytes(),
            used = used,
        ))
    }
}

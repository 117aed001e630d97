//! `cargo xtask bench configmap`: how long it takes from a change of a ConfigMap, asked of a real kube-apiserver, until
//! the node has applied it. The API server's own share, until its answer is here, is printed beside.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Caller, Case, Cluster, Node};
use picolet_controlplane::{Subject, Validity};

/// Changes that are measured.
const CHANGES: u32 = 200;
/// What the node logs for each.
const APPLIED: &str = "ConfigMap pico-config applied";
/// How soon it must be, on a quiet machine.
const MUST: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let measured = Cluster::start(false)
        .map_err(|unavailable| anyhow::anyhow!("there is no control plane: {unavailable}"))
        .and_then(|cluster| Case::run(&cluster, "bench::configmap", true, false, measure));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let control_plane = case.cluster().control_plane();
    let administrator = control_plane.pki().client(
        "bench",
        Subject {
            common_name: "bench",
            organization: Some("system:masters"),
        },
        Validity::default(),
    )?;
    let caller = Caller::new(control_plane.pki().certificate_authority(), Some(&administrator))?;
    let maps = format!(
        "{}/api/v1/namespaces/{namespace}/configmaps",
        control_plane.server_url()
    );
    let map = |value: u32| {
        format!(
            r#"{{"metadata":{{"name":"pico-config"}},"data":{{"memory_values":"0={}","gpio":"2={}"}}}}"#,
            value % 256,
            if value.is_multiple_of(2) { "low" } else { "high" },
        )
    };
    let created = caller.post(&maps, &map(0))?;
    ensure!(created.status == 201, "{}", created.body);
    let node = case.node().config_namespace(&namespace).start_ready()?;
    let mut applied = 1;
    wait(&node, applied)?;
    let (mut answered, mut done) = (Vec::new(), Vec::new());
    for change in 1..=CHANGES {
        // Not in step with anything that either side does at intervals.
        sleep(Duration::from_millis(u64::from(20 + change * 37 % 97)));
        let asked = Instant::now();
        let answer = caller.put(&format!("{maps}/pico-config"), &map(change))?;
        answered.push(asked.elapsed());
        ensure!(answer.status == 200, "{}", answer.body);
        applied += 1;
        done.push(wait(&node, applied)?.duration_since(asked));
    }
    ensure!(
        node.memory()? == [(0, u64::from(CHANGES % 256))],
        "the last value is not in its cell"
    );
    println!("{CHANGES} changes of a ConfigMap, milliseconds from the request to the API server");
    println!("{:28}{:>8}{:>8}{:>8}{:>8}", "", "least", "median", "99 %", "most");
    print("until it answers", &mut answered);
    print("until the node applied it", &mut done);
    println!("the node must take less than {} ms", MUST.as_millis());
    ensure!(done[done.len() / 2] < MUST, "the median is more");
    Ok(())
}

/// Waits until the node has logged so many changes, and returns when it was seen.
fn wait(node: &Node<'_>, changes: usize) -> Result<Instant> {
    let limit = Instant::now() + Duration::from_secs(10);
    while Instant::now() < limit {
        let seen = Instant::now();
        if node.log().matches(APPLIED).count() >= changes {
            return Ok(seen);
        }
        sleep(Duration::from_micros(500));
    }
    None.with_context(|| format!("change {changes} was not applied within 10 s"))
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    println!(
        "{what:28}{:8.1}{:8.1}{:8.1}{:8.1}",
        at(0),
        at(50),
        at(99),
        at(100)
    );
}

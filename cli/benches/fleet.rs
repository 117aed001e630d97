//! `cargo xtask bench fleet`: a thousand nodes in one process against the in-memory cluster in another: how long until
//! all are Ready, and what one more node takes of memory.
//!
//! For comparison: a hollow kubelet of kubemark 1.36, at rest, measured 74 MB of resident memory.

use picolet_devcluster::host::{DevCluster, HostOptions, write_private};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kills the fleet whatever happens.
struct Fleet(Child);

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let count = std::env::var("PICOLET_FLEET")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        let (_, alone) = measure(1).await?;
        let (took, together) = measure(count).await?;
        let each = together.saturating_sub(alone) / u64::from(count - 1);
        println!(
            "{count} nodes: all Ready after {:.1} s (must: 30)",
            took.as_secs_f32()
        );
        println!("one node {alone} KB, {count} nodes {together} KB of resident memory");
        println!("one more node: {each} KB (must: 160, aim: 96; a hollow kubelet of kubemark: 74 MB)");
        Ok(())
    }))
}

/// Runs so many nodes; tells when the last was Ready, and the process's resident memory in KB ten seconds later.
async fn measure(count: u32) -> anyhow::Result<(Duration, u64)> {
    let cluster = DevCluster::start(HostOptions::default()).await?;
    let folder = std::env::temp_dir().join(format!("picolet-fleet-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let first = u32::from(Ipv4Addr::new(127, 80, 0, 1));
    for n in 0..count {
        let name = format!("pico-{}", n + 1);
        let client = cluster.node_identity(&name)?;
        let serving = cluster
            .pki()
            .node_serving(&name, &[IpAddr::V4(Ipv4Addr::from(first + n))])?;
        for (kind, identity) in [("client", client), ("serving", serving)] {
            write_private(
                &folder.join(format!("{name}.{kind}.crt")),
                &identity.certificate_pem,
            )?;
            write_private(&folder.join(format!("{name}.{kind}.key")), &identity.key_pem)?;
        }
    }
    write_private(&folder.join("ca.crt"), &cluster.pki().ca().certificate_pem)?;
    let begun = Instant::now();
    let fleet = Fleet(start(&cluster.url(), &folder, count)?);
    loop {
        let nodes = cluster.list("nodes", "", "", "")?;
        let ready = nodes.iter().filter(|node| {
            let conditions = node["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        if ready.count() == count as usize
            && cluster.list("leases", "kube-node-lease", "", "")?.len() == count as usize
        {
            break;
        }
        anyhow::ensure!(
            begun.elapsed() < Duration::from_secs(300),
            "not all were Ready within five minutes"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", fleet.0.id()))?;
    let resident = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    drop(fleet);
    std::fs::remove_dir_all(&folder)?;
    Ok((took, resident.unwrap_or(0)))
}

fn start(server: &str, folder: &Path, count: u32) -> std::io::Result<Child> {
    let file = |name: &str| folder.join(name).into_os_string();
    Command::new(env!("CARGO_BIN_EXE_picolet"))
        .args([
            "run",
            "--server",
            server,
            "--node-name",
            "pico-1",
            "--node-ip",
            "127.80.0.1",
        ])
        .args(["--count", &count.to_string()])
        .arg("--certificate-authority")
        .arg(file("ca.crt"))
        .arg("--client-certificate")
        .arg(file("{name}.client.crt"))
        .arg("--client-key")
        .arg(file("{name}.client.key"))
        .arg("--serving-certificate")
        .arg(file("{name}.serving.crt"))
        .arg("--serving-key")
        .arg(file("{name}.serving.key"))
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
}

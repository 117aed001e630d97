//! A node that gets its certificates by itself, beside an in-memory cluster that really signs them, in time that jumps.

use super::*;
use crate::lease::LeaseController;
use crate::node_status::StatusController;
use crate::settings::{Join, Settings};
use crate::testing::{ClusterClock, START, Services, TestClock, TestHost, settings};
use core::cell::Cell;
use embassy_futures::join::{join3, join4, join5};
use picolet_devcluster::host::Pki;
use picolet_devcluster::{Cluster, Fault, Identity, Options, serve_connection};
use picolet_kube::Timestamp;
use picolet_platform::{Duration, Record};
use picolet_runtime::NoRuntime;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec;

mod requests;

const TOKEN: &str = "abcdef.0123456789abcdef";
/// What certificates of ten minutes are valid for: they are signed as if it had been five minutes earlier.
const LIFE: u64 = 900;

fn cluster(time: &TestClock) -> Cluster<ClusterClock> {
    cluster_with(time, None)
}

fn cluster_with(time: &TestClock, k3s_token: Option<&str>) -> Cluster<ClusterClock> {
    let options = Options {
        tokens: BTreeMap::from([(TOKEN.to_string(), Identity::bootstrapper("abcdef"))]),
        k3s_token: k3s_token.map(Into::into),
        certificate_life: Duration::from_secs(600),
        ..Options::default()
    };
    let start = time::OffsetDateTime::from_unix_timestamp(START.seconds() as i64).expect("a time");
    let cluster = Cluster::new(ClusterClock(time.clone()), options);
    cluster.set_signer(Rc::new(Pki::at(start).expect("an authority")));
    cluster
}

fn joining(token: Option<&str>) -> Settings {
    Settings {
        join: Some(Join {
            token: token.map(Into::into),
        }),
        ..settings()
    }
}

/// A node that gets its certificates, with the controllers that show whether it can do without the others: the Lease and the status.
struct JoiningNode {
    services: Services,
    certificates: Certificates,
}

impl core::ops::Deref for JoiningNode {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

impl JoiningNode {
    fn new(token: Option<&str>, clock: &TestClock) -> Self {
        Self {
            services: Services::with(joining(token), clock),
            certificates: Certificates::default(),
        }
    }

    async fn run(&self) {
        let Services {
            settings,
            machine,
            network,
            time,
            metrics,
            client,
            events,
            node,
            health,
            ..
        } = &self.services;
        let identity = IdentityController::<TestHost> {
            settings,
            client,
            machine,
            network,
            time,
            node,
            certificates: &self.certificates,
        };
        let status = StatusController::<TestHost> {
            settings,
            client,
            machine,
            network,
            runtime: &NoRuntime,
            time,
            events,
            node,
            health,
            identity: &identity,
            reporters: &[&identity],
        };
        let lease = LeaseController::<TestHost> {
            client,
            machine,
            time,
            node,
            health,
            metrics,
        };
        time.load().await;
        client.learn_time().await;
        identity.join_cluster().await;
        join3(lease.run(), status.run(), identity.keep()).await;
    }
}

/// Serves what the node dials, as whom the certificate names that it has at that moment.
async fn serve(node: &JoiningNode, cluster: &Cluster<ClusterClock>) {
    let one = || async {
        loop {
            let mut end = node.network.served().await;
            let valid = node
                .network
                .identities()
                .lifetime(Purpose::Client)
                .is_some_and(|lifetime| {
                    (lifetime.not_before..=lifetime.not_after).contains(&node.time.now().seconds())
                });
            let identity = valid.then(|| Identity::node("pico-1"));
            let _ = serve_connection(cluster, &mut end, identity).await;
        }
    };
    join4(
        join(one(), one()),
        join(one(), one()),
        join(one(), one()),
        join(one(), one()),
    )
    .await;
}

fn requests(cluster: &Cluster<ClusterClock>, purpose: Purpose) -> Vec<Value> {
    let all = cluster
        .list("certificatesigningrequests", "", "", "")
        .expect("a list");
    let prefix = format!("pico-1-{}-", purpose.as_str());
    let of = all.into_iter();
    of.filter(|request| {
        request["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(&prefix))
    })
    .collect()
}

fn decide(cluster: &Cluster<ClusterClock>, kind: &str) {
    for request in requests(cluster, Purpose::Serving) {
        if request["status"]["conditions"].is_null() {
            let name = request["metadata"]["name"].as_str().expect("a name");
            let patch = json!({"status": {"conditions": [{"type": kind, "status": "True", "reason": "Test", "message": "so it was decided"}]}});
            cluster
                .patch("certificatesigningrequests/approval", "", name, &patch)
                .expect("decided");
        }
    }
}

fn condition(cluster: &Cluster<ClusterClock>) -> (String, String) {
    let node = cluster.get("nodes", "", "pico-1").unwrap_or_default();
    let conditions = node["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == "CertificatesValid");
    let text = |field: &str| {
        found
            .and_then(|one| one[field].as_str())
            .unwrap_or_default()
            .to_string()
    };
    (text("status"), text("message"))
}

fn is_ready(cluster: &Cluster<ClusterClock>) -> bool {
    let node = cluster.get("nodes", "", "pico-1").unwrap_or_default();
    let conditions = node["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions
        .iter()
        .any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn run<T>(
    time: &TestClock,
    node: &JoiningNode,
    cluster: &Cluster<ClusterClock>,
    approves: bool,
    test: impl Future<Output = T>,
) -> T {
    let approver = async {
        loop {
            time.sleep(Duration::from_secs(3)).await;
            if approves {
                decide(cluster, "Approved");
            }
        }
    };
    let node = join5(
        node.run(),
        serve(node, cluster),
        cluster.run_controllers(),
        approver,
        core::future::pending::<()>(),
    );
    time.run(node, test)
}

async fn until(time: &TestClock, limit: u64, what: &str, holds: impl Fn() -> bool) {
    let end = time.now() + Duration::from_secs(limit);
    while !holds() {
        assert!(time.now() < end, "not within {limit} s: {what}");
        time.sleep(Duration::from_millis(500)).await;
    }
}

#[test]
fn an_hour_of_certificates_of_ten_minutes() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, true, async {
        until(&time, 12, "it is Ready", || is_ready(&cluster)).await;
        until(&time, 30, "both certificates", || condition(&cluster).0 == "True").await;
        let purposes = [Purpose::Client, Purpose::Serving];
        let mut held = purposes.map(|purpose| {
            node.network
                .identities()
                .lifetime(purpose)
                .expect("a certificate")
        });
        let mut renewals = [0; 2];
        let end = time.now() + Duration::from_secs(3600);
        while time.now() < end {
            time.sleep(Duration::from_secs(1)).await;
            let now = node.time.now().seconds();
            for (index, purpose) in purposes.into_iter().enumerate() {
                let lifetime = node
                    .network
                    .identities()
                    .lifetime(purpose)
                    .expect("never without");
                let before = core::mem::replace(&mut held[index], lifetime);
                if before == lifetime {
                    assert!(now < lifetime.not_after, "{purpose:?} ended");
                    continue;
                }
                renewals[index] += 1;
                let life = now - before.not_before;
                // Looked at every 10 s, approved every 3.
                let window = LIFE * 7 / 10..=LIFE * 9 / 10 + 15;
                assert!(
                    window.contains(&life),
                    "{purpose:?} was renewed after {life} s of {LIFE}"
                );
            }
            let lease = cluster
                .get("leases", "kube-node-lease", "pico-1")
                .expect("a Lease");
            let renewed = lease["spec"]["renewTime"].as_str().and_then(Timestamp::parse);
            let age = now - renewed.expect("a time").seconds();
            assert!(age <= 15, "the Lease is {age} s old");
            assert!(is_ready(&cluster));
        }
        assert!(
            renewals.iter().all(|count| (6..=11).contains(count)),
            "{renewals:?}"
        );
        for ((verb, resource, code), count) in cluster.counters().requests {
            assert!(
                !matches!(code, 401 | 403),
                "{verb} {resource}: {code}, {count} times"
            );
        }
        let serials: std::collections::BTreeSet<_> = purposes
            .iter()
            .flat_map(|purpose| requests(&cluster, *purpose))
            .map(|request| request["spec"]["request"].to_string())
            .collect();
        assert_eq!(serials.len(), renewals[0] + renewals[1] + 2, "a key for each");
    });
}

#[test]
fn the_port_waits_for_approval_in_words() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, false, async {
        until(&time, 12, "it is Ready", || is_ready(&cluster)).await;
        until(&time, 30, "it says what is missing", || {
            condition(&cluster).1.starts_with("the kubelet port is closed")
        })
        .await;
        let (_, words) = condition(&cluster);
        assert!(
            words.starts_with("the kubelet port is closed until its certificate is approved: picolet approve pico-1, or kubectl certificate approve pico-1-serving-"),
            "{words}"
        );
        assert_eq!(port(&cluster)["kubeletEndpoint"]["Port"], 10250);
        time.sleep(Duration::from_secs(120)).await;
        assert_eq!(requests(&cluster, Purpose::Serving).len(), 1, "one is enough");
        // Another address: what was asked for is of no use.
        node.network
            .address
            .set(Some("192.0.2.99".parse().expect("an address")));
        until(&time, 60, "it asks anew", || {
            requests(&cluster, Purpose::Serving).len() == 2
        })
        .await;
        decide(&cluster, "Denied");
        until(&time, 60, "it says so", || {
            condition(&cluster).1.contains("was denied: so it was decided")
        })
        .await;
        until(&time, 200, "it asks again", || {
            requests(&cluster, Purpose::Serving).len() == 3
        })
        .await;
        decide(&cluster, "Approved");
        until(&time, 30, "it has one", || condition(&cluster).0 == "True").await;
        assert!(
            node.network
                .identities()
                .serves("192.0.2.99".parse().expect("an address"))
        );
        // And once it is there, a new address asks for a new one.
        node.network
            .address
            .set(Some("192.0.2.100".parse().expect("an address")));
        until(&time, 90, "it asks for the new address", || {
            requests(&cluster, Purpose::Serving).len() == 4
        })
        .await;
    });
}

#[test]
fn what_is_kept_counts_until_it_ends() {
    let time = TestClock::default();
    let first = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &first, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
    });
    let records = first.machine.records.borrow().clone();
    drop(first);
    let start = |token| {
        let node = JoiningNode::new(token, &time);
        *node.machine.records.borrow_mut() = records.clone();
        node
    };
    let again = start(None);
    run(&time, &again, &cluster, true, async {
        time.sleep(Duration::from_secs(60)).await;
        assert!(again.network.identities().lifetime(Purpose::Serving).is_some());
        assert_eq!(requests(&cluster, Purpose::Client).len(), 1);
        assert_eq!(requests(&cluster, Purpose::Serving).len(), 1);
    });
    drop(again);
    // Switched off for longer than a certificate lives.
    time.alone(time.sleep(Duration::from_secs(1000)));
    let late = start(None);
    run(&time, &late, &cluster, true, async {
        time.sleep(Duration::from_secs(30)).await;
        let log = late.machine.lines.borrow().join("\n");
        assert!(
            log.contains("no client certificate: no valid client certificate and no bootstrap token"),
            "{log}"
        );
    });
    drop(late);
    let joined = start(Some(TOKEN));
    run(&time, &joined, &cluster, true, async {
        until(&time, 90, "it is a node again", || {
            requests(&cluster, Purpose::Client).len() == 2
                && condition(&cluster).0 == "True"
                && is_ready(&cluster)
        })
        .await;
    });
}

#[test]
fn a_certificate_that_is_refused_is_replaced_by_the_token() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        // As after the cluster's authority was replaced.
        cluster.faults(|faults| faults.add(Fault::status(401).by("system:node:pico-1")));
        until(&time, 120, "it asks by its token", || {
            requests(&cluster, Purpose::Client).len() == 2
        })
        .await;
        cluster.faults(picolet_devcluster::Faults::clear);
        until(&time, 90, "both are new", || {
            requests(&cluster, Purpose::Serving).len() == 2
                && condition(&cluster).0 == "True"
                && is_ready(&cluster)
        })
        .await;
        time.sleep(Duration::from_secs(120)).await;
        assert_eq!(requests(&cluster, Purpose::Client).len(), 2);
        assert_eq!(requests(&cluster, Purpose::Serving).len(), 2);
    });
}

#[test]
fn a_wrong_token_is_told_and_tried_again() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some("aaaaaa.0123456789abcdef"), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, true, async {
        time.sleep(Duration::from_secs(600)).await;
        let log = node.machine.lines.borrow().join("\n");
        assert_eq!(
            log.matches("the bootstrap token is wrong or has expired").count(),
            1,
            "{log}"
        );
        assert!(!log.contains("0123456789abcdef"), "{log}");
        let tries = cluster
            .counters()
            .requests("create", "certificatesigningrequests");
        assert!(tries <= 30, "{tries} tries in ten minutes");
    });
}

fn k3s_token(credential: &str) -> String {
    format!("K10{}::{credential}", "5a".repeat(32))
}

fn port(cluster: &Cluster<ClusterClock>) -> Value {
    cluster.get("nodes", "", "pico-1").unwrap_or_default()["status"]["daemonEndpoints"].clone()
}

#[test]
fn k3s_signs_and_renews_without_approval() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(&k3s_token("node:s3cret")), &time);
    let cluster = cluster_with(&time, Some("node:s3cret"));
    run(&time, &node, &cluster, false, async {
        until(&time, 12, "it is Ready", || is_ready(&cluster)).await;
        until(&time, 30, "both certificates", || condition(&cluster).0 == "True").await;
        assert!(
            node.network
                .identities()
                .serves(node.network.address.get().expect("an address"))
        );
        assert_ne!(
            port(&cluster)["kubeletEndpoint"]["Port"],
            10250,
            "k3s would take its tunnel"
        );
        let purposes = [Purpose::Client, Purpose::Serving];
        let held = || {
            purposes.map(|purpose| {
                node.network
                    .identities()
                    .lifetime(purpose)
                    .expect("a certificate")
            })
        };
        let mut before = held();
        let mut renewals = [0; 2];
        let end = time.now() + Duration::from_secs(3600);
        while time.now() < end {
            time.sleep(Duration::from_secs(10)).await;
            let now = held();
            for index in 0..2 {
                renewals[index] += u32::from(now[index] != before[index]);
                assert!(node.time.now().seconds() < now[index].not_after);
            }
            before = now;
            assert!(is_ready(&cluster));
        }
        assert!(
            renewals.iter().all(|count| (4..=11).contains(count)),
            "{renewals:?}"
        );
        for purpose in purposes {
            assert!(
                requests(&cluster, purpose).is_empty(),
                "k3s is not asked by requests"
            );
        }
        for ((verb, resource, code), count) in cluster.counters().requests {
            assert!(
                !matches!(code, 400 | 401 | 403),
                "{verb} {resource}: {code}, {count} times"
            );
        }
        // Another address: at once a certificate for it.
        let moved = "192.0.2.99".parse().expect("an address");
        node.network.address.set(Some(moved));
        until(&time, 30, "it serves the new address", || {
            node.network.identities().serves(moved)
        })
        .await;
    });
}

/// Runs a node with these settings and records beside a cluster until its log has `words`.
fn k3s_says(
    cluster: &Cluster<ClusterClock>,
    time: &TestClock,
    token: Option<&str>,
    records: &[(Record, Vec<u8>)],
    words: &str,
) {
    let node = JoiningNode::new(token, time);
    for (record, value) in records {
        node.machine
            .records
            .borrow_mut()
            .insert(*record as u8, value.clone());
    }
    run(time, &node, cluster, false, async {
        until(time, 120, words, || {
            node.machine.lines.borrow().join("\n").contains(words)
        })
        .await;
        let log = node.machine.lines.borrow().join("\n");
        assert!(!log.contains("s3cret"), "{log}");
    });
}

#[test]
fn k3s_refuses_in_words() {
    let time = TestClock::default();
    let first = JoiningNode::new(Some(&k3s_token("node:s3cret")), &time);
    let cluster = cluster_with(&time, Some("node:s3cret"));
    run(&time, &first, &cluster, false, async {
        until(&time, 30, "both certificates", || condition(&cluster).0 == "True").await;
    });
    let kept = first.machine.records.borrow().clone();
    drop(first);
    let password = kept
        .get(&(Record::NodePassword as u8))
        .cloned()
        .expect("a password");
    assert_eq!(password.len(), 16);
    let wrong = k3s_token("node:other");
    k3s_says(
        &cluster,
        &time,
        Some(&wrong),
        &[],
        "the token is wrong or has expired: create one with",
    );
    // Another machine with this name, or the same one without its memory.
    let right = k3s_token("node:s3cret");
    let taken = "another machine has this name, or this one lost its node password";
    k3s_says(
        &cluster,
        &time,
        Some(&right),
        &[(Record::NodePassword, vec![7; 16])],
        taken,
    );
    // The firmware was written anew: only the password is needed.
    let mine = [(Record::NodePassword, password.clone())];
    k3s_says(&cluster, &time, Some(&right), &mine, "a new serving certificate");
    // What was joined is renewed without the token too, and asks k3s.
    let again = JoiningNode::new(None, &time);
    *again.machine.records.borrow_mut() = kept;
    run(&time, &again, &cluster, false, async {
        time.sleep(Duration::from_secs(1500)).await;
        assert!(is_ready(&cluster) && condition(&cluster).0 == "True");
        assert!(requests(&cluster, Purpose::Client).is_empty());
    });
    let plain = cluster_with(&time, None);
    k3s_says(&plain, &time, Some(&right), &[], "the token is wrong");
}

/// With another password the node would lose its name.
#[test]
fn k3s_password_is_not_replaced_when_it_cannot_be_read_for_a_moment() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(&k3s_token("node:s3cret")), &time);
    let cluster = cluster_with(&time, Some("node:s3cret"));
    run(&time, &node, &cluster, false, async {
        until(&time, 30, "both certificates", || condition(&cluster).0 == "True").await;
        node.machine.unreadable.set(Some(Record::NodePassword));
        let moved = "192.0.2.99".parse().expect("an address");
        node.network.address.set(Some(moved));
        let log = || node.machine.lines.borrow().join("\n");
        until(&time, 90, "it says so", || log().contains("password for k3s")).await;
        node.machine.unreadable.set(None);
        until(&time, 90, "it serves the new address", || {
            node.network.identities().serves(moved)
        })
        .await;
    });
}

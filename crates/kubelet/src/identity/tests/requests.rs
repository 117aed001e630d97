//! How many requests a node makes, and what it does with what comes of them.

use super::*;
use picolet_devcluster::{FaultKind, Sign, Wanted};

/// Signs as the cluster's CA does, within limits that a test sets.
struct Signer {
    pki: Pki,
    /// The second in which everything ends that is signed.
    ends: Cell<u64>,
    /// How often a certificate stands in its chain, for a client and for serving; with 0 it is not signed.
    lengths: Cell<[usize; 2]>,
}

impl Sign for Signer {
    fn sign(&self, wanted: &Wanted<'_>) -> Result<String, String> {
        let left = self.ends.get().saturating_sub(wanted.now.0 / 1_000_000);
        let life = wanted.life.min(Duration::from_secs(left));
        let certificate = self.pki.sign(&Wanted { life, ..*wanted })?;
        Ok(certificate.repeat(self.lengths.get()[usize::from(wanted.serving)]))
    }
}

fn signer(cluster: &Cluster<ClusterClock>) -> Rc<Signer> {
    let start = time::OffsetDateTime::from_unix_timestamp(START.seconds() as i64).expect("a time");
    let signer = Rc::new(Signer {
        pki: Pki::at(start).expect("a CA"),
        ends: Cell::new(u64::MAX / 1_000_000),
        lengths: Cell::new([1, 1]),
    });
    cluster.set_signer(signer.clone());
    signer
}

/// A node that starts with what `node` has stored.
fn restarted(node: JoiningNode, time: &TestClock, token: Option<&str>) -> JoiningNode {
    let again = JoiningNode::new(token, time);
    again.machine.records.swap(&node.machine.records);
    again.machine.broken.set(node.machine.broken.get());
    again
}

fn count(cluster: &Cluster<ClusterClock>) -> [usize; 2] {
    [Purpose::Client, Purpose::Serving].map(|purpose| requests(cluster, purpose).len())
}

fn log(node: &JoiningNode) -> String {
    node.machine.lines.borrow().join("\n")
}

fn ends(node: &JoiningNode, purpose: Purpose) -> u64 {
    let lifetime = node.network.identities().lifetime(purpose);
    lifetime.map_or(0, |lifetime| lifetime.not_after)
}

fn machine_id(cluster: &Cluster<ClusterClock>) -> Value {
    let node = cluster.get("nodes", "", "pico-1").unwrap_or_default();
    node["status"]["nodeInfo"]["machineID"].clone()
}

fn give_name_to_another_machine(cluster: &Cluster<ClusterClock>) {
    let patch = json!({"status": {"nodeInfo": {"machineID": "another-machine"}}});
    cluster
        .patch("nodes/status", "", "pico-1", &patch)
        .expect("patched");
}

/// Whether a record has a value.
fn stores(node: &JoiningNode, record: Record) -> bool {
    let records = node.machine.records.borrow();
    records
        .get(&(record as u8))
        .is_some_and(|value| !value.is_empty())
}

#[test]
fn waiting_for_approval_becomes_a_warning_when_it_takes_long() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let waits = "the kubelet port is closed until";
    run(&time, &node, &cluster, false, async {
        until(&time, 10, "it waits for approval", || log(&node).contains(waits)).await;
        let lines = log(&node);
        assert!(lines.contains(&format!("Info {waits}")), "{lines}");
        assert!(!lines.contains("Warn"), "{lines}");
        until(&time, 60, "it is a warning", || {
            log(&node).contains(&format!("Warn {waits}"))
        })
        .await;
        // Once: what is read every five seconds is no news.
        time.sleep(Duration::from_secs(120)).await;
    });
    assert_eq!(log(&node).matches(&format!("Warn {waits}")).count(), 1);
}

#[test]
fn serving_request_is_resumed_when_the_node_restarts() {
    let time = TestClock::default();
    let mut node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    for _ in 0..4 {
        run(&time, &node, &cluster, false, async {
            until(&time, 60, "it waits for approval", || {
                log(&node).contains("the kubelet port is closed until")
            })
            .await;
        });
        assert_eq!(count(&cluster), [1, 1]);
        node = restarted(node, &time, Some(TOKEN));
    }
    decide(&cluster, "Approved");
    run(&time, &node, &cluster, false, async {
        until(&time, 60, "it has the certificate", || {
            condition(&cluster).0 == "True"
        })
        .await;
    });
    assert_eq!(count(&cluster), [1, 1]);
    assert!(stores(&node, Record::ServingIdentity) && !stores(&node, Record::PendingServing));
}

#[test]
fn serving_request_is_replaced_when_it_is_of_no_use_after_a_restart() {
    let time = TestClock::default();
    let mut node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let waits = "the kubelet port is closed until";
    run(&time, &node, &cluster, false, async {
        until(&time, 60, "it waits for approval", || log(&node).contains(waits)).await;
    });
    // The node has moved.
    node = restarted(node, &time, Some(TOKEN));
    let moved = "192.0.2.99".parse().expect("an address");
    node.network.address.set(Some(moved));
    run(&time, &node, &cluster, false, async {
        until(&time, 60, "it asks anew", || count(&cluster) == [1, 2]).await;
    });
    // The requests were deleted: the one that counts is sent again.
    for request in requests(&cluster, Purpose::Serving) {
        let name = request["metadata"]["name"].as_str().expect("a name");
        cluster
            .delete("certificatesigningrequests", "", name, None)
            .expect("deleted");
    }
    node = restarted(node, &time, Some(TOKEN));
    node.network.address.set(Some(moved));
    run(&time, &node, &cluster, false, async {
        until(&time, 60, "it asks again", || count(&cluster) == [1, 1]).await;
    });
    decide(&cluster, "Denied");
    node = restarted(node, &time, Some(TOKEN));
    node.network.address.set(Some(moved));
    run(&time, &node, &cluster, false, async {
        until(&time, 180, "it makes another", || count(&cluster) == [1, 2]).await;
        assert!(log(&node).contains("was denied"), "{}", log(&node));
        decide(&cluster, "Approved");
        until(&time, 60, "it serves", || node.network.identities().serves(moved)).await;
    });
}

#[test]
fn client_request_is_resumed_when_the_node_restarts() {
    let time = TestClock::default();
    let mut node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let signer = signer(&cluster);
    signer.lengths.set([0, 1]);
    for _ in 0..3 {
        run(&time, &node, &cluster, false, async {
            time.sleep(Duration::from_secs(30)).await;
        });
        assert_eq!(count(&cluster), [1, 0]);
        node = restarted(node, &time, Some(TOKEN));
    }
}

#[test]
fn request_is_sent_once_when_its_answer_is_lost() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    for _ in 0..2 {
        let mut fault = Fault::new(FaultKind::LoseAnswer).on("create", "certificatesigningrequests");
        fault.times = Some(1);
        cluster.faults(|faults| faults.add(fault));
        run(&time, &node, &cluster, true, async {
            until(&time, 90, "both certificates", || condition(&cluster).0 == "True").await;
        });
    }
    assert_eq!(count(&cluster), [1, 1]);
}

#[test]
fn serving_certificate_is_requested_when_the_node_is_registered() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, false, async {
        until(&time, 30, "it is registered", || {
            log(&node).contains("registered as node")
        })
        .await;
        until(&time, 1, "it asks", || count(&cluster) == [1, 1]).await;
    });
}

#[test]
fn approved_request_is_reported_when_nobody_signs_it() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    signer(&cluster).lengths.set([1, 0]);
    run(&time, &node, &cluster, true, async {
        let words = "is approved, waiting for the signer (kube-controller-manager's csrsigning controller)";
        until(&time, 60, "the condition has it", || {
            condition(&cluster).1.contains(words)
        })
        .await;
        assert!(log(&node).contains(words));
    });
}

#[test]
fn signer_that_limits_certificates_is_asked_few_times() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    signer(&cluster).ends.set(START.seconds() + 160);
    run(&time, &node, &cluster, true, async {
        until(&time, 30, "both certificates", || condition(&cluster).0 == "True").await;
        let words = "certificate is not valid for longer than the one before";
        until(&time, 130, "the condition has it", || {
            condition(&cluster).1.contains(words)
        })
        .await;
        time.sleep(Duration::from_secs(155) - time.now()).await;
        let (log, issued) = (log(&node), count(&cluster).iter().sum());
        assert!(
            log.matches(words).count() <= issued,
            "once for each certificate: {log}"
        );
    });
    assert!(
        count(&cluster).iter().all(|count| *count <= 3),
        "{:?}",
        count(&cluster)
    );
}

#[test]
fn certificates_are_renewed_once_a_minute_when_they_live_for_seconds() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let signer = signer(&cluster);
    run(&time, &node, &cluster, true, async {
        let end = time.now() + Duration::from_secs(600);
        while time.now() < end {
            signer.ends.set(node.time.now().seconds() + 20);
            time.sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(
        count(&cluster).iter().all(|count| *count <= 11),
        "{:?}",
        count(&cluster)
    );
}

#[test]
fn denied_requests_are_repeated_ever_more_rarely() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, false, async {
        let end = time.now() + Duration::from_secs(4 * 3600);
        while time.now() < end {
            time.sleep(Duration::from_secs(10)).await;
            decide(&cluster, "Denied");
        }
        assert!(condition(&cluster).1.contains("was denied: so it was decided"));
    });
    let [_, serving] = count(&cluster);
    assert!((4..=12).contains(&serving), "{serving} in four hours");
}

#[test]
fn chain_is_refused_with_a_reason_when_it_cannot_be_stored() {
    // Certificates of some 400 bytes: more than fit a record, and more than are read.
    for length in [5, 100] {
        let time = TestClock::default();
        let node = JoiningNode::new(Some(TOKEN), &time);
        let cluster = cluster(&time);
        signer(&cluster).lengths.set([1, length]);
        run(&time, &node, &cluster, true, async {
            let words = "and this device stores 2048: issue it without intermediate certificates";
            until(&time, 60, "the condition has it", || {
                condition(&cluster).1.contains(words)
            })
            .await;
            assert!(log(&node).contains(words));
            assert_eq!(ends(&node, Purpose::Serving), 0);
            time.sleep(Duration::from_secs(600)).await;
        });
        assert!(count(&cluster)[1] <= 5, "{:?}", count(&cluster));
    }
}

#[test]
fn name_of_another_machine_is_refused_when_the_node_restarts_too() {
    let time = TestClock::default();
    let mut node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "pico-1"}});
    cluster.create("nodes", "", object).expect("created");
    give_name_to_another_machine(&cluster);
    for _ in 0..3 {
        run(&time, &node, &cluster, true, async {
            until(&time, 60, "it refuses", || {
                log(&node).contains("another machine has this name")
            })
            .await;
            time.sleep(Duration::from_secs(60)).await;
        });
        assert_eq!(machine_id(&cluster), "another-machine");
        assert!(!stores(&node, Record::ClientIdentity), "it is no proof");
        node = restarted(node, &time, Some(TOKEN));
    }
    assert_eq!(count(&cluster), [1, 0]);
    run(&time, &node, &cluster, true, async {
        cluster.delete("nodes", "", "pico-1", None).expect("deleted");
        until(&time, 60, "the remedy helps", || condition(&cluster).0 == "True").await;
    });
    assert!(stores(&node, Record::ClientIdentity));
}

#[test]
fn node_is_adopted_when_its_certificate_was_kept() {
    let time = TestClock::default();
    let first = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &first, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
    });
    let own = machine_id(&cluster);
    // As a container that was made anew.
    give_name_to_another_machine(&cluster);
    let again = restarted(first, &time, Some(TOKEN));
    run(&time, &again, &cluster, true, async {
        until(&time, 60, "it is its Node again", || machine_id(&cluster) == own).await;
        assert!(log(&again).contains("another-machine"), "{}", log(&again));
    });
    // What is kept and has ended proves nothing.
    give_name_to_another_machine(&cluster);
    time.alone(time.sleep(Duration::from_secs(1000)));
    let late = restarted(again, &time, Some(TOKEN));
    run(&time, &late, &cluster, true, async {
        until(&time, 60, "it refuses", || {
            log(&late).contains("another machine has this name")
        })
        .await;
    });
    assert_eq!(machine_id(&cluster), "another-machine");
}

fn refuse(cluster: &Cluster<ClusterClock>, user: &str) {
    cluster.faults(|faults| faults.add(Fault::status(401).by(user)));
}

#[test]
fn certificate_stays_in_use_when_it_is_refused_for_a_moment() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        let before = ends(&node, Purpose::Client);
        refuse(&cluster, "system:node:pico-1");
        time.sleep(Duration::from_secs(45)).await;
        cluster.faults(picolet_devcluster::Faults::clear);
        time.sleep(Duration::from_secs(120)).await;
        assert_eq!(ends(&node, Purpose::Client), before);
        assert!(is_ready(&cluster));
    });
    assert_eq!(count(&cluster), [1, 1]);
}

#[test]
fn certificate_comes_back_when_the_token_is_refused_too() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    node.machine.broken.set(true);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        let before = ends(&node, Purpose::Client);
        refuse(&cluster, "system:node:pico-1");
        refuse(&cluster, "system:bootstrap:abcdef");
        until(&time, 120, "the token is refused", || {
            log(&node).contains("the bootstrap token is wrong or has expired")
        })
        .await;
        assert_eq!(ends(&node, Purpose::Client), before);
        cluster.faults(picolet_devcluster::Faults::clear);
        time.sleep(Duration::from_secs(60)).await;
        assert_eq!(ends(&node, Purpose::Client), before);
        assert!(is_ready(&cluster) && condition(&cluster).0 == "True");
    });
    assert_eq!(count(&cluster), [1, 1]);
}

#[test]
fn certificate_comes_back_when_nobody_approves_what_the_token_requests() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let signer = signer(&cluster);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        let before = ends(&node, Purpose::Client);
        signer.lengths.set([0, 1]);
        refuse(&cluster, "system:node:pico-1");
        until(&time, 120, "it uses its token", || count(&cluster)[0] == 2).await;
        assert_eq!(ends(&node, Purpose::Client), 0, "it shows no certificate");
        cluster.faults(picolet_devcluster::Faults::clear);
        until(&time, 120, "it shows its certificate", || {
            ends(&node, Purpose::Client) == before
        })
        .await;
        time.sleep(Duration::from_secs(60)).await;
        assert!(is_ready(&cluster));
    });
    assert_eq!(count(&cluster), [2, 1]);
}

#[test]
fn certificate_stays_in_use_when_the_server_is_silent_after_a_refusal() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        let before = ends(&node, Purpose::Client);
        // As of a server that is going down: one refusal, and then no answer for minutes.
        let mut fault = Fault::status(401).by("system:node:pico-1");
        fault.times = Some(1);
        cluster.faults(|faults| {
            faults.add(fault);
            faults.add(Fault::new(FaultKind::Cut));
        });
        let end = time.now() + Duration::from_secs(180);
        while time.now() < end {
            assert_eq!(ends(&node, Purpose::Client), before, "it shows its certificate");
            time.sleep(Duration::from_millis(50)).await;
        }
        cluster.faults(picolet_devcluster::Faults::clear);
        until(&time, 60, "it is Ready", || is_ready(&cluster)).await;
    });
    assert_eq!(count(&cluster), [1, 1]);
    assert!(!stores(&node, Record::PendingClient), "its token was not used");
}

#[test]
fn expired_certificates_are_refused_and_requested_ever_more_rarely() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    // As a signer does whose clock is behind.
    let signer = signer(&cluster);
    signer.ends.set(0);
    run(&time, &node, &cluster, true, async {
        time.sleep(Duration::from_secs(600)).await;
        assert!(
            log(&node).contains("check the clock of the signer"),
            "{}",
            log(&node)
        );
        let [requests, _] = count(&cluster);
        assert!((2..=5).contains(&requests), "{requests} in ten minutes");
        signer.ends.set(u64::MAX / 1_000_000);
        until(&time, 1200, "both certificates", || {
            condition(&cluster).0 == "True"
        })
        .await;
    });
}

#[test]
fn certificate_stays_in_use_when_its_successor_has_expired() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let signer = signer(&cluster);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        let before = ends(&node, Purpose::Client);
        signer.ends.set(0);
        until(&time, 700, "it asks for a new one", || {
            count(&cluster)[0] == 2 && log(&node).contains("check the clock of the signer")
        })
        .await;
        assert_eq!(ends(&node, Purpose::Client), before);
        assert!(is_ready(&cluster));
    });
}

#[test]
fn kept_certificate_is_used_when_the_clock_is_set_right() {
    let time = TestClock::default();
    let first = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &first, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
    });
    let again = restarted(first, &time, None);
    // The API server's own clock was wrong when the node asked for the time.
    let wrong = Timestamp::from_seconds(START.seconds() + 3650 * 86_400);
    again.machine.told.set((wrong, time.now()));
    // [`serve`] identified the connection by that clock; a real server goes by its own.
    let mut fault = Fault::new(FaultKind::Cut).on("create", "nodes");
    fault.times = Some(1);
    cluster.faults(|faults| faults.add(fault));
    run(&time, &again, &cluster, true, async {
        until(&time, 30, "it is registered", || {
            log(&again).contains("registered as node")
        })
        .await;
    });
    assert_eq!(count(&cluster), [1, 1]);
}

fn move_to(node: &JoiningNode, address: &str) {
    node.network
        .address
        .set(Some(address.parse().expect("an address")));
}

#[test]
fn serving_certificate_is_not_requested_when_the_node_moves_back() {
    let time = TestClock::default();
    let mut node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    let home = node.network.address.get().expect("an address");
    run(&time, &node, &cluster, false, async {
        until(&time, 60, "it is requested", || count(&cluster) == [1, 1]).await;
        decide(&cluster, "Approved");
        until(&time, 60, "it has it", || condition(&cluster).0 == "True").await;
        move_to(&node, "192.0.2.99");
        until(&time, 120, "it is requested for the new address", || {
            count(&cluster) == [1, 2]
        })
        .await;
    });
    node = restarted(node, &time, Some(TOKEN));
    run(&time, &node, &cluster, false, async {
        time.sleep(Duration::from_secs(60)).await;
        assert!(node.network.identities().serves(home));
        assert_eq!(count(&cluster), [1, 2]);
        // What was requested for the other address still counts there.
        move_to(&node, "192.0.2.99");
        decide(&cluster, "Approved");
        until(&time, 60, "it serves", || {
            node.network
                .identities()
                .serves("192.0.2.99".parse().expect("an address"))
        })
        .await;
        assert_eq!(count(&cluster), [1, 2]);
    });
}

#[test]
fn new_address_is_requested_soon_when_the_old_one_was_denied() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, false, async {
        // Each denial doubles the delay.
        for n in 1..5 {
            until(&time, 600, "it is requested", || count(&cluster)[1] == n).await;
            decide(&cluster, "Denied");
        }
        // It is read every 5 s.
        time.sleep(Duration::from_secs(10)).await;
        move_to(&node, "192.0.2.99");
        until(&time, 75, "it is requested for the new address", || {
            count(&cluster)[1] == 5
        })
        .await;
    });
}

#[test]
fn request_of_kubernetes_is_dropped_when_the_node_moves_to_k3s() {
    let time = TestClock::default();
    let first = JoiningNode::new(Some(TOKEN), &time);
    let kubernetes = cluster(&time);
    run(&time, &first, &kubernetes, false, async {
        until(&time, 60, "it waits for approval", || {
            stores(&first, Record::PendingServing)
        })
        .await;
    });
    let credential = "node:s3cret";
    let k3s = cluster_with(&time, Some(credential));
    let moved = restarted(first, &time, Some(&k3s_token(credential)));
    moved
        .machine
        .records
        .borrow_mut()
        .remove(&(Record::ClientIdentity as u8));
    run(&time, &moved, &k3s, false, async {
        until(&time, 60, "it has both", || condition(&k3s).0 == "True").await;
    });
    assert!(stores(&moved, Record::ServingIdentity) && !stores(&moved, Record::PendingServing));
}

#[test]
fn token_makes_a_request_of_its_own_when_the_nodes_own_is_pending() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, true, async {
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        // From now on no renewal is signed.
        let signer = signer(&cluster);
        signer.lengths.set([0, 1]);
        until(&time, LIFE, "the node requests a renewal", || {
            count(&cluster)[0] == 2
        })
        .await;
        refuse(&cluster, "system:node:pico-1");
        until(&time, 200, "the token requests another one", || {
            count(&cluster)[0] == 3
        })
        .await;
    });
}

#[test]
fn port_is_not_called_closed_when_an_old_certificate_is_presented() {
    let time = TestClock::default();
    let node = JoiningNode::new(Some(TOKEN), &time);
    let cluster = cluster(&time);
    run(&time, &node, &cluster, false, async {
        until(&time, 60, "it is requested", || count(&cluster) == [1, 1]).await;
        decide(&cluster, "Approved");
        until(&time, 60, "both certificates", || condition(&cluster).0 == "True").await;
        node.machine.lines.borrow_mut().clear();
        // The CA is another one, so that the certificate is refused.
        refuse(&cluster, "system:node:pico-1");
        until(&time, 300, "a new client certificate", || count(&cluster)[0] == 2).await;
        cluster.faults(picolet_devcluster::Faults::clear);
        until(&time, 120, "it waits for approval", || {
            log(&node).contains("the new serving certificate waits for approval")
        })
        .await;
        assert!(
            !log(&node).contains("the kubelet port is closed"),
            "{}",
            log(&node)
        );
    });
}

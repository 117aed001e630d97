//! What holds whatever happens. Phases, restart counts, conditions of ended pods and that nothing is started twice are
//! checked by the [`World`] with every message and call.

use super::world::{World, pod};
use picolet_kube::pod::{Pod, RestartPolicy};
use picolet_runtime::PullError;
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happens {
    /// A pod is bound to the node: which policy, whether it has an init container, whether it is one that is refused.
    Bound(u8, bool, bool),
    Deleted(usize, u32),
    TakenAway(usize),
    /// A container ends.
    Ends(usize, i32),
    Passes(u64),
    Relisted,
    Rebooted,
    /// The API server is away, or answers everything with an error, or is back.
    Api(u8),
    /// Images cannot be had, or can.
    Images(bool),
    /// Containers do not end when they are asked to, or do.
    Deaf(bool),
    Deadline(usize, u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0u8..3, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(p, i, r)| Happens::Bound(p, i, r)),
        2 => (any::<usize>(), 0u32..60).prop_map(|(n, g)| Happens::Deleted(n, g)),
        1 => any::<usize>().prop_map(Happens::TakenAway),
        5 => (any::<usize>(), 0i32..3).prop_map(|(n, c)| Happens::Ends(n, c)),
        5 => (0u64..400).prop_map(Happens::Passes),
        1 => Just(Happens::Relisted),
        1 => Just(Happens::Rebooted),
        2 => (0u8..4).prop_map(Happens::Api),
        1 => any::<bool>().prop_map(Happens::Images),
        1 => any::<bool>().prop_map(Happens::Deaf),
        1 => (any::<usize>(), 0u32..500).prop_map(|(n, d)| Happens::Deadline(n, d)),
    ]
}

fn one_of<T: Clone>(all: impl Iterator<Item = T>, n: usize) -> Option<T> {
    let all: Vec<T> = all.collect();
    all.get(n.checked_rem(all.len())?).cloned()
}

fn api(world: &mut World, how: u8) {
    world.refuse(match how {
        0 => Some((0, "")),
        1 => Some((500, "broken")),
        2 => Some((403, "not yours")),
        _ => None,
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_pod_that_is_deleted_goes(all in prop::collection::vec(happens(), 1..60)) {
        let mut world = World::new();
        let mut bound = 0;
        for what in all {
            match what {
                Happens::Bound(..) if bound > 40 => {}
                Happens::Bound(policy, init, refused) => {
                    let policy = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never][usize::from(policy)];
                    let pod = pod(&format!("p{bound}"), policy, usize::from(init), 1 + bound % 2);
                    world.put(Pod { unsupported: refused.then_some("x"), ..pod });
                    bound += 1;
                }
                Happens::Deleted(n, grace) => {
                    if let Some(uid) = one_of(world.api.keys().cloned(), n) {
                        world.delete(&uid, grace);
                    }
                }
                Happens::TakenAway(n) => {
                    if let Some(uid) = one_of(world.api.keys().cloned(), n) {
                        world.take_away(&uid);
                    }
                }
                Happens::Ends(n, code) => {
                    let running: Option<String> = one_of(world.runtime.running().into_iter(), n);
                    if let Some(id) = running {
                        world.runtime.end(&id, code);
                        world.settle();
                    }
                }
                Happens::Passes(seconds) => world.pass(seconds),
                Happens::Relisted => world.relist(),
                Happens::Rebooted => world.reboot(),
                Happens::Api(how) => api(&mut world, how),
                Happens::Images(there) => world.runtime.pull.set((!there).then_some(PullError::Unavailable)),
                Happens::Deaf(deaf) => world.runtime.deaf.set(deaf),
                Happens::Deadline(n, seconds) => {
                    if let Some(uid) = one_of(world.api.keys().cloned(), n) {
                        let mut pod = world.api[&uid].clone();
                        pod.active_deadline_seconds = Some(seconds);
                        world.put(pod);
                    }
                }
            }
        }
        world.refuse(None);
        let left: Vec<String> = world.api.keys().cloned().collect();
        for uid in left {
            world.delete(&uid, 30);
        }
        world.pass(200);
        prop_assert!(world.api.is_empty(), "{:?} hang; {:?}", world.api.keys(), world.pods);
        prop_assert!(world.runtime.running().is_empty());
        prop_assert_eq!(world.pods.len(), 0);
    }
}

//! The state of a cluster, and what every operation needs of it.

use crate::faults::Faults;
use crate::object::Object;
use crate::options::Options;
use crate::resources::ResourceId;
use crate::sign::Sign;
use crate::store::Store;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Everything of a cluster that requests change.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) random: fastrand::Rng,
    pub(crate) faults: Faults,
    pub(crate) options: Options,
    pub(crate) signer: Option<Rc<dyn Sign>>,
    /// By the names of nodes: what k3s knows them by.
    pub(crate) k3s_passwords: BTreeMap<String, String>,
    pub(crate) requests: BTreeMap<(String, String, u16), u64>,
    pub(crate) events: u64,
}

impl State {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            store: Store::new(),
            random: fastrand::Rng::with_seed(options.seed),
            faults: Faults::default(),
            options,
            signer: None,
            k3s_passwords: BTreeMap::new(),
            requests: BTreeMap::new(),
            events: 0,
        }
    }

    pub(crate) fn uuid(&mut self) -> String {
        let bits = self.random.u128(..) & !(0xf << 76 | 0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    /// Five letters and digits of those that Kubernetes uses for names: no vowels, nothing that looks like another.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .map(|_| char::from(LETTERS[self.random.usize(..LETTERS.len())]))
            .collect()
    }

    /// Takes an object out, `last` being its last state, and what depends on it: the contents of a namespace, what it
    /// owns.
    pub(crate) fn remove(
        &mut self,
        resource: ResourceId,
        namespace: &str,
        name: &str,
        last: Option<Value>,
    ) -> Option<Rc<Object>> {
        let removed = self.store.remove(resource, namespace, name, last)?;
        let belongs = |object: &Object| resource.plural == "namespaces" && *object.namespace == *name;
        // Only leases and pods are ever owned here by what is not a workload controller.
        let owned = |object: &Object| {
            matches!(object.resource.plural, "leases" | "pods") && {
                let value = object.value();
                let owners = value["metadata"]["ownerReferences"].as_array();
                owners.is_some_and(|owners| {
                    !owners.is_empty() && owners.iter().all(|owner| owner["uid"] == *removed.uid)
                })
            }
        };
        let may_own = matches!(resource.plural, "nodes" | "pods" | "configmaps");
        let depends = |object: &&Rc<Object>| belongs(object) || may_own && owned(object);
        let dependants: Vec<_> = self.store.all().filter(depends).cloned().collect();
        for object in dependants {
            self.remove(object.resource, &object.namespace, &object.name, None);
        }
        Some(removed)
    }
}

//! Which machine a node's name belongs to, recorded at the first approval.
//!
//! The record is a ConfigMap of its own for each node, in the namespace of the approver, and not a label
//! `node-restriction.kubernetes.io/…` of the Node. NodeRestriction keeps a node from changing such a label, and the Node authorizer
//! from deleting its Node. But the label ends with the Node, and there are ways to that: whoever lets the Node be collected (a node
//! can create its Node with an owner that it may delete, such as its CSINode), a cloud's node controller, `kubectl delete node`. The
//! node then registers anew, without the label. A ConfigMap outlives the Node, a node has no access to it, and the approver's account
//! can create and read it, but neither change nor delete it.

use crate::cluster::{Client, Deletion, with_rights_hint};
use anyhow::{Context, Result};
use picolet_linux::client::is_refused;
use serde::Deserialize;
use serde_json::json;

/// The bytes of a machine ID that are accepted. Those of `/etc/machine-id` have 32, UUIDs 36, a board's 16.
const LONGEST_ID: usize = 128;

#[derive(Deserialize)]
struct Record {
    data: Option<RecordData>,
}

#[derive(Deserialize)]
struct RecordData {
    #[serde(rename = "machineID", default)]
    machine_id: String,
}

/// The records of the nodes' machine IDs in one namespace.
pub(crate) struct MachineRecords<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl<'a> MachineRecords<'a> {
    pub(crate) fn new(client: &'a Client, namespace: &'a str) -> Self {
        Self { client, namespace }
    }

    /// The record's object, for a person.
    pub(crate) fn name(&self, node: &str) -> String {
        format!("configmap/machine-id.{node} in {}", self.namespace)
    }

    fn folder(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn path(&self, node: &str) -> String {
        format!("{}/machine-id.{node}", self.folder())
    }

    /// Returns the machine ID that is recorded for a node.
    fn find(&self, node: &str) -> Result<Option<String>> {
        let record = self.client.find_as::<Record>(&self.path(node));
        let record = with_rights_hint(record, format_args!("read {}", self.name(node)))?;
        Ok(record.map(|record| record.data.map_or_else(String::new, |data| data.machine_id)))
    }

    /// Checks the machine ID that a node reports, and records it where none is recorded. Two approvers at the same time agree: only
    /// one of them creates the record.
    ///
    /// Returns an inner error that says why the machine is refused.
    ///
    /// # Errors
    ///
    /// When the API server does not answer, or refuses to.
    pub(crate) fn check(&self, node: &str, machine_id: &str) -> Result<Result<(), String>> {
        if machine_id.is_empty()
            || machine_id.len() > LONGEST_ID
            || !machine_id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Ok(Err(format!(
                "the Node reports no machine ID of 1 to {LONGEST_ID} printable characters"
            )));
        }
        if self.find(node)?.is_none() {
            match self.create(node, machine_id) {
                Ok(()) => println!("{node}: machine ID {machine_id} recorded ({})", self.name(node)),
                // Another approver was faster.
                Err(error) if is_refused(&error, 409) => {}
                created => with_rights_hint(created, format_args!("create {}", self.name(node)))?,
            }
        }
        let recorded = self.find(node)?.unwrap_or_default();
        if recorded == machine_id {
            return Ok(Ok(()));
        }
        Ok(Err(format!(
            "the Node reports the machine ID {machine_id}, and {recorded:?} was recorded at the first approval; if the machine was \
             replaced: picolet retire {node}"
        )))
    }

    fn create(&self, node: &str, machine_id: &str) -> Result<()> {
        let record = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
            "metadata": {"name": format!("machine-id.{node}"), "labels": {"app.kubernetes.io/name": "picolet-approver"}},
            "data": {"machineID": machine_id}});
        match self.client.post(&self.folder(), &record) {
            // The namespace is made with the account of deploy/approver.yaml, which an administrator can do without.
            Err(error) if is_refused(&error, 404) => {
                let namespace =
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
                match self.client.post("/api/v1/namespaces", &namespace) {
                    Err(error) if !is_refused(&error, 409) => return Err(error),
                    _ => {}
                }
                self.client.post(&self.folder(), &record)
            }
            result => result,
        }
    }

    /// Whether a node has a record.
    pub(crate) fn exists(&self, node: &str) -> Result<bool> {
        Ok(self.find(node)?.is_some())
    }

    /// Deletes a node's record.
    pub(crate) fn clear(&self, node: &str) -> Result<Deletion> {
        self.client
            .delete(&self.path(node))
            .with_context(|| format!("cannot delete {}", self.name(node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_has_no_machine_id_when_its_key_is_missing() {
        let record: Record = serde_json::from_str(r#"{"data": {"note": "x"}}"#).expect("a record");
        assert_eq!(record.data.expect("data").machine_id, "");
    }
}

//! One case: a name, its share of the cluster, and the logs of the nodes that it started.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use picolet_controlplane::Kubectl;
use serde_json::json;

use crate::cluster::{Cluster, deployment};

/// How many lines of a node's log a failure shows.
const LOG_LINES: usize = 40;

/// A running case.
pub struct Case<'a> {
    cluster: &'a Cluster,
    name: String,
    board: bool,
    logs: Mutex<Vec<PathBuf>>,
}

impl<'a> Case<'a> {
    /// Runs `body` beside other cases, or `alone`, with nodes that are processes, or emulated boards. The error of a case that fails has the end of its nodes' logs.
    ///
    /// # Errors
    ///
    /// The error of `body`.
    pub fn run(
        cluster: &'a Cluster,
        name: &str,
        alone: bool,
        board: bool,
        body: fn(&Case<'_>) -> Result<()>,
    ) -> Result<()> {
        // A case that panicked has told so itself; the lock says nothing about the cluster.
        let (mut shared, mut exclusive) = (None, None);
        if alone {
            exclusive = Some(cluster.gate.write().unwrap_or_else(PoisonError::into_inner));
        } else {
            shared = Some(cluster.gate.read().unwrap_or_else(PoisonError::into_inner));
        }
        let case = Self {
            cluster,
            // As a DNS label, since namespaces and nodes are named after it.
            name: name.replace("::", "-").replace('_', "-"),
            board,
            logs: Mutex::default(),
        };
        let result = body(&case).map_err(|error| case.explain(&error));
        drop((shared.take(), exclusive.take()));
        result
    }

    /// Returns the cluster.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Whether its nodes are emulated boards.
    #[must_use]
    pub fn on_board(&self) -> bool {
        self.board
    }

    /// kubectl as an administrator.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.cluster.kubectl()
    }

    /// Makes a namespace of this case's own, in which nodes may read their configuration.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub fn namespace(&self) -> Result<String> {
        let name = format!("case-{}", self.name);
        self.kubectl().run(["create", "namespace", &name])?;
        self.apply_deployment(&name, "rbac.yaml")?;
        // No pod is let in without it. A controller makes it too, but late after the API server was away.
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name},
        });
        // By the server, so that it does not matter who is first.
        self.kubectl()
            .run_with_input(["apply", "--server-side", "-f", "-"], &account.to_string())?;
        Ok(name)
    }

    /// Applies a file of `deploy/` to a namespace, as its README says.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub fn apply_deployment(&self, namespace: &str, file: &str) -> Result<()> {
        let path = deployment(file);
        let path = path.to_str().context("the project's path is not UTF-8")?;
        self.kubectl()
            .run(["apply", "--namespace", namespace, "--filename", path])?;
        Ok(())
    }

    /// The name of the case, as a DNS label.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn remember_log(&self, log: PathBuf) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log);
    }

    fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        for log in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let content = fs::read(log).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let lines: Vec<&str> = content.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            text += &format!("\n--- the end of {}:\n{}", log.display(), tail.join("\n"));
        }
        anyhow!(text)
    }
}

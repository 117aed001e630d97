//! Who is calling.

/// A user as authentication found it: `user.Info` of kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name: of a client certificate its common name.
    pub user: String,
    /// The groups: of a client certificate its organizations, and `system:authenticated`.
    pub groups: Vec<String>,
}

impl Identity {
    /// Somebody who proved to be `user`, a member of `groups`.
    pub fn authenticated(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        groups.push("system:authenticated".into());
        Self {
            user: user.into(),
            groups,
        }
    }

    /// Somebody who showed no credential.
    pub fn anonymous() -> Self {
        Self {
            user: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// The administrator.
    pub fn admin() -> Self {
        Self::authenticated("kubernetes-admin", ["system:masters".into()])
    }

    /// Somebody who has the bootstrap token of that id, the part before its dot.
    pub fn bootstrapper(id: &str) -> Self {
        Self::authenticated(format!("system:bootstrap:{id}"), ["system:bootstrappers".into()])
    }

    /// The node `name`: common name `system:node:NAME`, organization `system:nodes`.
    pub fn node(name: &str) -> Self {
        Self::authenticated(format!("system:node:{name}"), ["system:nodes".into()])
    }

    /// Returns the name of the node that this is, or `None` (pkg/auth/nodeidentifier/default.go).
    pub fn node_name(&self) -> Option<&str> {
        let name = self.user.strip_prefix("system:node:")?;
        self.is_in("system:nodes").then_some(name)
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|of| of == group)
    }
}

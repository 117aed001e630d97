//! kubectl as a function: what a person would type, with its output as a value.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// kubectl with the credentials of one user.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// What kubectl said when it failed.
#[derive(Debug)]
pub struct KubectlError {
    /// The arguments it was called with.
    pub arguments: String,
    /// Its standard error, or why it could not be run.
    pub message: String,
}

impl fmt::Display for KubectlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`kubectl {}` failed: {}", self.arguments, self.message)
    }
}

impl std::error::Error for KubectlError {}

impl Kubectl {
    /// kubectl at `program`, with the user of `kubeconfig`.
    #[must_use]
    pub fn new(program: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: program.into(),
            kubeconfig: kubeconfig.into(),
        }
    }

    /// Returns the command, for whoever wants to run it differently.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(Stdio::null());
        command
    }

    /// Runs kubectl and returns its standard output without the last line break.
    ///
    /// # Errors
    ///
    /// When kubectl cannot be run or exits with another code than 0.
    pub fn run<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String, KubectlError> {
        self.run_with_input(arguments, "")
    }

    /// As [`Self::run`], with `input` on its standard input.
    ///
    /// # Errors
    ///
    /// When kubectl cannot be run or exits with another code than 0.
    pub fn run_with_input<A: AsRef<str>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, KubectlError> {
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let fail = |message: String| KubectlError {
            arguments: arguments.join(" "),
            message,
        };
        let mut command = self.command();
        command
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| fail(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // kubectl may end without reading all of it; what it says then is the better message.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| fail(error.to_string()))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(fail(
                String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
            ))
        }
    }

    /// Applies manifests.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn apply(&self, manifests: &str) -> Result<String, KubectlError> {
        self.run_with_input(["apply", "-f", "-"], manifests)
    }

    /// Changes a Node's status, by a merge patch (RFC 7386) of it in JSON.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn patch_node_status(&self, node: &str, status: &str) -> Result<String, KubectlError> {
        let patch = format!("{{\"status\":{status}}}");
        let arguments = [
            "patch",
            "node",
            node,
            "--subresource=status",
            "--type=merge",
            "--patch",
        ];
        self.run(arguments.into_iter().chain([patch.as_str()]))
    }

    /// Returns the log of a pod in `kube-system`.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn system_logs(&self, pod: &str, options: &[&str]) -> Result<String, KubectlError> {
        let arguments = ["logs", "--namespace=kube-system", pod];
        self.run(arguments.iter().chain(options))
    }
}

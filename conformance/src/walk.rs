//! Walks through a page of the documentation as a new user would: its command blocks run in a clean home directory.
//!
//! Blocks that are fenced as `sh` run, in one shell for the whole page. Those fenced as `shell` need a checkout's build or a board in
//! the hand, and `console` shows what appears; neither runs.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_controlplane::Process;

use crate::case::Case;

/// Many times what a page takes.
const LIMIT: Duration = Duration::from_secs(240);

/// Where the administrator's kubeconfig is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubeconfig {
    /// `~/.kube/config`, and `KUBECONFIG` is not set.
    Home,
    /// A file that `KUBECONFIG` names.
    Variable,
}

/// Pages, and what of them is replaced: a reader's own addresses and names.
pub struct Walk<'a> {
    case: &'a Case<'a>,
    pages: Vec<&'static str>,
    kubeconfig: Kubeconfig,
    address: IpAddr,
    replaced: Vec<(String, String)>,
    then: String,
}

impl<'a> Walk<'a> {
    /// Prepares the page `docs/PAGE`, with an address for its node.
    #[must_use]
    pub fn new(case: &'a Case<'a>, page: &'static str, kubeconfig: Kubeconfig) -> Self {
        let place = case.cluster().control_plane().place();
        let address = place.node_address(case.cluster().next_address());
        Self {
            case,
            pages: vec![page],
            kubeconfig,
            address,
            replaced: Vec::new(),
            then: String::new(),
        }
    }

    /// Goes on with another page, in the same shell.
    #[must_use]
    pub fn and(mut self, page: &'static str) -> Self {
        self.pages.push(page);
        self
    }

    /// Runs a command after the pages.
    #[must_use]
    pub fn then(mut self, command: &str) -> Self {
        self.then.push_str(command);
        self.then.push('\n');
        self
    }

    /// Replaces what stands for the node's address.
    #[must_use]
    pub fn address(self, example: &str) -> Self {
        let address = self.address.to_string();
        self.replace(example, &address)
    }

    /// Replaces a text that is the reader's own.
    #[must_use]
    pub fn replace(mut self, example: &str, own: &str) -> Self {
        self.replaced.push((example.to_owned(), own.to_owned()));
        self
    }

    /// Runs the pages and returns what they print. Settings that they write go to an emulated board, which runs until the end.
    ///
    /// # Errors
    ///
    /// When a page has no commands, lacks a text that is to be replaced, or a command fails; with all that was printed.
    pub fn run(self) -> Result<String> {
        let cluster = self.case.cluster();
        let folder = cluster
            .control_plane()
            .directory()
            .join(format!("walk-{}", self.case.name()));
        let mut commands = String::new();
        for page in &self.pages {
            let path = crate::cluster::workspace().join("docs").join(page);
            let found = blocks(&fs::read_to_string(&path).with_context(|| path.display().to_string())?);
            ensure!(!found.is_empty(), "docs/{page} has no commands");
            commands.push_str(&found);
        }
        let script = folder.join("page.sh");
        fs::create_dir_all(folder.join("home"))?;
        fs::create_dir_all(folder.join("work"))?;
        fs::write(&script, self.script(commands)?)?;
        let deploy = folder.join("work/deploy");
        if !deploy.exists() {
            std::os::unix::fs::symlink(crate::cluster::workspace().join("deploy"), &deploy)?;
        }
        let log = folder.join("page.log");
        let mut command = Command::new("bash");
        command
            .arg(&script)
            .current_dir(folder.join("work"))
            .env_clear()
            .env("HOME", folder.join("home"))
            .env("PATH", self.path()?);
        let admin = cluster.control_plane().admin_kubeconfig();
        match self.kubeconfig {
            Kubeconfig::Variable => drop(command.env("KUBECONFIG", &admin)),
            Kubeconfig::Home => {
                fs::create_dir_all(folder.join("home/.kube"))?;
                fs::copy(&admin, folder.join("home/.kube/config"))?;
            }
        }
        let mut shell = Process::start("bash", command, &log)?;
        let status = folder.join("status");
        let ended = shell.wait_until(LIMIT, || status.exists());
        // With all that the pages started in the background.
        shell.kill();
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let pages = self.pages.join(" and ");
        ended.with_context(|| format!("{pages}: {text}"))?;
        let status = fs::read_to_string(&status)?;
        ensure!(status.trim() == "0", "{pages} ended with {status}:\n{text}");
        Ok(text)
    }

    /// The commands, and around them what a reader's own network is.
    fn script(&self, mut commands: String) -> Result<String> {
        for (example, own) in &self.replaced {
            ensure!(
                commands.contains(example.as_str()),
                "{} no longer has {example}",
                self.pages.join(" and ")
            );
            commands = commands.replace(example, own);
        }
        let mut script = String::from(
            // The end is told by a file, so that the shell's process group is there to be killed as a whole.
            "set -euo pipefail\ntrap 'echo $? > ../status.new; mv ../status.new ../status; sleep infinity' EXIT\n",
        );
        if let Some(image) = self.case.cluster().image() {
            // The board's own network: the API server finds the board at another address than its DHCP gives.
            let (address, seed, board) = (
                self.address,
                self.case.cluster().next_seed(),
                self.case.cluster().next_board(),
            );
            write!(
                script,
                r#"picolet() {{
  if [ "$1" != provision ]; then command picolet "$@"; return; fi
  command picolet "$@" --node-ip {address} --ntp 10.0.2.2
  command picolet emulate '{image}' settings.uf2 --ssid attic --passphrase-file wifi.txt --flash flash.bin --no-status \
    --publish {address}:10250=10250 --seed {seed} --board {board} > board.log 2>&1 &
}}
"#,
                image = image.display()
            )?;
        }
        script.push_str("set -x\n");
        script.push_str(&commands);
        script.push_str(&self.then);
        Ok(script)
    }

    /// The folders of picolet and kubectl, and the system's.
    fn path(&self) -> Result<String> {
        let folder = |program: &std::path::Path| -> Result<String> {
            let folder: Option<PathBuf> = program.parent().map(Into::into);
            let folder = folder.context("a program has no folder")?;
            Ok(folder.display().to_string())
        };
        let cluster = self.case.cluster();
        let kubectl = cluster.kubectl().command();
        Ok(format!(
            "{}:{}:/usr/bin:/bin",
            folder(cluster.program())?,
            folder(kubectl.get_program().as_ref())?
        ))
    }
}

/// The blocks of a page that are fenced as `sh`, one after the other.
fn blocks(page: &str) -> String {
    let mut commands = String::new();
    let mut runs = false;
    for line in page.lines() {
        match line {
            "```sh" => runs = true,
            "```" => runs = false,
            _ if runs => {
                commands.push_str(line);
                commands.push('\n');
            }
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn blocks_are_those_fenced_as_sh() {
        let page = "a\n```sh\nb\nc\n```\n```shell\nd\n```\n```console\n$ e\n```\n```sh\nf\n```\n";
        assert_eq!(blocks(page), "b\nc\nf\n");
    }
}

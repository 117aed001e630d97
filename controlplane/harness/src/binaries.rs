//! Building the servers with Go, once for each version, into a cache that all clones of the project share.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// The programs of a control plane, and those that test a node from outside.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub kube_apiserver: PathBuf,
    /// kube-controller-manager.
    pub kube_controller_manager: PathBuf,
    /// kube-scheduler.
    pub kube_scheduler: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// Prometheus's linter for metrics: reads standard input, exits with 1 when it has something to say.
    pub promlint: PathBuf,
    /// A TLS client and server with Go's own TLS, for refusals that a control plane never shows.
    pub tlspeer: PathBuf,
    /// The version of Kubernetes, such as `v1.36.3`.
    pub kubernetes_version: String,
}

/// Why there are no binaries.
#[derive(Debug)]
pub enum BuildError {
    /// There is no Go to build them with.
    GoMissing,
    /// Go could not build them.
    Failed(anyhow::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoMissing => f.write_str(
                "`go` was not found: install Go 1.21 or later (it fetches the release that go.mod asks for by itself)",
            ),
            Self::Failed(error) => write!(f, "the control plane could not be built: {error:#}"),
        }
    }
}

impl std::error::Error for BuildError {}

/// One Go module and the programs in it.
struct Module {
    /// Its folder under `controlplane/`.
    folder: &'static str,
    /// The packages of its programs.
    packages: &'static [&'static str],
}

const KUBERNETES: Module = Module {
    folder: "kubernetes",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "picolet.dev/controlplane/kubernetes/promlint",
    ],
};
const ETCD: Module = Module {
    folder: "etcd",
    packages: &["go.etcd.io/etcd/server/v3"],
};
const HELM: Module = Module {
    folder: "helm",
    packages: &["helm.sh/helm/v3/cmd/helm"],
};
const REGISTRY: Module = Module {
    folder: "registry",
    packages: &["github.com/distribution/distribution/v3/cmd/registry"],
};
const K3S: Module = Module {
    folder: "k3s",
    packages: &["picolet.dev/conformance/k3s"],
};
const TLSPEER: Module = Module {
    folder: "tlspeer",
    packages: &["picolet.dev/controlplane/tlspeer"],
};

impl Binaries {
    /// Returns the programs, built now unless the cache has them. Progress goes to standard error.
    ///
    /// The cache is `picolet/controlplane` in `$XDG_CACHE_HOME` or `~/.cache`; a folder there is named after a digest
    /// of the module's sources and of Go's version.
    ///
    /// # Errors
    ///
    /// When there is no Go, or it fails.
    pub fn build() -> Result<Self, BuildError> {
        find_go()?;
        Self::build_from(sources()).map_err(BuildError::Failed)
    }

    /// Returns [`Self::tlspeer`] alone, which takes seconds to build.
    ///
    /// # Errors
    ///
    /// When there is no Go, or it fails.
    pub fn build_tlspeer() -> Result<PathBuf, BuildError> {
        find_go()?;
        let build = || Ok(build_tlspeer(sources(), &cache_directory()?)?.join("tlspeer"));
        build().map_err(BuildError::Failed)
    }

    /// Returns distribution's registry, which takes a minute or two to build.
    ///
    /// # Errors
    ///
    /// When there is no Go, or it fails.
    pub fn registry() -> Result<PathBuf, BuildError> {
        find_go()?;
        let build = || {
            Ok(REGISTRY
                .build(sources(), &cache_directory()?, "-s -w")?
                .join("registry"))
        };
        build().map_err(BuildError::Failed)
    }

    /// Returns the model of a k3s server, of `conformance/k3s`, which takes seconds to build.
    ///
    /// # Errors
    ///
    /// When there is no Go, or it fails.
    pub fn k3s_model() -> Result<PathBuf, BuildError> {
        find_go()?;
        let sources = sources().with_file_name("conformance");
        let build = || Ok(K3S.build(&sources, &cache_directory()?, "-s -w")?.join("k3s"));
        build().map_err(BuildError::Failed)
    }

    /// Returns helm, where it was built before. It is built now, which takes a minute or two, if `build` says so.
    ///
    /// # Errors
    ///
    /// When there is no Go, or it fails.
    pub fn helm(build: bool) -> Result<Option<PathBuf>, BuildError> {
        find_go()?;
        let find = || {
            let (sources, cache) = (sources(), cache_directory()?);
            if !build && !HELM.target(sources, &cache, "-s -w")?.is_dir() {
                return Ok(None);
            }
            Ok(Some(HELM.build(sources, &cache, "-s -w")?.join("helm")))
        };
        find().map_err(BuildError::Failed)
    }

    fn build_from(sources: &Path) -> Result<Self> {
        let cache = cache_directory()?;
        let version = required_version(&sources.join("kubernetes/go.mod"), "k8s.io/kubernetes")?;
        let etcd = ETCD.build(sources, &cache, "-s -w")?;
        let tlspeer = build_tlspeer(sources, &cache)?;
        let kubernetes = KUBERNETES.build(sources, &cache, &kubernetes_linker_flags(&version)?)?;
        Ok(Self {
            // Go names a program after its folder.
            etcd: etcd.join("server"),
            kube_apiserver: kubernetes.join("kube-apiserver"),
            kube_controller_manager: kubernetes.join("kube-controller-manager"),
            kube_scheduler: kubernetes.join("kube-scheduler"),
            kubectl: kubernetes.join("kubectl"),
            promlint: kubernetes.join("promlint"),
            tlspeer: tlspeer.join("tlspeer"),
            kubernetes_version: version,
        })
    }
}

fn find_go() -> Result<(), BuildError> {
    let found = Command::new("go").arg("version").output().is_ok();
    if found { Ok(()) } else { Err(BuildError::GoMissing) }
}

/// The folder of the Go modules.
fn sources() -> &'static Path {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.expect("this crate lies in controlplane/")
}

fn build_tlspeer(sources: &Path, cache: &Path) -> Result<PathBuf> {
    TLSPEER.build(sources, cache, "-s -w")
}

impl Module {
    /// Where its programs are once they are built.
    fn target(&self, sources: &Path, cache: &Path, linker_flags: &str) -> Result<PathBuf> {
        let digest = digest(&sources.join(self.folder), linker_flags)?;
        Ok(cache.join(format!("{}-{digest}", self.folder)))
    }

    fn build(&self, sources: &Path, cache: &Path, linker_flags: &str) -> Result<PathBuf> {
        let source = sources.join(self.folder);
        let target = self.target(sources, cache, linker_flags)?;
        if target.is_dir() {
            return Ok(target);
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        // Another process may build the same: the second waits and then finds it done.
        let lock = File::create(cache.join(format!("{}.lock", self.folder)))?;
        lock.lock().context("cannot lock the cache")?;
        if target.is_dir() {
            return Ok(target);
        }
        let staging = cache.join(format!("{}.unfinished", self.folder));
        if staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        fs::create_dir_all(&staging)?;
        let start = Instant::now();
        let mut progress = Progress::new(self.folder);
        progress.say("fetching modules");
        let listed = run_go(&source, &[&["list", "-deps"], self.packages].concat(), |line| {
            progress.say(line)
        })?;
        let total = listed.lines().count();
        let output = staging.to_str().context("the cache's path is not UTF-8")?;
        let mut compiled = 0_usize;
        let flags = ["build", "-v", "-trimpath", "-ldflags", linker_flags, "-o", output];
        run_go(&source, &[flags.as_slice(), self.packages].concat(), |_| {
            compiled += 1;
            progress.say(&format!(
                "compiling, {compiled} of at most {total} packages, the programs last"
            ));
        })?;
        fs::rename(&staging, &target)
            .with_context(|| format!("cannot move the binaries to {}", target.display()))?;
        progress.end(&format!("built in {} s", start.elapsed().as_secs()));
        Ok(target)
    }
}

/// Runs Go in a folder and returns its standard output; each line of its standard error goes to `on_line`.
fn run_go(folder: &Path, arguments: &[&str], mut on_line: impl FnMut(&str)) -> Result<String> {
    let mut child = Command::new("go")
        .args(arguments)
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `go`")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout));
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            on_line(&line);
            said.push(line);
        }
    }
    let output = reader.join().ok().context("reading Go's output failed")??;
    let status = child.wait()?;
    if !status.success() {
        let tail = said[said.len().saturating_sub(15)..].join("\n");
        bail!("`go {}` in {} failed:\n{tail}", arguments[0], folder.display());
    }
    Ok(output)
}

fn cache_directory() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(base
        .context("neither XDG_CACHE_HOME nor HOME is set: no place for the cache")?
        .join("picolet/controlplane"))
}

/// A digest of all that decides what is built.
fn digest(source: &Path, linker_flags: &str) -> Result<String> {
    let mut files = vec![source.join("go.mod"), source.join("go.sum")];
    for entry in walk(source)? {
        if entry.extension().is_some_and(|extension| extension == "go") {
            files.push(entry);
        }
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in files.iter().filter(|file| file.exists()) {
        hasher.update(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    hasher.update(linker_flags);
    hasher.update(run_go(source, &["env", "GOVERSION", "GOARCH"], |_| ())?);
    Ok(hasher
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// The version that a go.mod requires of a module.
fn required_version(go_mod: &Path, module: &str) -> Result<String> {
    let text = fs::read_to_string(go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
    let version = text.lines().find_map(|line| {
        let mut words = line.split_whitespace().filter(|word| *word != "require");
        (words.next() == Some(module))
            .then(|| words.next().map(str::to_owned))
            .flatten()
    });
    version.with_context(|| format!("{} does not require {module}", go_mod.display()))
}

/// Without these, every component says that it is v0.0.0.
fn kubernetes_linker_flags(version: &str) -> Result<String> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    ensure!(
        !major.is_empty() && !minor.is_empty(),
        "{version} is not a version of Kubernetes"
    );
    let variable = "-X k8s.io/component-base/version.git";
    Ok(format!(
        "-s -w {variable}Version={version} {variable}Major={major} {variable}Minor={minor} {variable}TreeState=clean"
    ))
}

/// One line that is rewritten on a terminal, and a line now and then elsewhere.
struct Progress {
    what: &'static str,
    last: Option<Instant>,
    start: Instant,
    terminal: bool,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            last: None,
            start: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn say(&mut self, text: &str) {
        let pause = if self.terminal {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(30)
        };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        let seconds = self.start.elapsed().as_secs();
        let mut stderr = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to stop building.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{}: {text} ({seconds} s)", self.what).and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{}: {text} ({seconds} s)", self.what)
        };
    }

    fn end(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{}: {text}", self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::{kubernetes_linker_flags, required_version};

    #[test]
    fn the_version_is_read_from_either_form_of_require() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("go.mod");
        for text in [
            "require k8s.io/kubernetes v1.36.3\n",
            "require (\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n",
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(required_version(&file, "k8s.io/kubernetes").unwrap(), "v1.36.3");
        }
        assert!(required_version(&file, "k8s.io/other").is_err());
    }

    #[test]
    fn components_are_told_their_version() {
        let flags = kubernetes_linker_flags("v1.36.3").unwrap();
        assert!(
            flags.contains("gitVersion=v1.36.3") && flags.contains("gitMinor=36"),
            "{flags}"
        );
        assert!(kubernetes_linker_flags("latest").is_err());
    }
}

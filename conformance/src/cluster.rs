//! The one control plane that all cases of a test binary share.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{OnceLock, RwLock};

use anyhow::{Context, Result, anyhow, ensure};
use picolet_controlplane::{Binaries, BuildError, ControlPlane, Kubectl, Options, Place};
use picolet_image::Image;
use picolet_image::build::Place as BuildPlace;
use picolet_image::cargo::cargo;
use serde_json::Value;

use crate::k3s::K3s;

/// Names another program to test than the one of this workspace.
const BINARY: &str = "PICOLET_BINARY";

/// Set to have everything tested, however long it takes.
pub const LONG_TESTS: &str = "PICOLET_LONG_TESTS";

/// A running control plane and the program that is to be its node.
pub struct Cluster {
    // Dropped first: it depends on the control plane.
    k3s: OnceLock<Result<K3s, String>>,
    control_plane: ControlPlane,
    program: PathBuf,
    /// What emulated boards boot.
    image: Option<PathBuf>,
    helm: Option<PathBuf>,
    k3s_model: PathBuf,
    next_address: AtomicU8,
    next_seed: AtomicU64,
    next_board: AtomicU16,
    /// Held shared by most cases, alone by those that stop the API server or measure time.
    pub(crate) gate: RwLock<()>,
}

/// Why there is no cluster.
#[derive(Debug)]
pub enum Unavailable {
    /// A program is missing; the text says what to install.
    Missing(String),
    /// It should have come up and did not.
    Failed(anyhow::Error),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(remedy) => f.write_str(remedy),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl Cluster {
    /// Builds what is not built yet and starts the control plane.
    ///
    /// With `boards`, nodes can be emulated boards, whose image is built as well.
    ///
    /// It lives in a network of its own where the kernel allows that. For that reason this must be called before the
    /// process has a second thread.
    ///
    /// # Errors
    ///
    /// When Go is missing, or anything fails.
    pub fn start(boards: bool) -> Result<Self, Unavailable> {
        let binaries = Binaries::build().map_err(|error| match error {
            BuildError::GoMissing => Unavailable::Missing("install Go".into()),
            BuildError::Failed(error) => Unavailable::Failed(error),
        })?;
        Self::start_with(&binaries, boards).map_err(Unavailable::Failed)
    }

    fn start_with(binaries: &Binaries, boards: bool) -> Result<Self> {
        let program = match env::var_os(BINARY) {
            Some(path) => path.into(),
            None => build_picolet()?,
        };
        // In a private network nothing can be fetched any more.
        let image = boards.then(build_image).transpose()?;
        let helm = Binaries::helm(env::var_os(LONG_TESTS).is_some())?;
        let k3s_model = Binaries::k3s_model()?;
        let place = Place::enter_private().unwrap_or_else(|error| {
            eprintln!("the cluster is on loopback, since {error:#}");
            Place::Loopback
        });
        let directory = workspace().join(format!("target/control-plane/conformance-{}", process::id()));
        let control_plane = ControlPlane::start(binaries, &Options { directory, place })?;
        Ok(Self {
            control_plane,
            program,
            image,
            helm,
            k3s_model,
            k3s: OnceLock::new(),
            next_address: AtomicU8::new(0),
            next_seed: AtomicU64::new(1),
            next_board: AtomicU16::new(1),
            gate: RwLock::new(()),
        })
    }

    /// Returns the control plane.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Returns the model of k3s in front of this cluster, started when it is first asked for.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn k3s(&self) -> Result<&K3s> {
        let start = || K3s::start(&self.control_plane, &self.k3s_model).map_err(|error| format!("{error:#}"));
        let started = self.k3s.get_or_init(start).as_ref();
        started.map_err(|error| anyhow!("there is no k3s: {error}"))
    }

    /// Leaves keys and logs on disk for whoever looks for a failure's cause, and returns where.
    pub fn keep_logs(&mut self) -> PathBuf {
        self.control_plane.keep_directory();
        self.control_plane.directory().join("log")
    }

    /// kubectl as an administrator.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.control_plane.kubectl()
    }

    /// Returns the object, or nothing when there is none.
    ///
    /// # Errors
    ///
    /// When kubectl fails for another reason than a missing object.
    pub fn object(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let arguments = [
            "get",
            kind,
            name,
            "--namespace",
            namespace,
            "--output=json",
            "--ignore-not-found",
        ];
        let text = self.kubectl().run(arguments)?;
        if text.is_empty() {
            Ok(None)
        } else {
            Ok(Some(serde_json::from_str(&text)?))
        }
    }

    /// Returns the events about one object.
    ///
    /// # Errors
    ///
    /// When kubectl fails.
    pub fn events(&self, namespace: &str, kind: &str, name: &str) -> Result<Vec<Value>> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let arguments = [
            "get",
            "events",
            "--namespace",
            namespace,
            "--field-selector",
            &selector,
            "--output=json",
        ];
        let list: Value = serde_json::from_str(&self.kubectl().run(arguments)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Returns the program under test.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns helm, where it was built before or all tests are asked for.
    #[must_use]
    pub fn helm(&self) -> Option<&Path> {
        self.helm.as_deref()
    }

    pub(crate) fn image(&self) -> Option<&Path> {
        self.image.as_deref()
    }

    pub(crate) fn next_seed(&self) -> u64 {
        // The emulator takes an even seed and the odd one after it for the same.
        self.next_seed.fetch_add(2, Ordering::Relaxed)
    }

    pub(crate) fn next_board(&self) -> u16 {
        self.next_board.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_address(&self) -> u8 {
        self.next_address.fetch_add(1, Ordering::Relaxed)
    }
}

/// The folder of the whole project.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in the project's folder")
}

/// Returns the path of a file of `deploy/`.
#[must_use]
pub fn deployment(file: &str) -> PathBuf {
    workspace().join("deploy").join(file)
}

/// Builds the image of a Pico W as it is flashed, and returns its path.
fn build_image() -> Result<PathBuf> {
    let folder = workspace().join("target/images");
    Image::build("pico-w", "pico-w", "picolet-pico-w", BuildPlace::Here)?.write(&folder)?;
    Ok(folder.join("picolet-pico-w.uf2"))
}

/// Builds the program of this workspace and returns its path.
fn build_picolet() -> Result<PathBuf> {
    let mut command = cargo();
    // As `cargo xtask test` has built it: with the features of the whole workspace, beside a test of the same package. Any other
    // choice has a part of the libraries built once more.
    command.args([
        "test",
        "--workspace",
        "--no-run",
        "--test",
        "provision",
        "--message-format=json-render-diagnostics",
    ]);
    let output = command
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo could not build picolet");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = messages
        .filter(|message| message["target"]["kind"][0] == "bin" && message["target"]["name"] == "picolet")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo built no program called picolet")
}

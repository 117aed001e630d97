//! The state directory of `picolet run`: what a node keeps over its restarts.
//!
//! Each node has files that begin with its name: its records, and its machine ID. The directory is locked for as long as the
//! process lives, since two processes with the same records would be the same node twice.

use crate::durable::{remove_durably, write_durably};
use anyhow::{Context, Result, bail};
use base16ct::lower::encode_string as hex;
use picolet_platform::Record;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A state directory that this process has locked.
pub(crate) struct StateDirectory {
    path: PathBuf,
    /// The lock is released when this is closed.
    _lock: File,
}

impl StateDirectory {
    /// Creates the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// It cannot be created or written to, or another process uses it.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let lock = lock(path).with_context(|| format!("--state-dir {}", path.display()))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    /// What the node of that name keeps.
    pub(crate) fn node(self: &Arc<Self>, name: &str) -> NodeState {
        NodeState {
            directory: self.clone(),
            node: name.into(),
        }
    }

    /// Where the CA that was discovered is kept (PEM).
    pub(crate) fn cluster_authority(&self) -> PathBuf {
        self.path.join("cluster-authority.crt")
    }

    /// Where the CA of the kubelet API's clients is kept (PEM), if the cluster has told it.
    pub(crate) fn client_authority(&self) -> PathBuf {
        self.path.join("client-authority.crt")
    }
}

fn lock(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory)?;
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = holder.trim().parse::<u32>();
            bail!(
                "already in use by {}: stop it, or give this one another --state-dir",
                holder.map_or_else(|_| "another process".to_owned(), |pid| format!("process {pid}"))
            );
        }
        Err(error) => {
            return Err(io::Error::from(error)).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    // The process ID is for the error message of whoever comes second. The lock does not depend on it, and a full disk must
    // not keep a node from starting.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// The names of the files of records. They are in state directories that exist: never change one.
const fn file_name(record: Record) -> &'static str {
    match record {
        Record::TimeFloor => "TimeFloor",
        Record::Seed => "Seed",
        Record::Boots => "Boots",
        Record::IdentityReset => "IdentityReset",
        Record::ClientIdentity => "ClientIdentity",
        Record::ServingIdentity => "ServingIdentity",
        Record::NodePassword => "NodePassword",
        Record::Forget => "Forget",
        Record::PendingClient => "PendingClient",
        Record::PendingServing => "PendingServing",
        Record::SecurityFloor => "SecurityFloor",
        Record::FirmwareResult => "FirmwareResult",
    }
}

/// The records that versions without a kept machine ID wrote.
const RECORDS_BEFORE_MACHINE_ID: [Record; 5] = [
    Record::TimeFloor,
    Record::ClientIdentity,
    Record::ServingIdentity,
    Record::NodePassword,
    Record::Forget,
];

/// The identifiers of a machine, as `NodeSystemInfo` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MachineIds {
    /// 32 hexadecimal digits.
    pub(crate) machine_id: String,
    /// A UUID.
    pub(crate) system_uuid: String,
}

impl MachineIds {
    /// Makes both of 32 bytes.
    pub(crate) fn new(bytes: &[u8; 32]) -> Self {
        let (machine_id, uuid) = bytes.split_at(16);
        Self {
            machine_id: hex(machine_id),
            system_uuid: self::uuid(uuid),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (machine_id, system_uuid) = text.trim_end().split_once('\n')?;
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let groups = system_uuid.split('-').map(str::len);
        let valid = machine_id.len() == 32
            && is_hex(machine_id)
            && groups.eq([8, 4, 4, 4, 12])
            && system_uuid.split('-').all(is_hex);
        valid.then(|| Self {
            machine_id: machine_id.to_owned(),
            system_uuid: system_uuid.to_owned(),
        })
    }
}

/// Writes 16 bytes as a UUID of version 8 (RFC 9562, section 5.8).
pub(crate) fn uuid(bytes: &[u8]) -> String {
    let mut b = [0; 16];
    b.copy_from_slice(&bytes[..16]);
    b[6] = b[6] & 0x0f | 0x80;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = hex(&b);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// What one node keeps in the state directory.
#[derive(Clone)]
pub(crate) struct NodeState {
    directory: Arc<StateDirectory>,
    node: Box<str>,
}

impl NodeState {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(format!("{}.{name}", self.node))
    }

    fn record(&self, record: Record) -> PathBuf {
        self.path(file_name(record))
    }

    /// Reads a record. One that cannot be read is found by [`NodeState::check`].
    pub(crate) fn load(&self, record: Record) -> Option<Vec<u8>> {
        fs::read(self.record(record)).ok()
    }

    /// Checks that the records can be read. A node whose certificate only cannot be read would request and store another one.
    ///
    /// # Errors
    /// One exists and cannot be read; it is named.
    pub(crate) fn check(&self) -> Result<()> {
        for record in Record::IDENTITY {
            let path = self.record(record);
            match fs::read(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Replaces a record.
    ///
    /// # Errors
    /// The old record is still there.
    pub(crate) fn store(&self, record: Record, value: &[u8]) -> io::Result<()> {
        write_durably(&self.record(record), value)
    }

    /// Whether the node has a client certificate, or was told to reset its identity, which it then reports itself.
    pub(crate) fn has_joined(&self) -> bool {
        [Record::ClientIdentity, Record::Forget]
            .iter()
            .any(|record| self.record(*record).exists())
    }

    /// Deletes the node's identity if it was told to reset it, in this run or in an earlier one. The record that says so stays, so
    /// that a service manager which starts the process again does not make it join again: its path is returned.
    ///
    /// The machine ID stays, as that of a board does: the machine is still the same one.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(crate) fn reset_identity(&self) -> io::Result<Option<PathBuf>> {
        let requested = self.record(Record::Forget);
        if !requested.try_exists()? {
            return Ok(None);
        }
        for record in Record::IDENTITY {
            remove_durably(&self.record(record))?;
        }
        Ok(Some(requested))
    }

    /// The identifiers of the machine, random and made at the first start. A directory of a version that did not keep them
    /// goes on with those `derived` from the host.
    ///
    /// # Errors
    /// They cannot be read or kept.
    pub(crate) fn machine_ids(&self, derived: impl FnOnce() -> MachineIds) -> Result<MachineIds> {
        let path = self.path("machine-id");
        let place = || path.display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => MachineIds::parse(&text).with_context(|| {
                format!("{}: not a machine ID and a UUID, one per line: restore the file, or delete it for a new machine ID", place())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let existed = RECORDS_BEFORE_MACHINE_ID.iter().any(|record| self.record(*record).exists());
                let ids = if existed { derived() } else { random_ids()? };
                let text = format!("{}\n{}\n", ids.machine_id, ids.system_uuid);
                write_durably(&path, text.as_bytes()).with_context(place)?;
                Ok(ids)
            }
            Err(error) => Err(error).with_context(place),
        }
    }
}

fn random_ids() -> Result<MachineIds> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("no randomness for a machine ID")?;
    Ok(MachineIds::new(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn open(folder: &tempfile::TempDir) -> Arc<StateDirectory> {
        StateDirectory::open(folder.path()).expect("a state directory")
    }

    fn never() -> MachineIds {
        panic!("derived from the host")
    }

    /// State directories that exist have these names: a change would lose identities.
    #[test]
    fn record_files_keep_their_names() {
        for (record, name) in [
            (Record::TimeFloor, "TimeFloor"),
            (Record::Seed, "Seed"),
            (Record::Boots, "Boots"),
            (Record::IdentityReset, "IdentityReset"),
            (Record::ClientIdentity, "ClientIdentity"),
            (Record::ServingIdentity, "ServingIdentity"),
            (Record::NodePassword, "NodePassword"),
            (Record::Forget, "Forget"),
            (Record::PendingClient, "PendingClient"),
            (Record::PendingServing, "PendingServing"),
            (Record::SecurityFloor, "SecurityFloor"),
            (Record::FirmwareResult, "FirmwareResult"),
        ] {
            let folder = tempfile::tempdir().expect("a directory");
            let state = open(&folder).node("pico.1");
            state.store(record, b"value").expect("stored");
            assert_eq!(
                fs::read(folder.path().join(format!("pico.1.{name}"))).expect("a file"),
                b"value"
            );
            assert_eq!(state.load(record).as_deref(), Some(&b"value"[..]));
        }
    }

    #[test]
    fn directory_is_refused_while_another_holds_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let first = open(&folder);
        let error = StateDirectory::open(folder.path()).err().expect("a second one");
        let text = format!("{error:#}");
        for words in [
            folder.path().to_str().expect("UTF-8"),
            &format!("process {}", std::process::id()),
        ] {
            assert!(text.contains(words), "{text}");
        }
        let node = first.node("pico-1");
        drop(first);
        assert!(
            StateDirectory::open(folder.path()).is_err(),
            "a node still uses it"
        );
        drop(node);
        open(&folder);
    }

    #[test]
    fn directory_is_opened_when_the_disk_is_full() {
        let folder = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/dev/full", folder.path().join("lock")).expect("a link");
        open(&folder);
    }

    #[test]
    fn record_is_not_taken_for_absent_when_it_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a directory");
        let state = open(&folder).node("pico-1");
        state.check().expect("there is none");
        state.store(Record::TimeFloor, b"x").expect("stored");
        state.check().expect("it can be read");
        // Whatever its permissions are, root can read a file.
        fs::create_dir(folder.path().join("pico-1.ClientIdentity")).expect("a directory");
        let error = format!("{:#}", state.check().expect_err("it cannot be read"));
        assert!(error.contains("pico-1.ClientIdentity"), "{error}");
    }

    #[test]
    fn machine_id_is_random_per_node_and_kept() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = open(&folder);
        let ids = directory.node("pico-1").machine_ids(never).expect("made");
        assert_eq!(directory.node("pico-1").machine_ids(never).expect("kept"), ids);
        assert_ne!(directory.node("pico-2").machine_ids(never).expect("made"), ids);
        let elsewhere = tempfile::tempdir().expect("a directory");
        assert_ne!(
            open(&elsewhere).node("pico-1").machine_ids(never).expect("made"),
            ids
        );
        let path = folder.path().join("pico-1.machine-id");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // It outlives the identity.
        let state = directory.node("pico-1");
        state.store(Record::ClientIdentity, b"key").expect("stored");
        state.store(Record::Forget, b"x").expect("stored");
        assert!(state.reset_identity().expect("reset").is_some());
        assert!(state.load(Record::ClientIdentity).is_none());
        assert_eq!(state.machine_ids(never).expect("kept"), ids);

        for damaged in ["", "x\n", "00\n00", &format!("{}\nx", ids.machine_id)] {
            fs::write(&path, damaged).expect("a file");
            let error = state.machine_ids(never).expect_err("damaged");
            assert!(format!("{error:#}").contains("pico-1.machine-id"), "{error:#}");
        }
    }

    #[test]
    fn directory_of_an_older_version_goes_on_as_the_same_machine() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = open(&folder);
        // Another node's record, whose name begins with this one's.
        directory
            .node("pico.1")
            .store(Record::ClientIdentity, b"key")
            .expect("stored");
        let derived = MachineIds::new(&[7; 32]);
        assert_eq!(
            directory
                .node("pico.1")
                .machine_ids(|| derived.clone())
                .expect("kept"),
            derived
        );
        // From then on the host does not matter.
        assert_eq!(
            directory.node("pico.1").machine_ids(never).expect("kept"),
            derived
        );
        directory.node("pico").machine_ids(never).expect("a new node");
    }
}

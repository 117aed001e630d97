//! The few small things that outlive a reboot.

use core::fmt;
use core::future::Future;

/// The most bytes that a record may have.
pub const LONGEST_RECORD: usize = 2048;

/// What may be kept. The numbers are the keys in flash: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Record {
    /// A [`TimeFloor`].
    TimeFloor = 1,
    /// 32 bytes from which the generator of random numbers is seeded beside its noise source, other ones at each boot.
    Seed = 2,
    /// How often the device has booted: 4 bytes, little-endian.
    Boots = 3,
    /// The `reset identity` of the settings that was obeyed last: 8 bytes, little-endian.
    IdentityReset = 4,
    /// Who the node is to the API server: its private key (PKCS#8, DER), then its certificates (DER, its own first),
    /// one behind the other, so that both change together.
    ClientIdentity = 5,
    /// The same for the kubelet API.
    ServingIdentity = 6,
    /// The password by which k3s knows the machine behind a node's name: 16 bytes of randomness.
    NodePassword = 7,
    /// Anything: the device is to forget who it is when it starts the next time, and keeps this until that is done.
    Forget = 8,
    /// The certificate signing request that is under way for the client certificate, and its private key: stored before the
    /// request is sent, and removed when its certificate is stored.
    PendingClient = 9,
    /// The same for the serving certificate.
    PendingServing = 10,
    /// The highest security number of firmware that was confirmed: 4 bytes, little-endian. No firmware below it is installed.
    SecurityFloor = 11,
    /// How the last trial of firmware ended, if it was reverted: a sentence, at most 160 bytes.
    FirmwareResult = 12,
}

impl Record {
    /// What a device forgets that is to forget who it is.
    pub const IDENTITY: [Self; 6] = [
        Self::ClientIdentity,
        Self::ServingIdentity,
        Self::NodePassword,
        Self::PendingClient,
        Self::PendingServing,
        Self::TimeFloor,
    ];
}

/// A time that a verified API server confirmed, in seconds since the epoch. The clock never starts below it.
///
/// Records of 8 bytes, the seconds alone, are from versions that took them from time servers without a confirmation. They
/// do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeFloor(pub u64);

impl TimeFloor {
    /// The length of the record, in bytes.
    pub const BYTES: usize = 9;
    /// The last byte of the record.
    const CONFIRMED: u8 = 1;

    /// The floor in the first `length` bytes of `record`, as [`Records::load`] returns them.
    #[must_use]
    pub fn from_record(record: &[u8; Self::BYTES], length: Option<usize>) -> Option<Self> {
        let (seconds, format) = record.split_first_chunk()?;
        let valid = length == Some(Self::BYTES) && format == [Self::CONFIRMED];
        valid.then(|| Self(u64::from_le_bytes(*seconds)))
    }

    /// The record.
    #[must_use]
    pub fn to_record(self) -> [u8; Self::BYTES] {
        let mut record = [Self::CONFIRMED; Self::BYTES];
        record[..8].copy_from_slice(&self.0.to_le_bytes());
        record
    }
}

/// Why a record was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The storage is full, or the value has more than [`LONGEST_RECORD`] bytes.
    Full,
    /// There is no memory for it at the moment.
    Memory,
    /// The storage does not work.
    Io,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the device's storage is full",
            Self::Memory => "there is no memory to write to the device's storage",
            Self::Io => "the device's storage cannot be written",
        })
    }
}

impl core::error::Error for RecordError {}

/// Storage that survives a power cut: after a cut a record has its old or its new value, never neither.
pub trait Records {
    /// Reads `record` into `buffer` and returns its length, or `None` where it was never written, is empty or does not
    /// fit.
    fn load(&self, record: Record, buffer: &mut [u8]) -> impl Future<Output = Option<usize>>;

    /// Writes `record`. An empty value takes it away.
    ///
    /// # Errors
    /// The old value is still there when it fails.
    fn store(&self, record: Record, value: &[u8]) -> impl Future<Output = Result<(), RecordError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_floor_of_versions_that_did_not_confirm_it_does_not_count() {
        let record = TimeFloor(1_893_456_000).to_record();
        assert_eq!(
            TimeFloor::from_record(&record, Some(9)),
            Some(TimeFloor(1_893_456_000))
        );
        assert_eq!(TimeFloor::from_record(&record, Some(8)), None);
        assert_eq!(TimeFloor::from_record(&record, None), None);
        let mut unknown = record;
        unknown[8] = 2;
        assert_eq!(TimeFloor::from_record(&unknown, Some(9)), None);
    }
}

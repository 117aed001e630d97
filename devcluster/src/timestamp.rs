//! Times as Kubernetes writes them.

use picolet_platform::UnixMicros;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

fn civil(at: UnixMicros) -> OffsetDateTime {
    // The seconds of any u64 of microseconds lie within i64; years beyond 9999 do not, and are no time of a cluster.
    OffsetDateTime::from_unix_timestamp(at.seconds() as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `metav1.Time`: whole seconds, UTC.
pub(crate) fn rfc3339(at: UnixMicros) -> String {
    civil(at).format(SECONDS).unwrap_or_default()
}

/// Reads a `metav1.Time` or `MicroTime`.
pub(crate) fn parse(text: &str) -> Option<UnixMicros> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1000)
        .ok()
        .map(UnixMicros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_same_second() {
        let at = UnixMicros(1_795_354_103_500_000);
        assert_eq!(rfc3339(at), "2026-11-22T13:28:23Z");
        assert_eq!(parse("2026-11-22T13:28:23.500000Z"), Some(at));
        assert_eq!(parse("yesterday"), None);
    }
}

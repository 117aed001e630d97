//! Times as Kubernetes writes them, and the date of an HTTP response.
//!
//! `Time` has whole seconds (`2026-11-22T13:18:42Z`), `MicroTime` six digits behind them; both are RFC 3339 in UTC
//! (`k8s.io/apimachinery/pkg/apis/meta/v1/{time,micro_time}.go`). The calendar is the crate `time`'s.

use core::fmt;
use time::{Date, Month, OffsetDateTime, UtcOffset};

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// The last second that is written with a year of four digits: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

impl Timestamp {
    /// So many microseconds after the epoch; beyond the year 9999, the end of it.
    pub const fn from_micros(micros: u64) -> Self {
        const LAST: u64 = LAST_SECOND * 1_000_000 + 999_999;
        Self(if micros > LAST { LAST } else { micros })
    }

    /// So many seconds after the epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The form of a `Time`.
    pub const fn time(self) -> Time {
        Time(self)
    }

    /// The form of a `MicroTime`.
    pub const fn micro_time(self) -> MicroTime {
        MicroTime(self)
    }

    /// Reads either form, with any number of digits behind the seconds and any offset. `None` for what is no time, or
    /// one before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let (date_time, rest) = text.split_at_checked(19)?;
        let bytes = date_time.as_bytes();
        if bytes[4] != b'-'
            || bytes[7] != b'-'
            || !matches!(bytes[10], b'T' | b't')
            || bytes[13] != b':'
            || bytes[16] != b':'
        {
            return None;
        }
        let seconds = civil(
            number(&bytes[0..4])?,
            number(&bytes[5..7])?,
            number(&bytes[8..10])?,
            (
                number(&bytes[11..13])?,
                number(&bytes[14..16])?,
                number(&bytes[17..19])?,
            ),
        )?;
        let (micros, zone) = match rest.strip_prefix('.') {
            None => (0, rest),
            Some(fraction) => {
                let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
                let (fraction, zone) = fraction.split_at_checked(digits)?;
                if digits == 0 {
                    return None;
                }
                let micros = fraction
                    .bytes()
                    .chain(core::iter::repeat(b'0'))
                    .take(6)
                    .fold(0, |n, b| n * 10 + u32::from(b - b'0'));
                (micros, zone)
            }
        };
        let offset = match zone.as_bytes() {
            [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                i64::from(hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        u64::try_from((seconds - offset) * 1_000_000 + i64::from(micros))
            .ok()
            .map(Self::from_micros)
    }

    /// Reads the `Date` of an HTTP response: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7, the one form that may
    /// be sent).
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 29 || &bytes[3..5] != b", " || &bytes[25..] != b" GMT" {
            return None;
        }
        let mut months = MONTHS.as_bytes().chunks(3);
        let month = months.position(|name| *name == bytes[8..11])? as u32 + 1;
        let time = (
            number(&bytes[17..19])?,
            number(&bytes[20..22])?,
            number(&bytes[23..25])?,
        );
        let seconds = civil(number(&bytes[12..16])?, month, number(&bytes[5..7])?, time)?;
        u64::try_from(seconds).ok().map(Self::from_seconds)
    }

    /// The form of a `Date`.
    pub const fn http_date(self) -> HttpDate {
        HttpDate(self)
    }

    fn calendar(self) -> OffsetDateTime {
        // Bounded by the year 9999, so it is always a date.
        OffsetDateTime::from_unix_timestamp(self.seconds() as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// The number of up to four digits.
#[inline(never)]
fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

fn civil(year: u32, month: u32, day: u32, (hour, minute, second): (u32, u32, u32)) -> Option<i64> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
    // A leap second is the last second of its minute: Kubernetes never writes one.
    let time = date.with_hms(
        u8::try_from(hour).ok()?,
        u8::try_from(minute).ok()?,
        u8::try_from(second.min(59)).ok()?,
    );
    Some(time.ok()?.assume_offset(UtcOffset::UTC).unix_timestamp())
}

/// Writes `2026-11-22T13:18:42Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        seconds(self.0, f)?;
        f.write_str("Z")
    }
}

/// Writes `2026-11-22T13:18:42.000001Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroTime(Timestamp);

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        seconds(self.0, f)?;
        write!(f, ".{:06}Z", self.0.micros() % 1_000_000)
    }
}

const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
const WEEKDAYS: &str = "MonTueWedThuFriSatSun";

/// Writes `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate(Timestamp);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn name(names: &str, index: u8) -> &str {
            let start = 3 * usize::from(index);
            names.get(start..start + 3).unwrap_or_default()
        }
        let t = self.0.calendar();
        write!(
            f,
            "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
            name(WEEKDAYS, t.weekday().number_days_from_monday()),
            t.day(),
            name(MONTHS, u8::from(t.month()) - 1),
            t.year(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }
}

fn seconds(timestamp: Timestamp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let t = timestamp.calendar();
    // Of one width: each that is written takes flash.
    let [month, day, hour, minute, second] =
        [u8::from(t.month()), t.day(), t.hour(), t.minute(), t.second()].map(u32::from);
    let year = t.year().unsigned_abs();
    write!(
        f,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    #[test]
    fn forms() {
        let t = Timestamp::from_micros(1_795_353_522_000_042);
        assert_eq!(t.time().to_string(), "2026-11-22T13:18:42Z");
        assert_eq!(t.micro_time().to_string(), "2026-11-22T13:18:42.000042Z");
        assert_eq!(Timestamp::parse("2026-11-22T14:18:42.000042999+01:00"), Some(t));
        assert_eq!(
            Timestamp::parse_http_date("Sun, 22 Nov 2026 13:18:42 GMT"),
            Some(Timestamp::from_seconds(t.seconds()))
        );
        assert_eq!(t.http_date().to_string(), "Sun, 22 Nov 2026 13:18:42 GMT");
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        for bad in [
            "",
            "2026-11-22",
            "2026-02-30T00:00:00Z",
            "2026-11-22T13:18:42",
            "2026-11-22T13:18:42.Z",
            "2026-11-22T13:18:42+1:00",
        ] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(micros in 0..LAST_SECOND * 1_000_000) {
            let t = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::parse(&t.micro_time().to_string()), Some(t));
            prop_assert_eq!(Timestamp::parse(&t.time().to_string()), Some(Timestamp::from_seconds(t.seconds())));
            prop_assert_eq!(Timestamp::parse_http_date(&t.http_date().to_string()), Some(Timestamp::from_seconds(t.seconds())));
        }

        #[test]
        fn order_of_moments_is_order_of_text(a in 0..LAST_SECOND, b in 0..LAST_SECOND) {
            let text = |s| Timestamp::from_seconds(s).micro_time().to_string();
            prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), like in "[0-9TZ:.+ -]{0,40}") {
            let _ = (Timestamp::parse(&text), Timestamp::parse(&like), Timestamp::parse_http_date(&text), Timestamp::parse_http_date(&like));
        }
    }
}

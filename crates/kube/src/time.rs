//! Times as Kubernetes writes them, and the date of an HTTP response.
//!
//! `Time` has whole seconds (`2026-11-22T13:18:42Z`), `MicroTime` six digits behind them; both are RFC 3339 in UTC
//! (`k8s.io/apimachinery/pkg/apis/meta/v1/{time,micro_time}.go`). The calendar is our own, proved against
//! the crate `time`'s: that one takes a kilobyte more of flash.

use core::fmt;

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// The last second that is written with a year of four digits: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

impl Timestamp {
    /// So many microseconds after the epoch; beyond the year 9999, the end of it.
    #[inline(never)]
    pub const fn from_micros(micros: u64) -> Self {
        const LAST: u64 = LAST_SECOND * 1_000_000 + 999_999;
        Self(if micros > LAST { LAST } else { micros })
    }

    /// So many seconds after the epoch.
    #[inline(never)]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[inline(never)]
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
        let (micros, zone) = match rest.strip_prefix(".") {
            None => (0, rest),
            Some(fraction) => {
                let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
                let (fraction, zone) = fraction.split_at_checked(digits)?;
                if digits == 0 {
                    return None;
                }
                let digit = |at: usize| {
                    fraction
                        .as_bytes()
                        .get(at)
                        .map_or(0, |digit| u32::from(digit - b'0'))
                };
                let micros = (0..6).fold(0, |micros, at| micros * 10 + digit(at));
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

    /// Its day, as [`day_number`] counts, and the second in it.
    const fn day(self) -> (u32, u32) {
        // Bounded by the year 9999.
        let (days, second) = (self.seconds() / 86_400, self.seconds() % 86_400);
        (days as u32 + EPOCH, second as u32)
    }
}

/// The number of up to four digits.
#[inline(never)]
fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

/// Seconds after the epoch; before it they are negative.
fn civil(year: u32, month: u32, day: u32, (hour, minute, second): (u32, u32, u32)) -> Option<i64> {
    if year == 0 || !(1..=12).contains(&month) || hour > 23 || minute > 59 {
        return None;
    }
    let days = day_number(year, month, day);
    if date(days) != (year, month, day) {
        return None; // a day that its month does not have
    }
    // A leap second is the last second of its minute: Kubernetes never writes one.
    let seconds = hour * 3600 + minute * 60 + second.min(59);
    Some((i64::from(days) - i64::from(EPOCH)) * 86_400 + i64::from(seconds))
}

/// The day number of 1970-01-01.
const EPOCH: u32 = 719_468;
/// Days of four hundred years, after which the calendar repeats itself.
const CYCLE: u32 = 146_097;

/// Days since the first of March of the year 0: a year that begins with March ends with its leap day. (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms".) For years from 1 on; a day that its month does not have is counted on into the next.
const fn day_number(year: u32, month: u32, day: u32) -> u32 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1
}

/// Year, month and day of a day number.
const fn date(days: u32) -> (u32, u32, u32) {
    let of_cycle = days % CYCLE;
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + days / CYCLE * 400;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
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
        fn name(names: &str, index: u32) -> &str {
            let start = 3 * index as usize;
            names.get(start..start + 3).unwrap_or_default()
        }
        let (days, second) = self.0.day();
        let (year, month, day) = date(days);
        write!(
            f,
            "{}, {day:02} {} {year:04} {} GMT",
            name(WEEKDAYS, (days + 2) % 7),
            name(MONTHS, month - 1),
            OfDay(second)
        )
    }
}

/// Writes `13:18:42`.
struct OfDay(u32);

impl fmt::Display for OfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, second) = (self.0 / 60, self.0 % 60);
        write!(f, "{:02}:{:02}:{second:02}", minutes / 60, minutes % 60)
    }
}

fn seconds(timestamp: Timestamp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (days, second) = timestamp.day();
    let (year, month, day) = date(days);
    write!(f, "{year:04}-{month:02}-{day:02}T{}", OfDay(second))
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

    #[test]
    fn the_calendar_is_that_of_others() {
        for days in 0..LAST_SECOND / 86_400 + 1 {
            let seconds = days * 86_400;
            let other = time::OffsetDateTime::from_unix_timestamp(seconds as i64).expect("a time");
            let (year, month, day) = (
                other.year().unsigned_abs(),
                u32::from(u8::from(other.month())),
                u32::from(other.day()),
            );
            assert_eq!(date(days as u32 + EPOCH), (year, month, day));
            assert_eq!(civil(year, month, day, (0, 0, 0)), Some(seconds as i64));
            if days < 14 {
                let weekday = Timestamp::from_seconds(seconds).http_date().to_string();
                assert!(
                    other.weekday().to_string().starts_with(&weekday[..3]),
                    "{weekday}"
                );
            }
        }
    }

    #[test]
    fn a_month_has_the_days_that_it_has() {
        for (year, month) in (1..=9999)
            .step_by(7)
            .flat_map(|year| (1..=12).map(move |month| (year, month)))
        {
            let has = time::Month::try_from(month as u8)
                .expect("a month")
                .length(year as i32);
            for day in 0..40 {
                let is = civil(year, month, day, (0, 0, 0)).is_some();
                assert_eq!(is, (1..=u32::from(has)).contains(&day), "{year}-{month}-{day}");
            }
        }
        for wrong in [
            civil(0, 1, 1, (0, 0, 0)),
            civil(1, 13, 1, (0, 0, 0)),
            civil(1, 0, 1, (0, 0, 0)),
        ] {
            assert_eq!(wrong, None);
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

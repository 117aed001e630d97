//! Durations as kubectl prints them.

use alloc::format;
use alloc::string::String;

/// Writes `seconds` as kubectl prints ages, in at most two units (`HumanDuration` in apimachinery, pkg/util/duration). More than a second
/// below zero is `<invalid>`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |unit: i64, letter: char, small: i64, small_letter: char| match seconds % unit / small {
        0 => format!("{}{letter}", seconds / unit),
        rest => format!("{}{letter}{rest}{small_letter}", seconds / unit),
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, 'm', 1, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, 'h', MINUTE, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, 'd', HOUR, 'h'),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, 'y', DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (30_000, "8h"),
            (176_400, "2d1h"),
            (900_000, "10d"),
            (63_158_400, "2y1d"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}

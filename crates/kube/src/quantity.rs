//! Quantities: `64Ki`, `250m`, `1.5`, `2e3`.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource/quantity.go`. Kept in thousandths, rounded away from zero as there:
//! enough for processors and bytes up to 9 petabytes, beyond which a value saturates.

use crate::text::integer;
use core::fmt;

/// An amount of a resource, in thousandths of its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i64);

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// There is no number in front.
    NoNumber,
    /// What stands behind the number is no suffix: `m`, `k`, `M`, `G`, `T`, `P`, `E`, `Ki` … `Ei`, or an exponent.
    Suffix,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNumber => "a quantity begins with a number",
            Self::Suffix => "a quantity ends with nothing, n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent",
        })
    }
}

impl core::error::Error for QuantityError {}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many whole units.
    #[inline(never)]
    pub const fn new(units: i64) -> Self {
        Self(units.saturating_mul(1000))
    }

    /// So many thousandths.
    pub const fn from_milli(milli: i64) -> Self {
        Self(milli)
    }

    /// In thousandths.
    pub const fn milli(self) -> i64 {
        self.0
    }

    /// In whole units, rounded up.
    #[inline(never)]
    pub const fn value(self) -> i64 {
        self.0 / 1000 + (self.0 % 1000 > 0) as i64
    }

    /// Both together; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Reads a quantity as the API server sends or a person writes it.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let positive = text.strip_prefix("-");
        let negative = positive.is_some();
        let unsigned = positive.or_else(|| text.strip_prefix("+")).unwrap_or(text);
        let length = unsigned
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, suffix) = unsigned.split_at_checked(length).unwrap_or_default();
        let points = number.bytes().filter(|b| *b == b'.').count();
        if points > 1 || number.len() == points {
            return Err(QuantityError::NoNumber);
        }
        let scale = Scale::parse(suffix)?;
        // The digits as one integer, and how many powers of ten it is too large. Digits beyond 18 cannot matter but
        // for rounding up.
        let mut digits: u64 = 0;
        let mut exponent = scale.ten;
        let (mut fractional, mut lost) = (false, false);
        for byte in number.bytes() {
            if byte == b'.' {
                fractional = true;
            } else if digits < 1_000_000_000_000_000_000 {
                digits = digits * 10 + u64::from(byte - b'0');
                exponent -= i32::from(fractional);
            } else {
                lost |= byte != b'0';
                exponent += i32::from(!fractional);
            }
        }
        let mut amount = Wide::new(digits);
        for _ in 0..scale.kibi {
            amount.times(1024); // at most 10^19 · 2^60 < 2^124
        }
        exponent += 3;
        while exponent > 0 && (1..LARGEST).contains(&amount.low()) {
            amount.times(10);
            exponent -= 1;
        }
        while exponent < 0 && amount.low() != 0 {
            lost |= amount.divide_by_ten() != 0;
            exponent += 1;
        }
        let milli = amount.low().saturating_add(u64::from(lost));
        let milli = i64::try_from(milli).unwrap_or(i64::MAX);
        Ok(Self(if negative { -milli } else { milli }))
    }
}

const LARGEST: u64 = i64::MAX as u64;

/// 128 bits in limbs, the lowest first. The arithmetic of `u128` takes 2 KB on a core of 32 bits.
struct Wide([u32; 4]);

impl Wide {
    const fn new(value: u64) -> Self {
        Self([value as u32, (value >> 32) as u32, 0, 0])
    }

    /// The value, or all ones where it is larger.
    const fn low(&self) -> u64 {
        let [lowest, low, high, highest] = self.0;
        if high | highest != 0 {
            return u64::MAX;
        }
        (low as u64) << 32 | lowest as u64
    }

    fn times(&mut self, factor: u32) {
        let mut carry = 0;
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
    }

    /// Returns the remainder.
    fn divide_by_ten(&mut self) -> u64 {
        let mut rest = 0;
        for limb in self.0.iter_mut().rev() {
            rest = rest << 32 | u64::from(*limb);
            *limb = (rest / 10) as u32;
            rest %= 10;
        }
        rest
    }
}

struct Scale {
    /// Its power of ten.
    ten: i32,
    /// Its power of 1024.
    kibi: u32,
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, QuantityError> {
        // Three powers of ten, or one of 1024, from each to the next.
        let place = |among: &str, letter: u8| {
            let place = among.bytes().position(|known| known == letter);
            place.map(|place| place as i32)
        };
        let (ten, kibi) = match suffix.as_bytes() {
            [] => (0, 0),
            [letter] => {
                let place = place("num kMGTPE", *letter).filter(|_| *letter != b' ');
                (3 * (place.ok_or(QuantityError::Suffix)? - 3), 0)
            }
            [letter, b'i'] => {
                let place = place("KMGTPE", *letter);
                (0, place.ok_or(QuantityError::Suffix)? + 1)
            }
            [b'e' | b'E', exponent @ ..] if exponent.len() <= 5 => {
                let exponent = core::str::from_utf8(exponent).ok();
                let exponent = exponent.and_then(|exponent| integer(exponent, 10));
                // Of five characters, it fits.
                (exponent.ok_or(QuantityError::Suffix)? as i32, 0)
            }
            _ => return Err(QuantityError::Suffix),
        };
        Ok(Self {
            ten,
            kibi: kibi as u32,
        })
    }
}

/// In the shortest of the forms that Kubernetes itself would write: `264Ki`, `250m`, `8`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 != 0 {
            return write!(f, "{}m", self.0);
        }
        let mut value = self.0 / 1000;
        let mut suffix = "";
        for next in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
            if value == 0 || value % 1024 != 0 {
                break;
            }
            value /= 1024;
            suffix = next;
        }
        write!(f, "{value}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        format,
        string::{String, ToString},
    };

    #[test]
    fn what_kubernetes_writes() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("250m", 250),
            ("1.5", 1500),
            (".5", 500),
            ("5.", 5000),
            ("64Ki", 65_536_000),
            ("1.5Ki", 1_536_000),
            ("2e3", 2_000_000),
            ("1E", 1_000_000_000_000_000_000 / 1000 * 1000),
            ("100n", 1),
            ("1u", 1),
            ("0.0001", 1),
            ("-1.5", -1500),
            ("+3k", 3_000_000),
            ("12e-1", 1200),
        ] {
            let want = if text == "1E" { i64::MAX } else { milli };
            assert_eq!(Quantity::parse(text).map(Quantity::milli), Ok(want), "{text}");
        }
        for bad in [
            "", "Ki", "-", "1KiB", "1 ", "1.2.3", "1e", "1e999999", "0x10", "1mm", "é",
        ] {
            assert!(Quantity::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rounding_up_to_whole_units() {
        assert_eq!(Quantity::parse("1001m").map(Quantity::value), Ok(2));
        assert_eq!(Quantity::parse("-1500m").map(Quantity::value), Ok(-1));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(milli in any::<i64>().prop_filter("negating must not overflow", |m| *m != i64::MIN)) {
            let quantity = Quantity::from_milli(milli);
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
        }

        #[test]
        fn a_larger_number_is_a_larger_quantity(a in 0u32.., b in 0u32.., suffix in prop::sample::select(std::vec!["", "m", "k", "Ki", "M", "Mi"])) {
            let quantity = |n: u32| Quantity::parse(&format!("{n}{suffix}")).expect("valid");
            prop_assert_eq!(quantity(a).cmp(&quantity(b)), a.cmp(&b));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), number in "[0-9.+eE-]{0,60}[a-zA-Z]{0,3}") {
            let _ = Quantity::parse(&text);
            let _ = Quantity::parse(&number);
        }
    }
}

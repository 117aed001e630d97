//! Makes the tables of points in `src/p256/tables.rs` and `src/x25519/tables.rs` from the curves' definitions, and checks
//! that the files are what it makes.
//!
//! `UPDATE_TABLES=1 cargo test -p picolet-ec --test tables` writes them anew.
//!
//! Everything is the definition in affine coordinates on big integers: no formula is shared with the crate.

use num_bigint::{BigInt, BigUint, Sign};
use std::fmt::Write;

type Point = (BigInt, BigInt);

fn hex(digits: &str) -> BigInt {
    BigInt::parse_bytes(digits.as_bytes(), 16).unwrap()
}

fn modulo(a: BigInt, p: &BigInt) -> BigInt {
    ((a % p) + p) % p
}

fn inverse(a: &BigInt, p: &BigInt) -> BigInt {
    a.modinv(p).unwrap()
}

/// A group of points in affine coordinates, as far as the tables need it.
trait Curve {
    fn add(&self, a: &Point, b: &Point) -> Point;
    fn neg(&self, a: &Point) -> Point;
    /// The words that a table holds of a point.
    fn entry(&self, point: &Point) -> Vec<BigInt>;

    fn double_times(&self, point: &Point, times: usize) -> Point {
        (0..times).fold(point.clone(), |point, _| self.add(&point, &point))
    }

    /// Both halves' sums of all signs, the last tooth's being +.
    fn comb(&self, base: &Point, teeth: usize, row: usize) -> Vec<Vec<BigInt>> {
        let columns = row / 2;
        let mut entries = Vec::new();
        for half in 0..2 {
            let powers: Vec<Point> = (0..teeth)
                .map(|tooth| self.double_times(base, tooth * row + half * columns))
                .collect();
            for signs in 0..1 << (teeth - 1) {
                let mut sum = powers[teeth - 1].clone();
                for (tooth, power) in powers[..teeth - 1].iter().enumerate() {
                    let positive = signs >> tooth & 1 == 1;
                    sum = self.add(&sum, &if positive { power.clone() } else { self.neg(power) });
                }
                entries.push(self.entry(&sum));
            }
        }
        entries
    }
}

/// SP 800-186, section 3.2.1.3. The table's coordinates are in Montgomery form.
struct P256 {
    p: BigInt,
}

impl P256 {
    fn new() -> (Self, Point) {
        let p = hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
        let generator = (
            hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
            hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
        );
        (P256 { p }, generator)
    }
}

impl Curve for P256 {
    fn add(&self, a: &Point, b: &Point) -> Point {
        let p = &self.p;
        let slope = if a == b {
            (3 * &a.0 * &a.0 - 3) * inverse(&(2 * &a.1), p)
        } else {
            (&b.1 - &a.1) * inverse(&modulo(&b.0 - &a.0, p), p)
        };
        let x = modulo(&slope * &slope - &a.0 - &b.0, p);
        let y = modulo(slope * (&a.0 - &x) - &a.1, p);
        (x, y)
    }

    fn neg(&self, a: &Point) -> Point {
        (a.0.clone(), modulo(-&a.1, &self.p))
    }

    fn entry(&self, point: &Point) -> Vec<BigInt> {
        [&point.0, &point.1].map(|c| (c << 256u32) % &self.p).into()
    }
}

/// RFC 7748, section 4.1. The table holds (y + x, y − x, 2dxy).
struct Edwards25519 {
    p: BigInt,
    d: BigInt,
}

impl Edwards25519 {
    fn new() -> (Self, Point) {
        let p = (BigInt::from(1) << 255u32) - 19;
        let d = modulo(-121_665 * inverse(&BigInt::from(121_666), &p), &p);
        let y = modulo(4 * inverse(&BigInt::from(5), &p), &p);
        // x² = (y² − 1)/(d·y² + 1); the root is a^((p+3)/8), times √−1 if need be, and the even one is meant.
        let yy = &y * &y;
        let xx = modulo((&yy - 1) * inverse(&modulo(&d * &yy + 1, &p), &p), &p);
        let mut x = xx.modpow(&((&p + 3) >> 3), &p);
        if modulo(&x * &x - &xx, &p) != BigInt::ZERO {
            x = x * BigInt::from(2).modpow(&((&p - 1) >> 2), &p) % &p;
        }
        if x.bit(0) {
            x = &p - x;
        }
        (Edwards25519 { p, d }, (x, y))
    }
}

impl Curve for Edwards25519 {
    fn add(&self, a: &Point, b: &Point) -> Point {
        let p = &self.p;
        let k = modulo(&self.d * &a.0 * &b.0 * &a.1 * &b.1, p);
        (
            modulo((&a.0 * &b.1 + &a.1 * &b.0) * inverse(&modulo(1 + &k, p), p), p),
            modulo((&a.1 * &b.1 + &a.0 * &b.0) * inverse(&modulo(1 - k, p), p), p),
        )
    }

    fn neg(&self, a: &Point) -> Point {
        (modulo(-&a.0, &self.p), a.1.clone())
    }

    fn entry(&self, (x, y): &Point) -> Vec<BigInt> {
        [y + x, y - x, 2 * &self.d * x * y]
            .map(|c| modulo(c, &self.p))
            .into()
    }
}

/// A table as a Rust static.
fn rust(name: &str, documentation: &str, entries: &[Vec<BigInt>]) -> String {
    let mut out = String::new();
    let (length, coordinates) = (entries.len(), entries[0].len());
    writeln!(out, "\n/// {documentation}").unwrap();
    writeln!(out, "#[rustfmt::skip]").unwrap();
    writeln!(
        out,
        "pub(crate) static {name}: [[Words; {coordinates}]; {length}] = ["
    )
    .unwrap();
    for entry in entries {
        writeln!(out, "    [").unwrap();
        for coordinate in entry {
            let (sign, mut words) = coordinate.to_u32_digits();
            assert!(sign != Sign::Minus && words.len() <= 8);
            words.resize(8, 0);
            let words: Vec<String> = words.iter().map(|word| format!("{word:#010x}")).collect();
            writeln!(out, "        [{}],", words.join(", ")).unwrap();
        }
        writeln!(out, "    ],").unwrap();
    }
    writeln!(out, "];").unwrap();
    out
}

fn p256_tables() -> String {
    let (curve, generator) = P256::new();
    let double = curve.add(&generator, &generator);
    let mut multiple = generator.clone();
    let mut odd = Vec::new();
    for _ in 0..16 {
        odd.push(curve.entry(&multiple));
        multiple = curve.add(&multiple, &double);
    }
    let mut file = String::from(
        "//! Multiples of P-256's generator in Montgomery form, made by `tests/tables.rs`: do not edit.\n\nuse crate::words::Words;\n",
    );
    file += &rust(
        "GENERATOR_COMB",
        "The comb of `comb.rs`: 2 halves of 16 sums of signs.",
        &curve.comb(&generator, 5, 52),
    );
    file += &rust(
        "GENERATOR_ODD",
        "1, 3, … 31 times the generator, for `interleave.rs`.",
        &odd,
    );
    file
}

fn x25519_tables() -> String {
    let (curve, base) = Edwards25519::new();
    let mut file = String::from(
        "//! Multiples of edwards25519's base point, made by `tests/tables.rs`: do not edit.\n\nuse crate::words::Words;\n",
    );
    file += &rust(
        "BASE_COMB",
        "The comb of `edwards.rs`: 2 halves of 8 sums of signs, each point as (y + x, y − x, 2dxy).",
        &curve.comb(&base, 4, 64),
    );
    file
}

fn check(path: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_TABLES").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == made,
        "{} is not what the generator makes",
        path.display()
    );
}

#[test]
fn p256_tables_are_what_the_generator_makes() {
    check("src/p256/tables.rs", &p256_tables());
}

#[test]
fn x25519_tables_are_what_the_generator_makes() {
    check("src/x25519/tables.rs", &x25519_tables());
}

#[test]
fn the_curves_are_the_ones_they_should_be() {
    // n·G is infinity: (n − 1)·G = −G.
    let (curve, generator) = P256::new();
    let n: BigInt = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") - 1;
    let multiple = (0..n.bits() - 1).rev().fold(generator.clone(), |sum, i| {
        let sum = curve.add(&sum, &sum);
        if n.bit(i) {
            curve.add(&sum, &generator)
        } else {
            sum
        }
    });
    assert_eq!(multiple, curve.neg(&generator));
    let (curve, base) = Edwards25519::new();
    let order = (BigUint::from(1u8) << 252u32)
        + "27742317777372353535851937790883648493"
            .parse::<BigUint>()
            .unwrap();
    let identity = (BigInt::ZERO, BigInt::from(1));
    let multiple = (0..order.bits()).rev().fold(identity.clone(), |sum, i| {
        let sum = curve.add(&sum, &sum);
        if order.bit(i) { curve.add(&sum, &base) } else { sum }
    });
    assert_eq!(multiple, identity);
}

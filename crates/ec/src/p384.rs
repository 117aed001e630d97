//! ECDSA verification on P-384 (FIPS 186-5, SP 800-186 section 3.2.1.4), for certificate chains of public registries.
//!
//! All inputs are public, so nothing here is constant time. It is written for little flash: one Montgomery multiplication serves the
//! field and the group's order, and there are no tables beside the curve's constants.

type Words = [u32; WORDS];
const WORDS: usize = 12;
/// Length of a coordinate or a scalar in bytes.
const BYTES: usize = 48;

/// The words of a number in hexadecimal digits, the most significant first.
const fn words(digits: [u32; WORDS]) -> Words {
    let mut words = [0; WORDS];
    let mut i = 0;
    while i < WORDS {
        words[i] = digits[WORDS - 1 - i];
        i += 1;
    }
    words
}

#[rustfmt::skip]
const P: Words = words([
    0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
    0xffffffff, 0xfffffffe, 0xffffffff, 0x00000000, 0x00000000, 0xffffffff,
]);
#[rustfmt::skip]
const N: Words = words([
    0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
    0xc7634d81, 0xf4372ddf, 0x581a0db2, 0x48b0a77a, 0xecec196a, 0xccc52973,
]);
#[rustfmt::skip]
const B: Words = words([
    0xb3312fa7, 0xe23ee7e4, 0x988e056b, 0xe3f82d19, 0x181d9c6e, 0xfe814112,
    0x0314088f, 0x5013875a, 0xc656398d, 0x8a2ed19d, 0x2a85c8ed, 0xd3ec2aef,
]);
#[rustfmt::skip]
const GX: Words = words([
    0xaa87ca22, 0xbe8b0537, 0x8eb1c71e, 0xf320ad74, 0x6e1d3b62, 0x8ba79b98,
    0x59f741e0, 0x82542a38, 0x5502f25d, 0xbf55296c, 0x3a545e38, 0x72760ab7,
]);
#[rustfmt::skip]
const GY: Words = words([
    0x3617de4a, 0x96262c6f, 0x5d9e98bf, 0x9292dc29, 0xf8f41dbd, 0x289a147c,
    0xe9da3113, 0xb5f0b8c0, 0x0a60b1ce, 0x1d7e819d, 0x7a431d7c, 0x90ea0e5f,
]);

const ONE: Words = {
    let mut one = [0; WORDS];
    one[0] = 1;
    one
};

const fn add(a: &Words, b: &Words) -> (Words, u32) {
    let (mut sum, mut carry, mut i) = ([0; WORDS], 0, 0);
    while i < WORDS {
        let word = a[i] as u64 + b[i] as u64 + carry;
        sum[i] = word as u32;
        carry = word >> 32;
        i += 1;
    }
    (sum, carry as u32)
}

const fn sub(a: &Words, b: &Words) -> (Words, u32) {
    let (mut difference, mut borrow, mut i) = ([0; WORDS], 0, 0);
    while i < WORDS {
        let word = (a[i] as u64).wrapping_sub(b[i] as u64).wrapping_sub(borrow);
        difference[i] = word as u32;
        borrow = word >> 63;
        i += 1;
    }
    (difference, borrow as u32)
}

/// a mod m for a = words + high·2³⁸⁴ below 2m.
const fn reduce(a: Words, high: u32, m: &Words) -> Words {
    let (difference, borrow) = sub(&a, m);
    if high == 0 && borrow == 1 { a } else { difference }
}

/// Whether a < b.
fn is_below(a: &Words, b: &Words) -> bool {
    sub(a, b).1 == 1
}

/// An odd modulus above 2³⁸³, for Montgomery multiplication.
struct Modulus {
    m: Words,
    /// −1/m mod 2³².
    inverse: u32,
    /// 2⁷⁶⁸ mod m.
    square: Words,
}

static FIELD: Modulus = Modulus::new(P);
static ORDER: Modulus = Modulus::new(N);

impl Modulus {
    const fn new(m: Words) -> Self {
        // Newton's iteration doubles the correct bits.
        let (mut inverse, mut i) = (1u32, 0);
        while i < 5 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(m[0].wrapping_mul(inverse)));
            i += 1;
        }
        let (mut square, mut i) = (ONE, 0);
        while i < 2 * 32 * WORDS {
            let (double, carry) = add(&square, &square);
            square = reduce(double, carry, &m);
            i += 1;
        }
        Self {
            m,
            inverse: inverse.wrapping_neg(),
            square,
        }
    }

    /// a·b/2³⁸⁴ mod m, for a and b below m.
    #[inline(never)]
    fn mul(&self, a: &Words, b: &Words) -> Words {
        let mut sum = [0u32; WORDS];
        let mut high = 0u32;
        for &a in a {
            // sum + a·b + quotient·m is divisible by 2³²; both products are added in one pass.
            let quotient = sum[0]
                .wrapping_add(a.wrapping_mul(b[0]))
                .wrapping_mul(self.inverse);
            let (mut carry, mut reduced) = (0u64, 0u64);
            for i in 0..WORDS {
                carry += u64::from(sum[i]) + u64::from(a) * u64::from(b[i]);
                reduced += u64::from(carry as u32) + u64::from(quotient) * u64::from(self.m[i]);
                carry >>= 32;
                if i > 0 {
                    sum[i - 1] = reduced as u32;
                }
                reduced >>= 32;
            }
            let last = carry + reduced + u64::from(high);
            sum[WORDS - 1] = last as u32;
            high = (last >> 32) as u32;
        }
        reduce(sum, high, &self.m)
    }

    fn add(&self, a: &Words, b: &Words) -> Words {
        let (sum, carry) = add(a, b);
        reduce(sum, carry, &self.m)
    }

    fn sub(&self, a: &Words, b: &Words) -> Words {
        match sub(a, b) {
            (difference, 0) => difference,
            (difference, _) => add(&difference, &self.m).0,
        }
    }

    /// a·2³⁸⁴ mod m.
    fn enter(&self, a: &Words) -> Words {
        self.mul(a, &self.square)
    }

    /// 1/a in Montgomery form, by Fermat's theorem; m is prime.
    fn invert(&self, a: &Words) -> Words {
        let mut two = [0; WORDS];
        two[0] = 2;
        let exponent = sub(&self.m, &two).0;
        let mut power = *a; // the highest bit of the exponent is set
        for bit in (0..32 * WORDS - 1).rev() {
            power = self.mul(&power, &power);
            if exponent[bit / 32] >> (bit % 32) & 1 == 1 {
                power = self.mul(&power, a);
            }
        }
        power
    }
}

/// A point in Jacobian coordinates in Montgomery form; z = 0 is the point at infinity.
#[derive(Clone, Copy)]
struct Point {
    x: Words,
    y: Words,
    z: Words,
}

const ZERO: Words = [0; WORDS];

impl Point {
    const INFINITY: Self = Self {
        x: ZERO,
        y: ZERO,
        z: ZERO,
    };

    fn affine(x: &Words, y: &Words) -> Self {
        Self {
            x: FIELD.enter(x),
            y: FIELD.enter(y),
            z: FIELD.enter(&ONE),
        }
    }

    /// Whether y² = x³ − 3x + b, for z = 1.
    fn is_on_curve(&self) -> bool {
        let f = &FIELD;
        let square = f.mul(&self.x, &self.x);
        let three = f.add(&f.add(&self.z, &self.z), &self.z);
        let right = f.add(&f.mul(&f.sub(&square, &three), &self.x), &f.enter(&B));
        f.mul(&self.y, &self.y) == right
    }

    /// The formulas "dbl-2001-b" of the Explicit-Formulas Database.
    #[inline(never)]
    fn double(&self) -> Self {
        let f = &FIELD;
        let delta = f.mul(&self.z, &self.z);
        let gamma = f.mul(&self.y, &self.y);
        let beta = f.mul(&self.x, &gamma);
        let alpha = f.mul(&f.sub(&self.x, &delta), &f.add(&self.x, &delta));
        let alpha = f.add(&f.add(&alpha, &alpha), &alpha);
        let beta2 = f.add(&beta, &beta);
        let beta4 = f.add(&beta2, &beta2);
        let x = f.sub(&f.mul(&alpha, &alpha), &f.add(&beta4, &beta4));
        let yz = f.add(&self.y, &self.z);
        let z = f.sub(&f.sub(&f.mul(&yz, &yz), &gamma), &delta);
        let gamma2 = f.add(&gamma, &gamma);
        let square = f.mul(&gamma2, &gamma2);
        let y = f.sub(&f.mul(&alpha, &f.sub(&beta4, &x)), &f.add(&square, &square));
        Self { x, y, z }
    }

    /// The formulas "add-1998-cmo-2", and the cases that they do not cover.
    #[inline(never)]
    fn add(&self, other: &Self) -> Self {
        if self.z == ZERO {
            return *other;
        }
        if other.z == ZERO {
            return *self;
        }
        let f = &FIELD;
        let zz1 = f.mul(&self.z, &self.z);
        let zz2 = f.mul(&other.z, &other.z);
        let u1 = f.mul(&self.x, &zz2);
        let u2 = f.mul(&other.x, &zz1);
        let s1 = f.mul(&self.y, &f.mul(&other.z, &zz2));
        let s2 = f.mul(&other.y, &f.mul(&self.z, &zz1));
        let h = f.sub(&u2, &u1);
        let r = f.sub(&s2, &s1);
        if h == ZERO {
            return if r == ZERO { self.double() } else { Self::INFINITY };
        }
        let hh = f.mul(&h, &h);
        let hhh = f.mul(&h, &hh);
        let v = f.mul(&u1, &hh);
        let x = f.sub(&f.sub(&f.mul(&r, &r), &hhh), &f.add(&v, &v));
        let y = f.sub(&f.mul(&r, &f.sub(&v, &x)), &f.mul(&s1, &hhh));
        let z = f.mul(&h, &f.mul(&self.z, &other.z));
        Self { x, y, z }
    }
}

/// Reads a big-endian number of up to 48 bytes.
fn number(bytes: &[u8]) -> Words {
    let mut words = ZERO;
    for (word, chunk) in words.iter_mut().zip(bytes.rchunks(4)) {
        *word = chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    words
}

/// Verifies an ECDSA signature: `public` is an uncompressed point (SEC 1, section 2.3.3), `digest` the whole digest of any
/// length, `signature` r and then s, 48 bytes each.
///
/// Variable time: all of it is public.
pub fn verify(public: &[u8], digest: &[u8], signature: &[u8; 2 * BYTES]) -> bool {
    let Some((&[4], public)) = public.split_first_chunk() else {
        return false;
    };
    if public.len() != 2 * BYTES {
        return false;
    }
    let (x, y) = public.split_at(BYTES);
    let (x, y) = (number(x), number(y));
    let (r, s) = signature.split_at(BYTES);
    let (r, s) = (number(r), number(s));
    let is_scalar = |scalar: &Words| *scalar != ZERO && is_below(scalar, &N);
    if !is_below(&x, &P) || !is_below(&y, &P) || !is_scalar(&r) || !is_scalar(&s) {
        return false;
    }
    let key = Point::affine(&x, &y);
    if !key.is_on_curve() {
        return false;
    }
    // The leftmost 384 bits (FIPS 186-5, section 6.4.2), below twice the order.
    let digest = reduce(number(digest.get(..BYTES).unwrap_or(digest)), 0, &N);
    // A product with one factor in Montgomery form is not.
    let inverse = ORDER.invert(&ORDER.enter(&s));
    let u = ORDER.mul(&digest, &inverse);
    let v = ORDER.mul(&r, &inverse);
    let generator = Point::affine(&GX, &GY);
    let both = generator.add(&key);
    let mut sum = Point::INFINITY;
    for bit in (0..32 * WORDS).rev() {
        sum = sum.double();
        let is_set = |scalar: &Words| scalar[bit / 32] >> (bit % 32) & 1 == 1;
        match (is_set(&u), is_set(&v)) {
            (false, false) => {}
            (true, false) => sum = sum.add(&generator),
            (false, true) => sum = sum.add(&key),
            (true, true) => sum = sum.add(&both),
        }
    }
    if sum.z == ZERO {
        return false;
    }
    // x = r mod n, where x is X/Z² below p: r, or r + n if that is below p.
    let square = FIELD.mul(&sum.z, &sum.z);
    let equals = |r: &Words| FIELD.mul(&FIELD.enter(r), &square) == sum.x;
    let (above, carry) = add(&r, &N);
    equals(&r) || (carry == 0 && is_below(&above, &P) && equals(&above))
}

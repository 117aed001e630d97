//! Points of P-256: y² = x³ − 3x + b.
//!
//! Jacobian coordinates (X : Y : Z) stand for (X/Z², Y/Z³). The formulas are the incomplete ones of the Explicit-Formulas
//! Database for a = −3: on this core products are all that counts, and complete formulas (Renes, Costello, Batina 2016)
//! take 1.4 to 1.7 times as many. Who calls them shows that the exceptional cases cannot occur, or handles them: an
//! addition returns H, which is 0 just when they do.
//!
//! | operation | cost | source |
//! |---|---|---|
//! | [`Jacobian::double`] | 4 M + 4 S | Guide to Elliptic Curve Cryptography, algorithm 3.21, scaled by ½ |
//! | [`Jacobian::add_affine`] | 8 M + 3 S | the same, algorithm 3.22 |
//! | [`Jacobian::add_prepared`] | 11 M + 3 S | `add-1998-cmo-2`, with Z₂² and Z₂³ kept |
//! | [`Jacobian::to_affine`] | inversion + 4 M + 1 S | |
//!
//! The point at infinity has no representation here. Constant time, where not said otherwise.

use super::field::Element;
use crate::words::Words;

/// The curve's coefficient b, in Montgomery form (SP 800-186, section 3.2.1.3).
pub(crate) const B: Element = Element([
    0x29c4_bddf,
    0xd89c_df62,
    0x7884_3090,
    0xacf0_05cd,
    0xf721_2ed6,
    0xe5a2_20ab,
    0x0487_4834,
    0xdc30_061d,
]);

/// A point other than infinity by its two coordinates.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Affine {
    pub(crate) x: Element,
    pub(crate) y: Element,
}

/// A point as tables hold it: the words of its two coordinates.
pub(crate) type Entry = [Words; 2];

impl From<Entry> for Affine {
    fn from([x, y]: Entry) -> Self {
        Affine {
            x: Element(x),
            y: Element(y),
        }
    }
}

impl From<Affine> for Entry {
    fn from(Affine { x, y }: Affine) -> Self {
        [x.0, y.0]
    }
}

/// A point other than infinity in Jacobian coordinates.
#[derive(Clone, Copy)]
pub(crate) struct Jacobian {
    pub(crate) x: Element,
    pub(crate) y: Element,
    pub(crate) z: Element,
}

/// A Jacobian point that will be added more than once, with Z² and Z³.
#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    pub(crate) point: Jacobian,
    zz: Element,
    zzz: Element,
}

/// What tells the exceptional cases of an addition P + Q: `h` is 0 if P = ±Q, and `r` too if P = Q.
#[must_use = "an incomplete addition is wrong where h is 0: handle it, or say why it cannot be"]
pub(crate) struct Difference {
    h: Element,
    r: Element,
}

/// x³ − 3x + b. 1 M + 1 S.
pub(crate) fn curve_polynomial(x: &Element) -> Element {
    x.square().mul(x).add(&B).sub(x).sub(x).sub(x)
}

impl Affine {
    /// 1 if the coordinates satisfy the curve's equation, else 0.
    pub(crate) fn is_on_curve(&self) -> u32 {
        self.y.square().equals(&curve_polynomial(&self.x))
    }

    /// The point with its sign changed where the mask is all ones.
    pub(crate) fn negate_if(&self, mask: u32) -> Self {
        Affine {
            x: self.x,
            y: self.y.negate_if(mask),
        }
    }

    pub(crate) fn neg(&self) -> Self {
        Affine {
            x: self.x,
            y: self.y.neg(),
        }
    }
}

impl From<Affine> for Jacobian {
    fn from(Affine { x, y }: Affine) -> Self {
        Jacobian {
            x,
            y,
            z: Element::ONE,
        }
    }
}

impl Prepared {
    /// 1 M + 1 S.
    pub(crate) fn new(point: Jacobian) -> Self {
        let zz = point.z.square();
        Prepared {
            point,
            zz,
            zzz: zz.mul(&point.z),
        }
    }

    pub(crate) fn neg(&self) -> Self {
        let mut negated = *self;
        negated.point.y = self.point.y.neg();
        negated
    }
}

impl Jacobian {
    /// P becomes 2P. There is no exceptional case: the order of the group is odd.
    ///
    /// With λ = 3(X − Z²)(X + Z²)/2 and β = X·Y²: X' = λ² − 2β, Y' = λ(β − X') − Y⁴, Z' = Y·Z. 4 M + 4 S.
    #[inline(never)]
    pub(crate) fn double(&mut self) {
        let zz = self.z.square();
        let product = self.x.sub(&zz).mul(&self.x.add(&zz));
        let lambda = product.add(&product.half());
        let yy = self.y.square();
        let beta = self.x.mul(&yy);
        self.z = self.y.mul(&self.z);
        self.x = lambda.square().sub(&beta).sub(&beta);
        self.y = lambda.mul(&beta.sub(&self.x)).sub(&yy.square());
    }

    /// P becomes 2ⁿ·P.
    pub(crate) fn double_times(&mut self, times: usize) {
        for _ in 0..times {
            self.double();
        }
    }

    /// P becomes P + Q, if P ≠ ±Q. 8 M + 3 S.
    #[inline(never)]
    pub(crate) fn add_affine(&mut self, q: &Affine) -> Difference {
        let zz = self.z.square();
        let h = q.x.mul(&zz).sub(&self.x);
        let r = zz.mul(&self.z).mul(&q.y).sub(&self.y);
        self.z = self.z.mul(&h);
        self.finish_addition(h, r)
    }

    /// P becomes P + Q, if P ≠ ±Q. 11 M + 3 S.
    #[inline(never)]
    pub(crate) fn add_prepared(&mut self, q: &Prepared) -> Difference {
        let zz = self.z.square();
        self.x = self.x.mul(&q.zz);
        let h = q.point.x.mul(&zz).sub(&self.x);
        self.y = self.y.mul(&q.zzz);
        let r = zz.mul(&self.z).mul(&q.point.y).sub(&self.y);
        self.z = self.z.mul(&q.point.z).mul(&h);
        self.finish_addition(h, r)
    }

    /// X' = R² − H³ − 2·X·H², Y' = R(X·H² − X') − Y·H³, with X and Y over the common denominator. 5 M + 2 S.
    #[inline(always)]
    fn finish_addition(&mut self, h: Element, r: Element) -> Difference {
        let hh = h.square();
        let v = self.x.mul(&hh);
        let hhh = h.mul(&hh);
        self.x = r.square().sub(&hhh).sub(&v).sub(&v);
        self.y = r.mul(&v.sub(&self.x)).sub(&self.y.mul(&hhh));
        Difference { h, r }
    }

    /// P becomes P + Q also if P = Q; only P = −Q is left out. 12 M + 7 S, constant time.
    ///
    /// The last addition of a multiplication: for a few scalars it is a doubling.
    #[inline(never)]
    pub(crate) fn add_or_double(&mut self, q: &Affine) {
        let Difference { h, .. } = self.add_affine(q);
        let equal = crate::ct::mask(h.is_zero());
        let mut double = Jacobian::from(*q);
        double.double();
        self.x = Element::select(equal, &double.x, &self.x);
        self.y = Element::select(equal, &double.y, &self.y);
        self.z = Element::select(equal, &double.z, &self.z);
    }

    /// The point's coordinates. An inversion, 4 M + 1 S.
    pub(crate) fn to_affine(self) -> Affine {
        self.scaled(&self.z.invert())
    }

    /// The coordinates, given 1/Z. 3 M + 1 S.
    pub(crate) fn scaled(&self, z_inverse: &Element) -> Affine {
        let zz = z_inverse.square();
        Affine {
            x: self.x.mul(&zz),
            y: self.y.mul(&zz.mul(z_inverse)),
        }
    }
}

/// A sum that may be infinity, for public values. Variable time.
#[derive(Clone, Copy, Default)]
pub(crate) struct PublicSum(Option<Jacobian>);

impl PublicSum {
    pub(crate) fn double(&mut self) {
        if let Some(point) = &mut self.0 {
            point.double();
        }
    }

    pub(crate) fn add_affine(&mut self, q: &Affine) {
        match &mut self.0 {
            None => self.0 = Some((*q).into()),
            Some(sum) => {
                let difference = sum.add_affine(q);
                self.correct(&difference, (*q).into());
            }
        }
    }

    pub(crate) fn add_prepared(&mut self, q: &Prepared) {
        match &mut self.0 {
            None => self.0 = Some(q.point),
            Some(sum) => {
                let difference = sum.add_prepared(q);
                self.correct(&difference, q.point);
            }
        }
    }

    /// P + Q = 2Q if P = Q, infinity if P = −Q.
    fn correct(&mut self, Difference { h, r }: &Difference, mut q: Jacobian) {
        if h.is_zero() == 1 {
            self.0 = (r.is_zero() == 1).then(|| {
                q.double();
                q
            });
        }
    }

    /// The sum, or `None` if it is infinity.
    pub(crate) fn point(&self) -> Option<&Jacobian> {
        self.0.as_ref()
    }
}

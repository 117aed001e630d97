//! One name for the shared pointer that rustls uses on this target.
//!
//! It is `alloc`'s, except on a core that cannot compare and swap: there our patch makes rustls use this crate's.

#[cfg(target_has_atomic = "ptr")]
pub(crate) use alloc::sync::Arc;
#[cfg(not(target_has_atomic = "ptr"))]
pub(crate) use portable_atomic_util::Arc;

/// An `Arc` of a trait object. Only the standard library's `Arc` coerces by itself; through a `Box` both do.
macro_rules! arc_dyn {
    ($trait:ty, $value:expr) => {
        $crate::sync::Arc::<$trait>::from(alloc::boxed::Box::new($value) as alloc::boxed::Box<$trait>)
    };
}
pub(crate) use arc_dyn;

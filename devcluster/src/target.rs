//! What an operation is given: who acts, and on which object.

use crate::error::ApiError;
use crate::identity::Identity;
use crate::resources::ResourceId;
use picolet_platform::UnixMicros;

/// Who does something, and when.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) now: UnixMicros,
    /// Nothing is stored; the answer is as if it were.
    pub(crate) dry_run: bool,
    /// A field that the kind does not have is an error (`fieldValidation=Strict`).
    pub(crate) strict: bool,
}

/// What an operation is about. Namespace and subresource are empty where there are none.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) resource: ResourceId,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
}

impl Target<'_> {
    pub(crate) fn conflict(&self, why: impl core::fmt::Display) -> ApiError {
        ApiError::conflict(self.resource.group, self.resource.plural, self.name, why)
    }

    pub(crate) fn invalid(&self, path: &str, kind: &str, what: impl core::fmt::Display) -> ApiError {
        ApiError::invalid(
            (self.resource.group, self.resource.kind),
            self.name,
            path,
            kind,
            what,
        )
    }
}

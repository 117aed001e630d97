//! `TokenReview` and `SubjectAccessReview`: how a kubelet asks the API server who a caller is and what it may do.

use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, Writer, shape};
use crate::metadata::{self, Metadata};
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::{Collector, set};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

const AUTHENTICATED: Field = Field(32);
const USERNAME: Field = Field(33);
const UID: Field = Field(34);
const GROUPS: Field = Field(35);
const ALLOWED: Field = Field(36);
const REVIEW_REASON: Field = Field(37);

/// More groups than a user of a cluster has; further ones are dropped, which can only take rights away.
const GROUPS_KEPT: usize = 16;

/// Writes a `TokenReview` that asks who holds `token`.
pub fn write_token_review(out: &mut String, token: &str) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("apiVersion", "authentication.k8s.io/v1");
    w.string_at("kind", "TokenReview");
    w.object_at("spec");
    w.string_at("token", token);
    w.end();
    w.end();
}

/// The answer to a `TokenReview`.
#[derive(Default)]
pub struct TokenReview {
    metadata: Metadata,
    /// Whether the token is somebody's.
    pub authenticated: bool,
    /// Whose.
    pub username: Box<str>,
    /// The user's uid.
    pub uid: Box<str>,
    /// The groups that the user is in.
    pub groups: Vec<Box<str>>,
    collector: Collector,
}

impl Sink for TokenReview {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let Some(value) = self.collector.push(piece, last) else {
            return;
        };
        match field {
            AUTHENTICATED => self.authenticated = value == Some("true"),
            USERNAME => set(&mut self.username, value),
            UID => set(&mut self.uid, value),
            GROUPS if self.groups.len() < GROUPS_KEPT => self.groups.extend(value.map(Box::from)),
            _ => {}
        }
    }
}

impl Object for TokenReview {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE),
        (
            "status",
            Shape::Object(&[
                ("authenticated", Shape::Value(AUTHENTICATED)),
                (
                    "user",
                    Shape::Object(&[
                        ("username", Shape::Value(USERNAME)),
                        ("uid", Shape::Value(UID)),
                        ("groups", Shape::List(&Shape::Value(GROUPS))),
                    ]),
                ),
            ]),
        ),
        CODE_ENTRY,
        REASON_ENTRY,
        MESSAGE_ENTRY,
    ]));

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// What a caller wants to do to a node (`pkg/kubelet/server/auth.go`).
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Who.
    pub user: &'a str,
    /// The user's uid, or empty.
    pub uid: &'a str,
    /// The groups of the user.
    pub groups: &'a [Box<str>],
    /// `get`, `create` …
    pub verb: &'a str,
    /// The node.
    pub node: &'a str,
    /// `proxy`, `metrics`, `log`, `stats`, `pods`, `healthz`, `configz`.
    pub subresource: &'a str,
}

impl Access<'_> {
    /// Writes the `SubjectAccessReview` that asks whether it may.
    pub fn write(&self, out: &mut String) {
        let mut w = Writer::new(out);
        w.object();
        w.string_at("apiVersion", "authorization.k8s.io/v1");
        w.string_at("kind", "SubjectAccessReview");
        w.object_at("spec");
        w.string_at("user", self.user);
        if !self.uid.is_empty() {
            w.string_at("uid", self.uid);
        }
        w.array_at("groups");
        for group in self.groups {
            w.string(group);
        }
        w.end();
        w.object_at("resourceAttributes");
        w.string_at("verb", self.verb);
        w.string_at("version", "v1");
        w.string_at("resource", "nodes");
        w.string_at("subresource", self.subresource);
        w.string_at("name", self.node);
        w.end();
        w.end();
        w.end();
    }
}

/// The answer to a `SubjectAccessReview`.
#[derive(Default)]
pub struct SubjectAccessReview {
    metadata: Metadata,
    /// Whether it may.
    pub allowed: bool,
    /// Why, for a person.
    pub reason: Box<str>,
    collector: Collector,
}

impl Sink for SubjectAccessReview {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let Some(value) = self.collector.push(piece, last) else {
            return;
        };
        match field {
            ALLOWED => self.allowed = value == Some("true"),
            REVIEW_REASON => set(&mut self.reason, value),
            _ => {}
        }
    }
}

impl Object for SubjectAccessReview {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE),
        (
            "status",
            Shape::Object(&[
                ("allowed", Shape::Value(ALLOWED)),
                ("reason", Shape::Value(REVIEW_REASON)),
            ]),
        ),
        CODE_ENTRY,
        REASON_ENTRY,
        MESSAGE_ENTRY,
    ]));

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

//! `TokenReview` and `SubjectAccessReview`: how a kubelet asks the API server who a caller is and what it may do.

use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, Writer, fields, quote, shape};
use crate::metadata::{self, Metadata};
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::{Collector, set};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

fields![
    AUTHENTICATED,
    USERNAME,
    UID,
    GROUPS,
    ALLOWED,
    REVIEW_REASON,
    EXTRA,
];

/// The most bytes of a user: its name, and uid, groups and extra as JSON. That is a hundred groups of an OIDC provider.
pub const USER_BYTES: usize = 4096;

/// The group of every authenticated user (`k8s.io/apiserver/pkg/authentication/user`, `AllAuthenticated`).
const ALL_AUTHENTICATED: &str = "system:authenticated";

/// The entry of `extra` that names the credential (`k8s.io/apiserver/pkg/authentication/user`, `CredentialIDKey`).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// An authenticated user, as a `SubjectAccessReview` describes one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct User {
    name: Box<str>,
    /// The members `uid`, `groups` and `extra` of `SubjectAccessReview.spec`, or `None` where the user is larger than
    /// [`USER_BYTES`].
    attributes: Option<Box<str>>,
}

impl User {
    /// A user with a name and groups, which is a member of `system:authenticated` besides.
    pub fn new<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let mut user = UserBuilder::default();
        user.name(Some(name));
        for group in groups {
            user.group(Some(group));
        }
        user.build()
    }

    /// The user of a client certificate, with `extra` that names the certificate.
    pub fn of_certificate<'a>(
        name: &str,
        uid: Option<&str>,
        groups: impl IntoIterator<Item = &'a str>,
        credential_id: &str,
    ) -> Self {
        let mut user = UserBuilder::default();
        user.name(Some(name));
        if let Some(uid) = uid {
            user.uid(Some(uid));
        }
        for group in groups {
            user.group(Some(group));
        }
        user.extra_key(CREDENTIAL_ID);
        user.extra_value(Some(credential_id));
        user.build()
    }

    /// The name; empty where it alone is larger than [`USER_BYTES`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known besides the name, as JSON; `None` where the user is larger than [`USER_BYTES`]. Such a user must not
    /// be authorized: a part of its groups gives it other rights than it has.
    pub fn attributes(&self) -> Option<&str> {
        self.attributes.as_deref()
    }

    /// The bytes that it takes of the heap.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.attributes().map_or(0, str::len)
    }
}

/// The name in one line of printable ASCII.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.name.bytes() {
            let shown = if byte.is_ascii_graphic() { byte } else { b'?' };
            fmt::Write::write_char(f, char::from(shown))?;
        }
        Ok(())
    }
}

/// A user whose attributes arrive one after the other. `None` is a value that was too long to be read.
#[derive(Default)]
struct UserBuilder {
    name: Box<str>,
    /// `"uid":"…",`, or empty.
    uid: String,
    /// The elements of an array.
    groups: String,
    /// The members of an object, of which the last array is not ended.
    extra: String,
    all_authenticated: bool,
    too_large: bool,
}

impl UserBuilder {
    fn name(&mut self, name: Option<&str>) {
        set(&mut self.name, name);
        self.limit(name);
    }

    fn uid(&mut self, uid: Option<&str>) {
        if let Some(uid) = uid.filter(|uid| !uid.is_empty()) {
            self.uid.clear();
            self.uid.push_str("\"uid\":");
            quote(&mut self.uid, uid);
            self.uid.push(',');
        }
        self.limit(uid);
    }

    fn group(&mut self, group: Option<&str>) {
        if !self.groups.is_empty() {
            self.groups.push(',');
        }
        quote(&mut self.groups, group.unwrap_or_default());
        self.all_authenticated |= group == Some(ALL_AUTHENTICATED);
        self.limit(group);
    }

    fn extra_key(&mut self, key: &str) {
        if !self.extra.is_empty() {
            self.extra.push_str("],");
        }
        quote(&mut self.extra, key);
        self.extra.push_str(":[");
        self.limit(Some(key));
    }

    fn extra_value(&mut self, value: Option<&str>) {
        if !self.extra.ends_with("[") {
            self.extra.push(',');
        }
        quote(&mut self.extra, value.unwrap_or_default());
        self.limit(value);
    }

    /// Drops what there is once it is too large, with `latest` or without it.
    fn limit(&mut self, latest: Option<&str>) {
        let bytes = self.name.len() + self.uid.len() + self.groups.len() + self.extra.len();
        if bytes > USER_BYTES || latest.is_none() {
            self.too_large = true;
        }
        if self.too_large {
            (self.uid, self.groups, self.extra) = Default::default();
            if self.name.len() > USER_BYTES {
                self.name = Box::default();
            }
        }
    }

    fn build(mut self) -> User {
        if !self.all_authenticated {
            self.group(Some(ALL_AUTHENTICATED));
        }
        let attributes = (!self.too_large).then(|| {
            let mut members = self.uid;
            for piece in ["\"groups\":[", &self.groups, "]"] {
                members.push_str(piece);
            }
            if !self.extra.is_empty() {
                for piece in [",\"extra\":{", &self.extra, "]}"] {
                    members.push_str(piece);
                }
            }
            members.into()
        });
        User {
            name: self.name,
            attributes,
        }
    }
}

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
    authenticated: bool,
    user: UserBuilder,
    collector: Collector,
}

impl TokenReview {
    /// The user who holds the token; `None` where it is not valid, or the answer names nobody.
    pub fn into_user(self) -> Option<User> {
        let named = self.user.too_large || !self.user.name.is_empty();
        (self.authenticated && named).then(|| self.user.build())
    }
}

impl Sink for TokenReview {
    fn key(&mut self, _field: Field, key: &str) {
        self.user.extra_key(key);
    }

    fn skip_entry(&mut self, _field: Field) {
        self.user.limit(None);
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let Some(value) = self.collector.push(piece, last) else {
            return;
        };
        match field {
            AUTHENTICATED => self.authenticated = value == Some("true"),
            USERNAME => self.user.name(value),
            UID => self.user.uid(value),
            GROUPS => self.user.group(value),
            EXTRA => self.user.extra_value(value),
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
                        ("extra", Shape::Lists(EXTRA)),
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
    /// Who; see [`User::attributes`] for users of whom it must not be asked.
    pub user: &'a User,
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
        w.string_at("user", self.user.name());
        if let Some(attributes) = self.user.attributes() {
            w.members(attributes);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn name_is_shown_in_one_line() {
        let shown = |name| User::new(name, []).to_string();
        assert_eq!(shown("system:node:pico-1"), "system:node:pico-1");
        assert_eq!(shown("a\n[INFO] b\u{1b}ö"), "a?[INFO]?b???");
    }
}

//! `Www-Authenticate` challenges (RFC 9110, section 11.6.1) of a registry.

use alloc::string::String;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with each request (RFC 7617).
    Basic,
    /// A token from another endpoint (distribution's token authentication).
    Bearer {
        /// URL of the token endpoint.
        realm: String,
        /// Name of the registry at that endpoint.
        service: String,
        /// What the token must allow.
        scope: String,
    },
}

impl Challenge {
    /// Parses a field's value. Bearer is preferred over Basic, as containerd does; other schemes are skipped. Returns `None` if
    /// none of the two is there, or Bearer has no realm.
    pub fn parse(value: &str) -> Option<Self> {
        let mut found = None;
        let mut rest = value;
        let mut current: Option<Self> = None;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let (name, after) = token(rest);
            if name.is_empty() {
                break;
            }
            let after = after.trim_start_matches([' ', '\t']);
            // A name without a value is the next challenge's scheme.
            let Some(after) = after.strip_prefix('=') else {
                prefer(&mut found, current.take());
                current = if name.eq_ignore_ascii_case("basic") {
                    Some(Self::Basic)
                } else if name.eq_ignore_ascii_case("bearer") {
                    Some(Self::Bearer {
                        realm: String::new(),
                        service: String::new(),
                        scope: String::new(),
                    })
                } else {
                    None
                };
                rest = after;
                continue;
            };
            let (text, after) = parameter(after.trim_start_matches([' ', '\t']))?;
            if let Some(Self::Bearer {
                realm,
                service,
                scope,
            }) = &mut current
            {
                match name {
                    _ if name.eq_ignore_ascii_case("realm") => *realm = text,
                    _ if name.eq_ignore_ascii_case("service") => *service = text,
                    _ if name.eq_ignore_ascii_case("scope") => *scope = text,
                    _ => {}
                }
            }
            rest = after;
        }
        prefer(&mut found, current);
        found
    }
}

/// Keeps the better of two challenges.
pub(crate) fn prefer(found: &mut Option<Challenge>, other: Option<Challenge>) {
    match (&found, &other) {
        (_, Some(Challenge::Bearer { realm, .. })) if !realm.is_empty() => {}
        (None, Some(Challenge::Basic)) => {}
        _ => return,
    }
    *found = other;
}

/// Splits off a token (RFC 9110, section 5.6.2).
fn token(text: &str) -> (&str, &str) {
    let is_token =
        |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
    text.split_at(text.find(|character| !is_token(character)).unwrap_or(text.len()))
}

/// Reads a token or a quoted string. Returns `None` if its quotes do not end.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = token(text);
        // What is no token ends the value all the same: skip it, so that parsing proceeds.
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        return Some((value.into(), rest.get(end..)?));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.into(),
            scope: scope.into(),
        })
    }

    #[test]
    fn challenge_is_read_as_registries_write_it() {
        for (value, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#,
                bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    "repository:library/busybox:pull",
                ),
            ),
            (r#"bearer  Realm = "x" , service=y"#, bearer("x", "y", "")),
            (r#"Basic realm="Registry""#, Some(Challenge::Basic)),
            (
                r#"Basic realm="a, b", Bearer realm="x",scope="a,b c""#,
                bearer("x", "", "a,b c"),
            ),
            (r#"Bearer realm="x", Basic realm="y""#, bearer("x", "", "")),
            (r#"Negotiate, Basic"#, Some(Challenge::Basic)),
            (r#"Digest realm="x", nonce="y""#, None),
            (r#"Bearer realm="a\"b\\c""#, bearer("a\"b\\c", "", "")),
            ("Bearer", None),
            (r#"Bearer service="x""#, None),
            (r#"Bearer realm="x"#, None),
            (r#"Bearer realm="x\"#, None),
            (r#"Bearer realm=,service=é,scope="x""#, None),
            ("", None),
            ("é", None),
            ("=", None),
        ] {
            assert_eq!(Challenge::parse(value), expected, "{value}");
        }
    }
}

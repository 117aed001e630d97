//! Credentials as the kubelet selects them; the tables of matches are those of upstream's `keyring_test.go`.

use picolet_images::Reference;
use picolet_images::keyring::{Keyring, MATCHES, SECRET_BYTES, SecretKind};

/// The user names that are tried for an image, with secrets of the kind `dockerconfigjson`.
fn users(image: &str, secrets: &[&str]) -> Vec<String> {
    let reference = Reference::parse(image).expect("valid");
    let mut keyring = Keyring::new(&reference);
    for secret in secrets {
        let mut reader = keyring.read(SecretKind::DockerConfigJson);
        for piece in secret.as_bytes().chunks(3) {
            reader.feed(piece).expect("valid");
        }
    }
    let credentials = keyring.into_credentials();
    credentials
        .iter()
        .map(|found| format!("{}:{}", *found.username, *found.password))
        .collect()
}

fn secret(entries: &[(&str, &str)]) -> String {
    let entry = |(registry, user): &(&str, &str)| {
        format!(r#""{registry}":{{"username":"{user}","password":"p","email":"x"}}"#)
    };
    let entries: Vec<String> = entries.iter().map(entry).collect();
    format!(
        r#"{{"auths":{{{}}},"HttpHeaders":{{"a":"b"}}}}"#,
        entries.join(",")
    )
}

fn matches(glob: &str, image: &str) -> bool {
    !users(image, &[&secret(&[(glob, "u")])]).is_empty()
}

#[test]
fn entry_matches_when_host_port_and_path_do() {
    for (glob, image) in [
        ("*.kubernetes.io", "prefix.kubernetes.io/app"),
        ("prefix.*.io", "prefix.kubernetes.io/app"),
        ("prefix.kubernetes.*", "prefix.kubernetes.io/app"),
        ("*-good.kubernetes.io", "prefix-good.kubernetes.io/app"),
        ("p*ef*x.kubernetes.io", "prefix.kubernetes.io/app"),
        ("*.kubernetes.io:5000", "prefix.kubernetes.io:5000/app"),
        ("*.kubernetes.io/foo", "prefix.kubernetes.io/foo/bar"),
        ("*.kubernetes.io/fo", "prefix.kubernetes.io/foo/bar"),
        ("https://reg.example/v1/foo", "reg.example/foo/bar"),
        ("http://reg.example/v2/", "reg.example/foo"),
        ("https://user@reg.example/?x#y", "reg.example/foo"),
        ("[::1]:5000", "[::1]:5000/app"),
        ("docker.io/library", "busybox"),
        ("https://index.docker.io/v1/", "busybox"),
        ("index.docker.io", "someone/app"),
    ] {
        assert!(matches(glob, image), "{glob} {image}");
    }
    for (glob, image) in [
        ("kubernetes.io", "prefix.kubernetes.io/app"),
        ("*.kubernetes.io", "kubernetes.io/app"),
        ("*.kubernetes.io", "a.b.kubernetes.io/app"),
        ("*.kubernetes.io", "prefix.kubernetes.com/app"),
        ("*-bad.kubernetes.io", "prefix-good.kubernetes.io/app"),
        ("*.kubernetes.io:5000", "prefix.kubernetes.io/app"),
        ("*.kubernetes.io", "prefix.kubernetes.io:5000/app"),
        ("*.kubernetes.io/foo", "prefix.kubernetes.io/fo"),
        ("*", "prefix.kubernetes.io/app"),
        ("index.docker.io/foo", "busybox"),
        ("index.docker.io", "reg.example/app"),
        ("reg.example /app", "reg.example/app"),
        ("p?efix.kubernetes.io", "prefix.kubernetes.io/app"),
        ("", "reg.example/app"),
    ] {
        assert!(!matches(glob, image), "{glob} {image}");
    }
}

#[test]
fn most_specific_entry_is_first_and_the_default_registry_last() {
    let first = secret(&[
        ("reg.example", "host"),
        ("reg.example/a", "short"),
        ("*.example", "glob"),
    ]);
    let second = secret(&[
        ("reg.example/a/b", "long"),
        ("reg.example", "again"),
        ("other.example", "no"),
    ]);
    let found = users("reg.example/a/b/c:1", &[&first, &second]);
    assert_eq!(found, ["long:p", "short:p", "host:p", "again:p"]);
    assert_eq!(found.len(), MATCHES, "the glob, which is last, has no room");
    let hub = secret(&[
        ("https://index.docker.io/v1/", "hub"),
        ("docker.io/someone", "mine"),
    ]);
    assert_eq!(users("someone/app", &[&hub]), ["mine:p"]);
    assert_eq!(users("busybox", &[&hub]), ["hub:p"]);
}

#[test]
fn auth_is_decoded_and_preferred() {
    let with = |fields: &str| {
        users(
            "reg.example/a",
            &[&format!(r#"{{"auths":{{"reg.example":{{{fields}}}}}}}"#)],
        )
    };
    assert_eq!(
        with(r#""auth":"dXNlcjpwYXNzOndvcmQ=","username":"no","password":"no""#),
        ["user:pass:word"]
    );
    assert_eq!(
        with(r#""username":"no","auth":"dXNlcjpwYXNzOndvcmQ""#),
        ["user:pass:word"]
    );
    assert_eq!(with(r#""username":"user","auth":"","password":"a""#), ["user:a"]);
    let long = "x".repeat(SECRET_BYTES + 1);
    for malformed in [
        r#""auth":"dXNlcg==""#,
        r#""auth":"***""#,
        r#""auth":"gIA6gA==""#,
        &format!(r#""password":"{long}""#),
    ] {
        assert!(with(malformed).is_empty(), "{malformed}");
    }
}

#[test]
fn secret_of_the_older_kind_is_read() {
    let reference = Reference::parse("reg.example/a").expect("valid");
    let mut keyring = Keyring::new(&reference);
    let text = br#"{"reg.example":{"username":"u","password":"p"},"other":{"auth":"dXNlcjpw"}}"#;
    keyring.read(SecretKind::DockerCfg).feed(text).expect("valid");
    assert!(keyring.read(SecretKind::DockerCfg).feed(b"<html>").is_err());
    assert_eq!(keyring.into_credentials().len(), 1);
}

#[test]
fn glob_does_not_take_exponential_time() {
    let glob = format!("{}b.io", "*a".repeat(60));
    assert!(!matches(&glob, &format!("{}.io/x", "a".repeat(60))));
}

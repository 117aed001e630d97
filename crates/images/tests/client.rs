//! The client against scripted responses, in pieces of any size.

use picolet_http::Method;
use picolet_images::client::{Client, Credentials, Endpoint, MANIFEST_BYTES, PullError, Step};
use picolet_images::documents::Descriptor;
use picolet_images::{Digest, Reference};

/// What a fetch came to: the content, and each request as `host: first line`, with what concerns credentials and ranges.
struct Outcome {
    result: Result<Vec<u8>, PullError>,
    requests: Vec<String>,
    message: String,
}

const IMAGE: &str = "reg.example/a/b:1";

fn client(credentials: bool) -> Client {
    let reference = Reference::parse(IMAGE).expect("valid");
    let credentials = credentials.then(|| Credentials {
        username: String::from("user").into(),
        password: String::from("secret").into(),
    });
    Client::new(Endpoint::of(&reference).expect("valid"), &reference, credentials)
}

fn blob(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "m".into(),
        digest: Digest::of(content),
        size: content.len() as u32,
    }
}

fn ok(content: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    )
}

fn status(line: &str, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {line}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Runs a fetch. Each response is followed by the end of the connection.
fn run(client: &mut Client, responses: &[String], step: usize) -> Outcome {
    let mut requests = Vec::new();
    let mut content = Vec::new();
    let mut fetch = || {
        for response in responses {
            let mut head = String::new();
            let origin = client.request(&mut head);
            let mut line = format!("{}: {}", origin.host, head.lines().next().unwrap_or_default());
            for field in head
                .lines()
                .filter(|line| line.starts_with("Auth") || line.starts_with("Range"))
            {
                line += &format!(", {field}");
            }
            requests.push(line);
            let mut pieces = response.as_bytes().chunks(step);
            let mut buffer = Vec::new();
            loop {
                let (taken, next) = client.take(&buffer)?;
                match next {
                    Step::Piece(piece) => content.extend_from_slice(piece),
                    Step::Next { .. } => break,
                    Step::Done { .. } => return Ok(()),
                    Step::More => match pieces.next() {
                        Some(piece) => {
                            buffer.drain(..taken);
                            buffer.extend_from_slice(piece);
                            continue;
                        }
                        None => match client.closed()? {
                            Step::Done { .. } => return Ok(()),
                            _ => break,
                        },
                    },
                }
                buffer.drain(..taken);
            }
        }
        panic!("the script is too short");
    };
    let result = fetch();
    let reference = Reference::parse(IMAGE).expect("valid");
    Outcome {
        message: result
            .err()
            .map_or(String::new(), |error| client.describe_error(error, &reference)),
        result: result.map(|()| content),
        requests,
    }
}

/// Fetches a blob of `content`, in pieces of several sizes, and returns the outcome, which is always the same.
fn fetch(credentials: bool, content: &str, responses: &[String]) -> Outcome {
    let once = |step| {
        let mut client = client(credentials);
        client.fetch_blob(&blob(content.as_bytes()));
        run(&mut client, responses, step)
    };
    let outcome = once(1 << 20);
    for step in [1, 7] {
        let other = once(step);
        assert_eq!(other.requests, outcome.requests, "in pieces of {step}");
        assert_eq!(other.result, outcome.result, "in pieces of {step}");
    }
    outcome
}

#[test]
fn blob_is_fetched_and_verified() {
    let outcome = fetch(false, "hello", &[ok("hello")]);
    assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(
        outcome.requests,
        [format!("reg.example: GET /v2/a/b/blobs/{digest} HTTP/1.1")]
    );
}

#[test]
fn content_is_refused_when_it_is_not_what_its_descriptor_says() {
    for (body, error) in [
        ("hellO", PullError::Digest),
        ("hell", PullError::TooShort),
        ("hello!", PullError::TooLong),
    ] {
        assert_eq!(fetch(false, "hello", &[ok(body)]).result, Err(error), "{body}");
    }
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000));
    assert_eq!(fetch(false, "hello", &[endless]).result, Err(PullError::TooLong));
    // A manifest by tag has no descriptor: its limit counts.
    let mut client = client(false);
    client.fetch_manifest(Method::Get, "1").expect("a tag");
    let outcome = run(&mut client, &[ok(&"x".repeat(MANIFEST_BYTES as usize + 1))], 4096);
    assert_eq!(outcome.result, Err(PullError::TooLong));
}

#[test]
fn manifest_is_verified_by_what_the_registry_says_when_it_is_fetched_by_tag() {
    let mut client = client(false);
    let named = |content: &[u8]| {
        let mut field = String::from("Docker-Content-Digest: ");
        Digest::of(content).write(&mut field);
        field + "\r\n"
    };
    client.fetch_manifest(Method::Get, "1").expect("a tag");
    let outcome = run(&mut client, &[status("200 OK", &named(b"{}"), "{}")], 9);
    assert_eq!(outcome.result.as_deref(), Ok(b"{}".as_slice()));
    assert_eq!(client.digest(), Some(Digest::of(b"{}")));
    client.fetch_manifest(Method::Get, "1").expect("a tag");
    let outcome = run(&mut client, &[status("200 OK", &named(b"[]"), "{}")], 9);
    assert_eq!(outcome.result, Err(PullError::Digest));
    client.fetch_manifest(Method::Head, "1").expect("a tag");
    let head = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 1234\r\n\r\n", named(b"[]"));
    let outcome = run(&mut client, &[head], 9);
    assert_eq!(outcome.result.as_deref(), Ok(b"".as_slice()));
    assert_eq!(client.digest(), Some(Digest::of(b"[]")));
    assert!(client.fetch_manifest(Method::Get, "sha512:00").is_err());
}

const BEARER: &str = "WWW-Authenticate: Bearer realm=\"https://auth.example/token\",service=\"reg\",scope=\"repository:a/b:pull\"\r\n";

#[test]
fn token_is_fetched_when_the_registry_asks_for_one() {
    let script = [
        status("401 Unauthorized", BEARER, r#"{"errors":[]}"#),
        ok(r#"{"token":"T","expires_in":300}"#),
        ok("hello"),
    ];
    let token = "auth.example: GET /token?service=reg&scope=repository%3Aa%2Fb%3Apull HTTP/1.1";
    for (credentials, expected) in [
        (false, token.into()),
        (true, format!("{token}, Authorization: Basic dXNlcjpzZWNyZXQ=")),
    ] {
        let outcome = fetch(credentials, "hello", &script);
        assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
        assert!(!outcome.requests[0].contains("Authorization"));
        assert_eq!(outcome.requests[1], expected);
        assert!(
            outcome.requests[2].ends_with("Authorization: Bearer T"),
            "{:?}",
            outcome.requests
        );
    }
}

#[test]
fn token_is_renewed_once_when_it_has_expired() {
    let mut client = client(false);
    let denied = status("401 Unauthorized", BEARER, "");
    for token in ["A", "B"] {
        client.fetch_blob(&blob(b"hello"));
        let script = [
            denied.clone(),
            ok(&format!(r#"{{"token":"{token}"}}"#)),
            ok("hello"),
        ];
        let outcome = run(&mut client, &script, 64);
        assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
        assert!(outcome.requests[2].ends_with(token));
    }
    client.fetch_blob(&blob(b"hello"));
    let outcome = run(&mut client, &[ok("hello")], 64);
    assert!(
        outcome.requests[0].ends_with("Bearer B"),
        "{:?}",
        outcome.requests
    );
    client.fetch_blob(&blob(b"hello"));
    let refused = status(
        "401 Unauthorized",
        BEARER,
        r#"{"errors":[{"code":"DENIED","message":"no\n way"}]}"#,
    );
    let outcome = run(&mut client, &[denied, ok(r#"{"token":"C"}"#), refused], 64);
    assert_eq!(outcome.result, Err(PullError::Unauthorized));
    assert_eq!(
        outcome.message,
        "pull access denied, repository does not exist or may require authorization: server message: no way"
    );
}

#[test]
fn basic_credentials_are_sent_when_the_registry_asks_for_them() {
    let script = [
        status("401 Unauthorized", "Www-Authenticate: Basic realm=\"x\"\r\n", ""),
        ok("hello"),
    ];
    let outcome = fetch(true, "hello", &script);
    assert!(outcome.requests[1].ends_with("Authorization: Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
    assert_eq!(
        fetch(false, "hello", &script).result,
        Err(PullError::Unauthorized)
    );
}

#[test]
fn authentication_fails_when_it_is_malformed_or_insecure() {
    let challenge = |value: &str| {
        [status(
            "401 Unauthorized",
            &format!("Www-Authenticate: {value}\r\n"),
            "",
        )]
    };
    for (value, error) in [
        ("Negotiate", PullError::Challenge),
        ("Bearer realm=\"/token\"", PullError::Challenge),
        ("Bearer realm=\"http://auth.example/\"", PullError::Insecure),
    ] {
        assert_eq!(
            fetch(true, "hello", &challenge(value)).result,
            Err(error),
            "{value}"
        );
    }
    for (answer, error) in [
        (ok("{}"), PullError::Token),
        (ok("<html>"), PullError::Token),
        (
            ok(&format!(r#"{{"token":"{}"}}"#, "x".repeat(100_000))),
            PullError::Token,
        ),
        (status("403 Forbidden", "", ""), PullError::Unauthorized),
        (status("404 Not Found", "", ""), PullError::Status(404)),
    ] {
        let script = [status("401 Unauthorized", BEARER, ""), answer];
        assert_eq!(fetch(true, "hello", &script).result, Err(error), "{}", script[1]);
    }
}

#[test]
fn credentials_stay_behind_when_a_redirect_leads_to_another_host() {
    let redirect = |location: &str| {
        status(
            "307 Temporary Redirect",
            &format!("Location: {location}\r\n"),
            "moved",
        )
    };
    let basic = status("401 Unauthorized", "Www-Authenticate: Basic realm=\"x\"\r\n", "");
    let signed = format!("https://cdn.example/blob?signature={}", "s".repeat(1500));
    let script = [
        basic.clone(),
        redirect("/elsewhere"),
        redirect(&signed),
        ok("hello"),
    ];
    let outcome = fetch(true, "hello", &script);
    assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
    assert!(outcome.requests[2].starts_with("reg.example: GET /elsewhere HTTP/1.1, Authorization: Basic"));
    assert!(outcome.requests[3].starts_with("cdn.example: GET /blob?signature=sss"));
    assert!(!outcome.requests[3].contains("Authorization"));
    // Nor are they given to a host that asks for them, or to another port.
    let script = [basic.clone(), redirect("https://cdn.example/"), basic.clone()];
    assert_eq!(fetch(true, "hello", &script).result, Err(PullError::Unauthorized));
    let script = [basic, redirect("https://reg.example:444/"), ok("hello")];
    assert!(!fetch(true, "hello", &script).requests[2].contains("Authorization"));
}

#[test]
fn redirect_is_refused_when_it_is_insecure_invalid_or_endless() {
    let redirect = |location: &str| status("302 Found", location, "");
    for (location, error) in [
        ("Location: http://cdn.example/\r\n", PullError::Insecure),
        ("Location: ftp://cdn.example/\r\n", PullError::Redirect),
        ("", PullError::Redirect),
        (
            &*format!("Location: https://a/{}\r\n", "x".repeat(4000)),
            PullError::Redirect,
        ),
    ] {
        assert_eq!(
            fetch(false, "hello", &[redirect(location)]).result,
            Err(error),
            "{location}"
        );
    }
    let endless = vec![redirect("Location: /again\r\n"); 6];
    assert_eq!(fetch(false, "hello", &endless).result, Err(PullError::Redirect));
}

#[test]
fn blob_is_resumed_when_the_connection_is_lost() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel".to_owned();
    let range = |range: &str| {
        status(
            "206 Partial Content",
            &format!("Content-Range: {range}\r\n"),
            "lo",
        )
    };
    let outcome = fetch(false, "hello", &[cut.clone(), range("bytes 3-4/5")]);
    assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
    assert!(
        outcome.requests[1].ends_with("Range: bytes=3-"),
        "{:?}",
        outcome.requests
    );
    // A registry that ignores the range sends all of it again.
    let outcome = fetch(false, "hello", &[cut.clone(), cut.clone(), ok("hello")]);
    assert_eq!(outcome.result.as_deref(), Ok(b"hello".as_slice()));
    assert_eq!(
        fetch(false, "hello", &[cut.clone(), ok("hellO")]).result,
        Err(PullError::Digest)
    );
    for other in ["bytes 2-4/5", "bytes */5", "3-4/5"] {
        assert_eq!(
            fetch(false, "hello", &[cut.clone(), range(other)]).result,
            Err(PullError::Range),
            "{other}"
        );
    }
    assert_eq!(
        fetch(false, "hello", &[range("bytes 3-4/5")]).result,
        Err(PullError::Status(206))
    );
    let lost = vec![String::new(); 9];
    assert_eq!(fetch(false, "hello", &lost).result, Err(PullError::Disconnected));
}

#[test]
fn failure_is_described_in_containerds_words() {
    let denied = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    for (response, error, message) in [
        (
            status("404 Not Found", "", "x"),
            PullError::NotFound,
            "reg.example/a/b:1: not found",
        ),
        (
            status("429 Too Many Requests", "Retry-After: 7\r\n", denied),
            PullError::Unavailable {
                status: 429,
                retry_after: Some(7),
            },
            "unexpected status from GET request to https://reg.example/v2/a/b/manifests/1: 429: server message: slow down",
        ),
        (
            status("503 Service Unavailable", "", &"x".repeat(100_000)),
            PullError::Unavailable {
                status: 503,
                retry_after: None,
            },
            "unexpected status from GET request to https://reg.example/v2/a/b/manifests/1: 503",
        ),
        (
            status("403 Forbidden", "", ""),
            PullError::Status(403),
            "unexpected status from GET request to https://reg.example/v2/a/b/manifests/1: 403",
        ),
    ] {
        let mut client = client(false);
        client.fetch_manifest(Method::Get, "1").expect("a tag");
        let outcome = run(&mut client, &[response], 50);
        assert_eq!(outcome.result, Err(error));
        assert_eq!(outcome.message, message);
    }
}

#[test]
fn mirror_is_asked_in_the_name_of_the_registry() {
    let reference = Reference::parse("busybox").expect("valid");
    let endpoint = Endpoint::of(&reference).expect("valid");
    let mut client = Client::new(endpoint, &reference, None);
    client.fetch_manifest(Method::Get, "latest").expect("a tag");
    let mut head = String::new();
    assert_eq!(&*client.request(&mut head).host, "registry-1.docker.io");
    assert!(
        head.starts_with(
            "GET /v2/library/busybox/manifests/latest HTTP/1.1\r\nHost: registry-1.docker.io\r\n"
        )
    );
    assert!(head.contains("\r\nAccept: application/vnd.oci.image.index.v1+json, "));
    let mirror = Endpoint::mirror("http://10.0.0.5:5000", "docker.io").expect("valid");
    let mut client = Client::new(mirror, &reference, None);
    client.fetch_manifest(Method::Get, "latest").expect("a tag");
    head.clear();
    assert!(!client.request(&mut head).tls);
    assert!(head.starts_with(
        "GET /v2/library/busybox/manifests/latest?ns=docker.io HTTP/1.1\r\nHost: 10.0.0.5:5000\r\n"
    ));
}

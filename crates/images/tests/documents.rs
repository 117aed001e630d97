//! Indexes, manifests, configurations and tokens as registries send them, in pieces of any size.

use picolet_images::documents::{
    CONFIG_BYTES, ConfigDecoder, DocumentError, ImageConfig, LAYERS, ManifestDecoder, Platform, Resolved,
    TOKEN_BYTES, decode_token,
};
use picolet_images::{Digest, digest};

const A: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const B: &str = "sha256:e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582";

fn rank(platform: &Platform) -> Option<u8> {
    match (&*platform.os, &*platform.architecture) {
        ("wasip1", "wasm") => Some(0),
        ("wasi", "wasm") => Some(1),
        _ => None,
    }
}

fn resolve(text: &str) -> Result<Resolved, DocumentError> {
    let read = |step| {
        let mut decoder = ManifestDecoder::new(rank);
        for piece in text.as_bytes().chunks(step) {
            decoder.feed(piece)?;
        }
        decoder.finish()
    };
    let whole = read(text.len());
    assert_eq!(read(1), whole, "{text}");
    whole
}

fn config(text: &str) -> Result<ImageConfig, DocumentError> {
    let mut decoder = ConfigDecoder::default();
    for piece in text.as_bytes().chunks(3) {
        decoder.feed(piece)?;
    }
    decoder.finish()
}

fn descriptor(kind: &str, digest: &str, size: &str) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size},"annotations":{{"a":"b"}}}}"#)
}

#[test]
fn index_yields_the_best_manifest_when_it_has_several() {
    let entry = |os: &str, digest: &str| {
        format!(
            r#"{{"mediaType":"m","digest":"{digest}","size":7,"platform":{{"os":"{os}","architecture":"wasm"}}}}"#
        )
    };
    let index = |entries: &[String]| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    // One for another platform may have a digest that is not supported.
    let linux = entry("linux", "sha512:00");
    let both = index(&[
        linux.clone(),
        entry("wasi", A),
        entry("wasip1", B),
        entry("wasip1", A),
    ]);
    let Ok(Resolved::Index(found)) = resolve(&both) else {
        panic!("no index");
    };
    assert_eq!((Some(found.digest), found.size), (Digest::parse(B), 7));
    assert_eq!(resolve(&index(&[linux])), Err(DocumentError::NoMatch));
    assert_eq!(
        DocumentError::NoMatch.as_str(),
        "no match for platform in manifest"
    );
    assert_eq!(
        resolve(&index(&[entry("wasip1", "sha512:00")])),
        Err(DocumentError::Malformed)
    );
}

#[test]
fn manifest_is_read_with_its_layers() {
    let layer = descriptor("application/wasm", B, "12345");
    let text = format!(
        r#"{{"layers":[{layer},{layer}],"artifactType":"application/x","config":{}}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", A, "2")
    );
    let Ok(Resolved::Manifest(manifest)) = resolve(&text) else {
        panic!("no manifest");
    };
    assert_eq!(&*manifest.artifact_type, "application/x");
    assert_eq!(
        (Some(manifest.config.digest), manifest.config.size),
        (Digest::parse(A), 2)
    );
    assert_eq!(manifest.layers.len(), 2);
    assert_eq!(
        (&*manifest.layers[1].media_type, manifest.layers[1].size),
        ("application/wasm", 12345)
    );
}

#[test]
fn manifest_is_refused_when_it_is_malformed_or_too_large() {
    let good = descriptor("m", A, "1");
    let with = |layers: &str| format!(r#"{{"config":{good},"layers":[{layers}]}}"#);
    assert!(resolve(&with(&[&*good; LAYERS].join(","))).is_ok());
    for (text, expected) in [
        (with(&[&*good; LAYERS + 1].join(",")), DocumentError::TooLarge),
        (with(&descriptor("m", "sha256:00", "1")), DocumentError::Malformed),
        (with(&descriptor("m", A, "-1")), DocumentError::Malformed),
        (with(&descriptor("m", A, "1.5")), DocumentError::Malformed),
        (with(&descriptor("m", A, "4294967296")), DocumentError::Malformed),
        (with("{}"), DocumentError::Malformed),
        (String::from("{}"), DocumentError::Malformed),
        // An index and a manifest at once (CVE-2021-41190).
        (
            format!(r#"{{"config":{good},"layers":[],"manifests":[{good}]}}"#),
            DocumentError::Malformed,
        ),
        (String::from("["), DocumentError::Json),
        (with(&good) + "{}", DocumentError::Json),
        (String::from("<html>"), DocumentError::Json),
    ] {
        assert_eq!(resolve(&text), Err(expected), "{text}");
    }
}

#[test]
fn configuration_is_read_when_it_is_an_images() {
    let text = format!(
        r#"{{"architecture":"wasm","os":"wasip1","config":{{"Entrypoint":["/app.wasm"],"Cmd":["-v","x"],"Env":["A=b"],"WorkingDir":"/w","User":"1","Labels":{{"x":"y"}}}},"rootfs":{{"type":"layers","diff_ids":["{A}"]}},"history":[{{}}]}}"#
    );
    let config = config(&text).expect("it is valid");
    assert_eq!((&*config.os, &*config.architecture), ("wasip1", "wasm"));
    assert_eq!(
        (config.entrypoint.len(), config.cmd.len(), &*config.env[0]),
        (1, 2, "A=b")
    );
    assert_eq!((&*config.working_dir, &*config.user), ("/w", "1"));
    assert_eq!(config.diff_ids, [Digest::parse(A).expect("valid")]);
}

#[test]
fn configuration_is_refused_when_it_is_too_large() {
    let with = |value: &str| config(&format!(r#"{{"config":{{"Env":[{value}],"Cmd":null}}}}"#));
    assert!(with(&format!("\"{}\"", "x".repeat(CONFIG_BYTES))).is_ok());
    for value in [
        format!("\"{}\"", "x".repeat(CONFIG_BYTES + 1)),
        vec!["\"\""; 97].join(","),
        vec![format!("\"{}\"", "x".repeat(1000)); 5].join(","),
    ] {
        assert_eq!(with(&value), Err(DocumentError::TooLarge));
    }
}

#[test]
fn token_is_read_by_either_name() {
    let token = |text: &str| decode_token(text.as_bytes()).map(|token| String::clone(&token));
    assert_eq!(
        token(r#"{"token":"a","access_token":"b","expires_in":300}"#).as_deref(),
        Some("a")
    );
    assert_eq!(token(r#"{"access_token":"b","token":"a"}"#).as_deref(), Some("a"));
    assert_eq!(token(r#"{"access_token":"b","token":""}"#).as_deref(), Some("b"));
    let long = "x".repeat(TOKEN_BYTES);
    assert_eq!(token(&format!(r#"{{"token":"{long}"}}"#)), Some(long.clone()));
    for text in [
        format!(r#"{{"token":"{long}x"}}"#),
        String::from(r#"{"token":"a\r\nX: y"}"#),
        String::from(r#"{"token":"a"#),
        String::from("{}"),
    ] {
        assert_eq!(token(&text), None, "{text}");
    }
}

#[test]
fn digester_agrees_with_the_digest_of_the_whole() {
    let mut digester = digest::Digester::default();
    [b"ab".as_slice(), b"", b"c"]
        .into_iter()
        .for_each(|piece| digester.update(piece));
    assert_eq!(digester.finish(), Digest::of(b"abc"));
}

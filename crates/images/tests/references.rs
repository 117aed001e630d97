//! References against `github.com/distribution/reference` 0.6.0, by vectors that `controlplane/registry/references` printed.

use picolet_images::Reference;

#[test]
fn reference_is_parsed_as_upstream_parses_it() {
    let (mut parsed, mut refused) = (0, 0);
    for line in include_str!("data/references.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match (&fields[..], Reference::parse(fields[0])) {
            ([input, name, tag, digest], Ok(reference)) => {
                let found = (reference.name(), reference.tag(), reference.digest());
                let some = |text: &'static str| (!text.is_empty()).then_some(text);
                assert_eq!(found, (*name, some(tag), some(digest)), "{input}");
                assert_eq!(
                    format!("{}/{}", reference.domain(), reference.path()),
                    *name,
                    "{input}"
                );
                parsed += 1;
            }
            ([input, error], Err(found)) => {
                let mut message = String::new();
                found.write(input, &mut message);
                assert_eq!(message, *error, "{input}");
                refused += 1;
            }
            (_, found) => panic!("{line}: {found:?}"),
        }
    }
    assert!(
        parsed > 200 && refused > 500,
        "{parsed} parsed, {refused} refused"
    );
}

#[test]
fn message_is_the_kubelets_when_a_reference_is_invalid() {
    let error = Reference::parse("a b\"").expect_err("it is invalid");
    assert_eq!(
        error.inspect_failed("a b\""),
        r#"Failed to apply default image tag "a b\"": couldn't parse image name "a b\"": invalid reference format"#
    );
    let long = "é".repeat(100_000);
    let error = Reference::parse(&long).expect_err("it is invalid");
    assert!(error.inspect_failed(&long).len() < 1200);
}

#[test]
fn reference_is_refused_without_a_panic_when_it_is_not_ascii() {
    for image in ["é", "é/é", "a:é", "a@é", "a@sha256:é", "[é]/a", "a/é:b", "é:b/c"] {
        assert!(Reference::parse(image).is_err(), "{image}");
    }
    let long = format!("{}.io/a", "a".repeat(70_000));
    assert!(Reference::parse(&long).is_err());
}

//! Who calls, and what they may do: what an API server answers to a TokenReview and a SubjectAccessReview, cut anywhere, and what
//! it is asked for a caller of any name. Nobody is let in by an answer that does not say so, and no name changes the question.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_kube::envelope::{Object, Single};
use picolet_kube::review::{Access, SubjectAccessReview, TokenReview, USER_BYTES, User, write_token_review};
use serde_json::Value;

fn answer<T: Object + Default>(pieces: &[&[u8]]) -> Option<T> {
    let mut answer = Single::<T>::default();
    for piece in pieces {
        answer.feed(piece).ok()?;
    }
    answer.finish()
}

/// Whether the token is somebody's, and what is said of its holder.
fn token_review(pieces: &[&[u8]]) -> Option<Option<User>> {
    let user = answer::<TokenReview>(pieces)?.into_user();
    if let Some(user) = &user {
        assert!(user.bytes() <= USER_BYTES);
        let members = user.attributes().map(|members| format!("{{{members}}}"));
        let read = members.map(|members| serde_json::from_str::<Value>(&members).expect("JSON"));
        assert!(read.is_none_or(|read| read["groups"].is_array()));
    }
    Some(user)
}

fn access_review(pieces: &[&[u8]]) -> Option<(bool, String)> {
    let review = answer::<SubjectAccessReview>(pieces)?;
    Some((review.allowed, review.reason.into()))
}

/// What one reader takes for yes the other one must.
fn says(document: &Value, field: &str) -> bool {
    let said = &document["status"][field];
    *said == true || *said == "true"
}

fuzz_target!(|data: &[u8]| {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let (a, b) = data.split_at(usize::from(cut).min(data.len()));
    let (token, access) = (token_review(&[data]), access_review(&[data]));
    assert_eq!(token, token_review(&[a, b]));
    assert_eq!(access, access_review(&[a, b]));
    if let Ok(document) = serde_json::from_slice::<Value>(data) {
        // Where a field comes twice, which an escape can hide, each reader may take another one of them.
        let twice = |field: &str| {
            data.windows(field.len())
                .filter(|window| *window == field.as_bytes())
                .count()
                > 1
        };
        if !twice("status") && !data.contains(&b'\\') {
            if let Some(Some(_)) = token.as_ref().filter(|_| !twice("authenticated")) {
                assert!(says(&document, "authenticated"));
            }
            if let Some((allowed, _)) = access.as_ref().filter(|_| !twice("allowed")) {
                assert_eq!(*allowed, says(&document, "allowed"));
            }
        }
    }

    // A caller's own words in the question.
    let words = String::from_utf8_lossy(data);
    let mut question = String::new();
    write_token_review(&mut question, &words);
    let asked: Value = serde_json::from_str(&question).expect("JSON");
    assert_eq!(asked["spec"]["token"], *words);
    let user = User::new(&words, [&*words]);
    if user.attributes().is_none() {
        return;
    }
    question.clear();
    Access {
        user: &user,
        verb: "get",
        node: "pico-1",
        subresource: "metrics",
    }
    .write(&mut question);
    let asked: Value = serde_json::from_str(&question).expect("JSON");
    assert_eq!(asked["spec"]["user"], *words);
    assert_eq!(asked["spec"]["groups"][0], *words);
    assert_eq!(asked["spec"]["resourceAttributes"]["subresource"], "metrics");
    assert_eq!(asked["spec"].as_object().map(|spec| spec.len() <= 4), Some(true));
});

//! Reviews of a caller of the kubelet API: TokenReview and SubjectAccessReview.

use super::{lossless, pretty};
use k8s_openapi::api::authentication::v1 as authentication;
use k8s_openapi::api::authorization::v1 as authorization;
use picolet_kube::envelope::Single;
use picolet_kube::review::{self, Access, SubjectAccessReview, TokenReview, USER_BYTES, User};
use serde_json::json;

/// The user that an API server names for a token.
fn token_review(user: &serde_json::Value) -> Option<User> {
    let answer = json!({"kind": "TokenReview", "status": {"authenticated": true, "user": user}});
    let mut single = Single::<TokenReview>::default();
    single.feed(answer.to_string().as_bytes()).expect("JSON");
    single.finish().expect("whole").into_user()
}

/// What a SubjectAccessReview says of a user.
fn spec(user: &User) -> serde_json::Value {
    let mut out = String::new();
    let access = Access {
        user,
        verb: "get",
        node: "pico",
        subresource: "proxy",
    };
    access.write(&mut out);
    lossless::<authorization::SubjectAccessReview>(&out);
    let mut review: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    review["spec"].take()
}

#[test]
fn user_keeps_all_groups_and_extra_of_a_token() {
    let groups: Vec<_> = (0..40).map(|n| format!("oidc:team-\"{n}\"")).collect();
    let extra = json!({"authentication.kubernetes.io/pod-name": ["prometheus-0"], "scopes": ["a\\b", "", "["], "none": []});
    let spec = spec(
        &token_review(&json!({"username": "p\n", "uid": "7\u{7f}", "groups": groups, "extra": extra}))
            .expect("a user"),
    );
    let mut expected = groups;
    expected.push("system:authenticated".into());
    assert_eq!(spec["groups"], json!(expected));
    assert_eq!(spec["extra"], extra);
    assert_eq!((&spec["user"], &spec["uid"]), (&json!("p\n"), &json!("7\u{7f}")));
    let nobody = token_review(&json!({"groups": ["system:masters"]}));
    assert_eq!(nobody, None);
}

#[test]
fn user_has_no_attributes_when_it_is_too_large() {
    let long = "x".repeat(600);
    let groups: Vec<_> = (0..200)
        .map(|n| format!("oidc:some-team-with-a-long-name-{n}"))
        .collect();
    for user in [
        json!({"username": "p", "groups": groups}),
        json!({"username": "p", "groups": ["a", long, "b"]}),
        json!({"username": "p", "uid": long}),
        json!({"username": long, "groups": ["a"]}),
        json!({"username": "p", "extra": {"scopes": vec!["scope"; 1000]}}),
        json!({"username": "p", "extra": {"scopes": [long]}}),
        json!({"username": "p", "extra": {long.clone(): ["a"]}}),
        json!({"extra": {long.clone(): ["a"]}, "groups": ["a"], "username": "p"}),
    ] {
        let found = token_review(&user).expect("a user");
        assert_eq!(found.attributes(), None, "{user}");
        assert!(found.bytes() <= USER_BYTES);
    }
    let long = "x".repeat(USER_BYTES + 1);
    assert_eq!(User::new(&long, []).attributes(), None);
    assert_eq!(User::new("p", [&*long]).attributes(), None);
    assert!(User::new("p", [&long[..4000]]).attributes().is_some());
}

#[test]
fn reviews() {
    let mut out = String::new();
    review::write_token_review(&mut out, "token");
    lossless::<authentication::TokenReview>(&out);
    out.clear();
    let user = token_review(
        &json!({"username": "admin", "uid": "1", "groups": ["system:masters"], "extra": {"scopes": ["a", "b"], "none": []}}),
    );
    let access = Access {
        user: &user.expect("a user"),
        verb: "get",
        node: "pico",
        subresource: "proxy",
    };
    access.write(&mut out);
    lossless::<authorization::SubjectAccessReview>(&out);
    insta::assert_snapshot!("subject_access_review", pretty(&out));

    let mut single = Single::<SubjectAccessReview>::default();
    single
        .feed(br#"{"status":{"allowed":true,"reason":"RBAC"}}"#)
        .expect("JSON");
    assert!(single.finish().expect("whole").allowed);
}

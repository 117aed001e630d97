//! The check on small source trees.

use super::*;

/// The cycles of a crate whose files these are, in their folder.
fn cycles(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join("src").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let found = Crate::read(&folder.path().join("src/lib.rs")).unwrap().cycles();
    let prefix = format!("{}/", folder.path().display());
    found.iter().map(|text| text.replace(&prefix, "")).collect()
}

#[test]
fn cycle_is_named_with_the_imports_that_close_it() {
    let found = cycles(&[
        ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
        ("a.rs", "use crate::b::{\n    self,\n    B,\n};"),
        ("b/mod.rs", "mod inner;\nmod other;"),
        ("b/inner.rs", "use crate::c;"),
        ("b/other.rs", ""),
        ("c.rs", "use super::a::A;\nuse crate::d;"),
        ("d.rs", ""),
    ]);
    assert_eq!(
        found,
        ["modules of crate import each other: a, b, c\
          \n    a uses b: src/a.rs:2: crate::b\
          \n    b uses c: src/b/inner.rs:1: crate::c\
          \n    c uses a: src/c.rs:1: super::a::A"]
    );
}

#[test]
fn parent_and_child_may_use_each_other() {
    let found = cycles(&[
        ("lib.rs", "mod a;\npub struct Root;\npub use a::A;"),
        (
            "a/mod.rs",
            "mod child;\nuse child::Child;\npub struct A(Child, crate::Root);",
        ),
        (
            "a/child.rs",
            "use super::A;\npub struct Child;\nfn f() { crate::a::g() }",
        ),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn path_counts_as_an_import_does() {
    for path in [
        "fn f() { crate::a::f() }",
        "fn f() { assert!(1 == { crate::a::f() }) }",
        "fn f(a: &dyn Fn(super::a::A)) {}",
        "#[arg(value_parser = crate::a::f)] struct B;",
        "use super::a as other; fn f() { other::f() }",
        "use super::*; fn f() { a::f() }",
    ] {
        let found = cycles(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use super::b;"),
            ("b.rs", path),
        ]);
        assert_eq!(found.len(), 1, "{path}");
    }
}

#[test]
fn import_through_the_parent_counts() {
    let found = cycles(&[
        ("lib.rs", "mod a;\nmod b;\npub use a::A;\nuse b::*;"),
        ("a.rs", "use crate::b::B;\npub struct A;"),
        ("b.rs", "use crate::A;\npub struct B;"),
    ]);
    assert_eq!(
        found,
        ["modules of crate import each other: a, b\
          \n    a uses b: src/a.rs:1: crate::b::B\
          \n    b uses a: src/b.rs:1: crate::A"]
    );
}

#[test]
fn cycle_below_the_root_is_found_once() {
    let found = cycles(&[
        (
            "lib.rs",
            "mod x { mod a { use super::b; }\nmod b;\n#[path = \"far.rs\"]\nmod c; }",
        ),
        ("x/b.rs", "use crate::x::c::C;"),
        ("x/far.rs", "use crate::x;\nfn f() { x::a::f() }"),
    ]);
    assert_eq!(
        found,
        ["modules of crate::x import each other: a, b, c\
          \n    a uses b: src/lib.rs:1: super::b\
          \n    b uses c: src/x/b.rs:1: crate::x::c::C\
          \n    c uses a: src/x/far.rs:2: x::a::f"]
    );
}

#[test]
fn tests_do_not_count() {
    let found = cycles(&[
        ("lib.rs", "mod a;\nmod b;"),
        (
            "a.rs",
            "#[cfg(test)]\nmod tests { use crate::b; }\n#[cfg(all(test, unix))]\nuse crate::b;\n\
             struct A;\nimpl A { #[cfg(test)]\nfn f() { crate::b::f() } }",
        ),
        ("b.rs", "use crate::a;"),
    ]);
    assert_eq!(found, [""; 0]);
    let in_tests_too = "#[cfg(any(test, unix))]\nuse crate::b;";
    let found = cycles(&[
        ("lib.rs", "mod a;\nmod b;"),
        ("a.rs", in_tests_too),
        ("b.rs", "use crate::a;"),
    ]);
    assert_eq!(found.len(), 1);
}

#[test]
fn names_of_other_crates_are_not_modules() {
    let found = cycles(&[
        ("lib.rs", "mod a;\nmod log;"),
        ("a.rs", "use crate::log;"),
        ("log.rs", "use a;\nuse ::a::f;\nuse a::b;\nfn f() { a::g() }"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn long_file_and_cycle_are_found_in_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let git = Command::new("git")
        .args(["init", "--quiet"])
        .current_dir(folder.path())
        .status();
    assert!(git.unwrap().success());
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    file(".gitignore", "vendor\n");
    file(
        "one/src/main.rs",
        "mod a { use super::b; }\nmod b { use super::a; }",
    );
    file("two/tests/most.rs", &"\n".repeat(LONGEST));
    file("two/tests/more.rs", &"\n".repeat(LONGEST + 1));
    file("vendor/src/lib.rs", "not Rust");
    let found = check(folder.path()).unwrap();
    assert_eq!(
        found,
        [
            "two/tests/more.rs: 701 lines, at most 700",
            "modules of crate import each other: a, b\
             \n    a uses b: one/src/main.rs:1: super::b\
             \n    b uses a: one/src/main.rs:2: super::a",
        ]
    );
}

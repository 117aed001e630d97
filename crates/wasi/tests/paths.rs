//! Paths against a simple model: resolution of strings, one name after another, over a map of the whole tree.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{DATA, Guest, OUT, TEXT};

/// What the model has at a path from the root, without a leading slash.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Directory,
    File,
    Link(String),
}

type Tree = BTreeMap<Vec<String>, Kind>;

/// Where a path leads in the model, or its errno.
fn resolve(tree: &Tree, path: &str, follow: bool) -> Result<Vec<String>, u32> {
    if path.is_empty() {
        return Err(44);
    }
    if path.starts_with('/') {
        return Err(63);
    }
    let mut at: Vec<String> = Vec::new();
    let mut rest: Vec<String> = path.split('/').map(str::to_owned).collect();
    // A directory that links lead to may be above where the path began, but never above the root.
    let mut links = 8;
    while !rest.is_empty() {
        let name = rest.remove(0);
        let more = rest.iter().any(|name| !name.is_empty());
        let slash = !rest.is_empty();
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop().ok_or(63_u32)?;
                continue;
            }
            _ => {}
        }
        let mut child = at.clone();
        child.push(name);
        match tree.get(&child) {
            None => return Err(44),
            Some(Kind::Directory) => at = child,
            Some(Kind::File) if more || slash => return Err(54),
            Some(Kind::File) => return Ok(child),
            Some(Kind::Link(_)) if !more && !slash && !follow => return Ok(child),
            Some(Kind::Link(target)) => {
                if links == 0 {
                    return Err(32);
                }
                links -= 1;
                if target.starts_with('/') {
                    at.clear();
                }
                let mut names: Vec<String> = target.split('/').map(str::to_owned).collect();
                names.append(&mut rest);
                rest = names;
            }
        }
    }
    Ok(at)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["..", ".", ""]).prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = String> {
    (prop::bool::weighted(0.1), prop::collection::vec(name(), 0..6))
        .prop_map(|(absolute, names)| format!("{}{}", if absolute { "/" } else { "" }, names.join("/")))
}

/// Entries of a tree: a path of plain names, and what is there.
fn tree() -> impl Strategy<Value = Tree> {
    let plain = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1..4,
    );
    let kind = prop_oneof![
        2 => Just(Kind::Directory),
        2 => Just(Kind::File),
        2 => path().prop_map(Kind::Link),
    ];
    prop::collection::vec((plain, kind), 0..12).prop_map(|entries| {
        let mut tree = Tree::new();
        for (path, kind) in entries {
            let above = (1..path.len()).all(|length| match tree.get(&path[..length]) {
                None | Some(Kind::Directory) => true,
                Some(_) => false,
            });
            let empty_link = kind == Kind::Link(String::new());
            if above && !empty_link && !tree.contains_key(&path) {
                for length in 1..path.len() {
                    tree.insert(path[..length].to_vec(), Kind::Directory);
                }
                tree.insert(path, kind);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn path_leads_where_the_model_says_and_never_out_of_the_root(tree in tree(), paths in prop::collection::vec(path(), 8)) {
        // The root of the guest is below a directory that it must not see.
        let mut inner = BTreeMap::new();
        let mut guest = Guest::with(1 << 20, false, |files, root| {
            for (path, kind) in &tree {
                let joined = path.join("/");
                let node = match kind {
                    Kind::Directory => files.add_directory(root, &joined, 0o755),
                    Kind::File => files.add_file(root, &joined, joined.as_bytes(), 0o644),
                    Kind::Link(target) => files.add_link(root, &joined, target),
                };
                inner.insert(files.stat(node.unwrap()).inode, path.clone());
            }
        });
        guest.ok("fd_filestat_get", &[3, DATA]);
        inner.insert(guest.long(DATA + 8), Vec::new());
        for path in &paths {
            for follow in [false, true] {
                let [at, length] = guest.text(TEXT, path);
                let errno = guest.call("path_filestat_get", &[3, u32::from(follow), at, length, OUT]);
                let expected = resolve(&tree, path, follow);
                let found = if errno == 0 { Ok(inner[&guest.long(OUT + 8)].clone()) } else { Err(errno) };
                prop_assert_eq!(found, expected, "{:?} follow: {}", path, follow);
            }
        }
    }
}

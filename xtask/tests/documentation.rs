//! The pages refer to what exists, and the book lists every page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Folders with pages that people read.
const FOLDERS: [&str; 8] = [
    "",
    "docs",
    "docs/decisions",
    "deploy",
    "boards",
    "boards/patches",
    "guests",
    "crates/ec",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root().join(folder)).expect(folder);
        pages.extend(
            entries
                .map(|entry| entry.expect(folder).path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    pages
}

/// The targets of a page's links and images, and the anchors of its headings as GitHub and mdBook make them.
fn read(page: &Path) -> (Vec<String>, BTreeSet<String>) {
    let text = fs::read_to_string(page).expect("a page");
    let (mut links, mut anchors) = (Vec::new(), BTreeSet::new());
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                anchors.extend(heading.take().map(|heading| anchor(&heading)));
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    (links, anchors)
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages() {
        let shown = page
            .strip_prefix(root())
            .expect("a page of the project")
            .display();
        for link in read(&page).0 {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, heading) = link
                .split_once('#')
                .map_or((&*link, None), |(file, at)| (file, Some(at)));
            let target = match file {
                "" => page.clone(),
                _ => page.parent().expect("a folder").join(file),
            };
            if !target.exists() {
                broken.push(format!("{shown}: {link}: no such file"));
            } else if let Some(heading) = heading
                && !read(&target).1.contains(heading)
            {
                broken.push(format!("{shown}: {link}: no such heading"));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn book_lists_every_page_of_docs() {
    let docs = root().join("docs");
    let (links, _) = read(&docs.join("SUMMARY.md"));
    let listed: BTreeSet<PathBuf> = links.iter().map(|link| docs.join(link)).collect();
    let written: BTreeSet<PathBuf> = pages()
        .into_iter()
        .filter(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md"))
        .collect();
    assert_eq!(listed, written);
}

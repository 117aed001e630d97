//! A step of `cargo xtask check`: sibling modules do not import each other in a cycle, and no file is too long to read.
//!
//! Every crate of the repository is parsed from its root, along its `mod` declarations. A module uses another where a `use`, a path,
//! an attribute or the arguments of a macro name it or something in it, also through a `use` of a module in between. Only siblings
//! count: a parent may use its children, and they may use it. Code for tests alone (`#[cfg(test)]`, `tests/`, `benches/`) does not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Ident, ImplItem, Item, ItemMod, ItemUse, Lit, Meta, UseTree};

/// Lines that a file may have.
const LONGEST: usize = 700;

/// Checks the sources of a repository and prints what is wrong with them.
///
/// # Errors
/// Something is wrong, or cannot be checked.
pub(crate) fn run(repository: &Path) -> Result<()> {
    let wrong = check(repository)?;
    wrong.iter().for_each(|line| println!("{line}"));
    ensure!(
        wrong.is_empty(),
        "{} sources or sets of modules are wrong",
        wrong.len()
    );
    Ok(())
}

/// Checks the sources of a repository and returns what is wrong with them, each with its place.
///
/// # Errors
/// git does not list the files, or one cannot be read or parsed.
pub(crate) fn check(repository: &Path) -> Result<Vec<String>> {
    let files = sources(repository)?;
    let mut wrong = Vec::new();
    for file in &files {
        let lines = read(file)?.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{}: {lines} lines, at most {LONGEST}", file.display()));
        }
    }
    for root in files.iter().filter(|file| is_root(file)) {
        wrong.extend(Crate::read(root)?.cycles());
    }
    let prefix = format!("{}/", repository.display());
    Ok(wrong.iter().map(|line| line.replace(&prefix, "")).collect())
}

/// The Rust files that are or may be committed.
fn sources(repository: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            "*.rs",
        ])
        .current_dir(repository)
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "git does not list the files");
    let names = String::from_utf8(output.stdout).context("a name of a file is not UTF-8")?;
    let files = names.split_terminator('\0').map(|name| repository.join(name));
    Ok(files.filter(|file| file.is_file()).collect())
}

/// Whether a file is where a crate begins, test code excepted.
fn is_root(file: &Path) -> bool {
    fn name(path: Option<&Path>) -> Option<&str> {
        path?.file_name()?.to_str()
    }
    let folder = file.parent();
    let above = folder.and_then(Path::parent);
    matches!(
        (name(above), name(folder), name(Some(file))),
        (_, Some("src"), Some("lib.rs" | "main.rs"))
            | (_, Some("fuzz_targets"), _)
            | (Some("src"), Some("bin"), _)
            | (Some("bin"), _, Some("main.rs"))
    )
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The path of a module, from the root of its crate, which is empty.
type ModulePath = Vec<String>;

/// The modules of a crate.
#[derive(Default)]
struct Crate(BTreeMap<ModulePath, Module>);

/// What a module names.
#[derive(Default)]
struct Module {
    /// What its `use`s bring into scope, by the names that they have there.
    names: BTreeMap<String, Vec<String>>,
    /// What its `use`s bring into scope as a whole.
    globs: Vec<Vec<String>>,
    references: Vec<Reference>,
}

/// A path in the source.
struct Reference {
    segments: Vec<String>,
    /// File and line.
    place: String,
}

/// How many `use`s are followed from one to the next.
const MOST_HOPS: usize = 16;

impl Crate {
    /// Reads a crate from its root file.
    fn read(root: &Path) -> Result<Self> {
        let mut modules = Self::default();
        let folder = root.parent().context("a file without a folder")?;
        let mut files = vec![File {
            module: ModulePath::new(),
            path: root.to_owned(),
            children: folder.to_owned(),
        }];
        while let Some(file) = files.pop() {
            let syntax = syn::parse_file(&read(&file.path)?)
                .with_context(|| format!("cannot parse {}", file.path.display()))?;
            if is_for_tests(&syntax.attrs) {
                continue;
            }
            modules.0.entry(file.module.clone()).or_default();
            let mut reader = Reader {
                modules: &mut modules,
                folder: file.path.parent().unwrap_or(folder).to_owned(),
                file,
                files: Vec::new(),
            };
            reader.visit_file(&syntax);
            files.append(&mut reader.files);
        }
        Ok(modules)
    }

    /// The module that a path in `from` leads to, or whose item it names. `None` if it leads out of the crate.
    fn resolve(&self, from: &[String], segments: &[String], hops: usize) -> Option<ModulePath> {
        let mut at = from.to_owned();
        let mut rest = segments;
        match rest.first().map(String::as_str)? {
            "crate" => at.clear(),
            "self" | "super" => {}
            _ => return self.follow(at, rest, hops),
        }
        while let Some("crate" | "self" | "super") = rest.first().map(String::as_str) {
            if rest[0] == "super" {
                at.pop();
            }
            rest = &rest[1..];
        }
        let end = at.clone();
        self.follow(at, rest, hops).or(Some(end))
    }

    /// Follows a path whose first segment is a name in the scope of `at`. `None` if there is no such name that leads to a module.
    fn follow(&self, mut at: ModulePath, segments: &[String], hops: usize) -> Option<ModulePath> {
        let (first, rest) = segments.split_first()?;
        let module = self.0.get(&at)?;
        at.push(first.clone());
        if self.0.contains_key(&at) {
            return self.follow(at.clone(), rest, hops).or(Some(at));
        }
        at.pop();
        let hops = hops.checked_sub(1)?;
        if let Some(path) = module.names.get(first) {
            // A name that stands for itself is a crate's.
            let path: Vec<String> = path.iter().chain(rest).cloned().collect();
            return (path != segments)
                .then(|| self.resolve(&at, &path, hops))
                .flatten();
        }
        module.globs.iter().find_map(|glob| {
            let within = self.resolve(&at, glob, hops)?;
            (within != at)
                .then(|| self.follow(within, segments, hops))
                .flatten()
        })
    }

    /// Describes the cycles among siblings, one of those that have modules in common.
    fn cycles(&self) -> Vec<String> {
        // By the parent: which child uses which, and the first place that says so.
        let mut levels: BTreeMap<&[String], Graph<'_>> = BTreeMap::new();
        for (from, module) in &self.0 {
            for reference in &module.references {
                let Some(to) = self.resolve(from, &reference.segments, MOST_HOPS) else {
                    continue;
                };
                let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
                if shared < from.len()
                    && shared < to.len()
                    && let Some((to, _)) = self.0.get_key_value(&to[..=shared])
                {
                    let graph = levels.entry(&from[..shared]).or_default();
                    let uses = graph.entry(&from[shared]).or_default();
                    uses.entry(&to[shared]).or_insert(reference);
                }
            }
        }
        let mut found = Vec::new();
        for (parent, mut graph) in levels {
            while let Some(cycle) = shortest_cycle(&graph) {
                let parent = ["crate"].into_iter().chain(parent.iter().map(String::as_str));
                let parent = parent.collect::<Vec<_>>().join("::");
                let mut text = format!("modules of {parent} import each other: {}", cycle.join(", "));
                for (place, module) in cycle.iter().enumerate() {
                    let used = cycle[(place + 1) % cycle.len()];
                    let Reference { place, segments } = graph[module][used];
                    text += &format!("\n    {module} uses {used}: {place}: {}", segments.join("::"));
                }
                found.push(text);
                graph.retain(|module, _| !cycle.contains(module));
            }
        }
        found
    }
}

/// Which module uses which of its siblings, and where.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a Reference>>;

/// The modules of a cycle, none of them twice, in the order in which each uses the next.
fn shortest_cycle<'a>(graph: &Graph<'a>) -> Option<Vec<&'a str>> {
    let from = |start: &'a str| {
        let mut seen = BTreeSet::new();
        let mut paths = VecDeque::from([vec![start]]);
        while let Some(path) = paths.pop_front() {
            for &next in graph
                .get(path.last()?)?
                .keys()
                .filter(|next| graph.contains_key(*next))
            {
                if next == start {
                    return Some(path);
                }
                if seen.insert(next) {
                    paths.push_back([path.as_slice(), &[next]].concat());
                }
            }
        }
        None
    };
    let cycles = graph.keys().filter_map(|start| from(start));
    cycles.min_by_key(Vec::len)
}

/// A file that a module is in.
struct File {
    module: ModulePath,
    path: PathBuf,
    /// The folder of the files of its modules.
    children: PathBuf,
}

/// Reads one file, of which there is one module or more.
struct Reader<'a> {
    modules: &'a mut Crate,
    /// The module that is read and where its modules are: of the file, or within it.
    file: File,
    /// The folder that a `#[path]` starts from.
    folder: PathBuf,
    /// Modules in files of their own that were found.
    files: Vec<File>,
}

impl Reader<'_> {
    fn module(&mut self) -> &mut Module {
        self.modules.0.entry(self.file.module.clone()).or_default()
    }

    fn refer(&mut self, segments: Vec<String>, at: Span) {
        let place = format!("{}:{}", self.file.path.display(), at.start().line);
        self.module().references.push(Reference { segments, place });
    }

    fn import(&mut self, prefix: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(prefix, tree);
                }
            }
            UseTree::Glob(glob) => {
                self.module().globs.push(prefix.clone());
                self.refer(prefix.clone(), glob.star_token.spans[0]);
            }
            UseTree::Name(name) => self.import_as(prefix, &name.ident, None),
            UseTree::Rename(rename) => self.import_as(prefix, &rename.ident, Some(&rename.rename)),
        }
    }

    fn import_as(&mut self, prefix: &[String], what: &Ident, name: Option<&Ident>) {
        let mut segments = prefix.to_owned();
        if what != "self" {
            segments.push(what.to_string());
        }
        if let Some(name) = name.map(Ident::to_string).or_else(|| segments.last().cloned()) {
            self.module().names.insert(name, segments.clone());
        }
        self.refer(segments, what.span());
    }

    /// Paths among tokens that syn does not parse: the arguments of a macro.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) => {
                    let mut segments = vec![first.to_string()];
                    while let (true, true, Some(TokenTree::Ident(next))) =
                        (is_colon(at), is_colon(at + 1), tokens.get(at + 2))
                    {
                        segments.push(next.to_string());
                        at += 3;
                    }
                    if segments.len() > 1 {
                        self.refer(segments, first.span());
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return,
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        let path = path_attribute(&item.attrs);
        let mut module = self.file.module.clone();
        module.push(name.clone());
        if let Some((_, items)) = &item.content {
            let children = self.file.children.join(path.as_deref().unwrap_or(&name));
            let file = File {
                module,
                path: self.file.path.clone(),
                children: children.clone(),
            };
            let outer = std::mem::replace(&mut self.file, file);
            let folder = std::mem::replace(&mut self.folder, children);
            self.module();
            items.iter().for_each(|item| self.visit_item(item));
            (self.file, self.folder) = (outer, folder);
            return;
        }
        let children = &self.file.children;
        let (path, children) = match path {
            Some(path) => {
                let path = self.folder.join(path);
                let children = path.parent().unwrap_or(children).to_owned();
                (path, children)
            }
            None => {
                let beside = children.join(format!("{name}.rs"));
                let within = children.join(&name);
                let path = if beside.is_file() {
                    beside
                } else {
                    within.join("mod.rs")
                };
                (path, within)
            }
        };
        self.files.push(File {
            module,
            path,
            children,
        });
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.import(&mut Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string());
            self.refer(segments.collect(), path.segments[0].ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }
}

/// Whether something is compiled for tests alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .filter_map(|attribute| attribute.parse_args().ok())
        .any(|condition| needs_test(&condition))
}

/// Whether a condition holds in tests only.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            let all =
                list.parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated);
            all.is_ok_and(|all| all.iter().any(needs_test))
        }
        _ => false,
    }
}

/// The file that `#[path = "…"]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

/// The attributes of an item.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;

//! `cargo xtask sizes`: what an image takes of flash and of static memory, by section and by crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{File, Object, ObjectSection, ObjectSymbol, Section, SectionFlags, elf};
use picolet_image::build::Place;

use crate::limits::Component;

/// Bytes of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Code, constants, vectors: all that lies in flash, but for the initial values of `data`.
    pub(crate) text: u64,
    /// Variables with an initial value: in RAM, and their values in flash.
    pub(crate) data: u64,
    /// Variables that begin as zero or uninitialized: in RAM only.
    pub(crate) bss: u64,
}

impl Sizes {
    /// What the image takes of flash.
    pub(crate) fn flash(self) -> u64 {
        self.text + self.data
    }

    /// What the image takes of RAM before its first instruction, without stacks and heap that it does not declare.
    pub(crate) fn ram(self) -> u64 {
        self.data + self.bss
    }

    /// Measures an ELF file.
    pub(crate) fn of(elf: &Path) -> Result<Self> {
        let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let file = File::parse(&*bytes).with_context(|| format!("{} is not an ELF file", elf.display()))?;
        let mut sizes = Self::default();
        for section in file.sections() {
            match Kind::of(&section).with_context(|| format!("{} is not an ELF file", elf.display()))? {
                Some(Kind::Variables) if section.kind() == object::SectionKind::UninitializedData => {
                    sizes.bss += section.size();
                }
                Some(Kind::Variables) => sizes.data += section.size(),
                Some(Kind::Code | Kind::Constants) => sizes.text += section.size(),
                None => {}
            }
        }
        Ok(sizes)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, data, bss } = self;
        write!(
            f,
            "text+rodata {text}, data {data}, bss {bss}: flash {}, RAM {}",
            self.flash(),
            self.ram()
        )
    }
}

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Constants,
    /// In RAM, code that runs there included.
    Variables,
}

impl Kind {
    /// `None` if it is not in the chip's memory.
    fn of(section: &Section<'_, '_>) -> Result<Option<Self>> {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            bail!("it has no flags");
        };
        let has = |flag: u32| sh_flags & u64::from(flag) != 0;
        Ok(
            match (has(elf::SHF_ALLOC), has(elf::SHF_WRITE), has(elf::SHF_EXECINSTR)) {
                (false, ..) => None,
                (_, true, _) => Some(Self::Variables),
                (.., true) => Some(Self::Code),
                _ => Some(Self::Constants),
            },
        )
    }
}

/// Bytes of one crate, or of what has no name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    code: u64,
    constants: u64,
    variables: u64,
}

impl Share {
    fn of_kind(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Code => &mut self.code,
            Kind::Constants => &mut self.constants,
            Kind::Variables => &mut self.variables,
        }
    }
}

/// What has no name in the ELF file: texts, tables, and what the linker puts between.
const UNNAMED: &str = "(no name)";
/// What has a name of C: the compiler's own functions, handlers of exceptions.
const C: &str = "(no crate)";

/// What each crate takes, by the names in an ELF file: what is inlined counts with whom it is inlined into, and what is
/// generic with whose it is and not with who uses it.
fn by_crate(elf: &Path) -> Result<BTreeMap<String, Share>> {
    shares(elf, |name| crate_of(name).unwrap_or(C).to_owned())
}

/// What each component takes of flash, as [`by_crate`] counts, in their order. What none of them names is the last one's.
pub(crate) fn by_component(elf: &Path, components: &[Component]) -> Result<Vec<u64>> {
    let last = components.len().saturating_sub(1);
    let shares = shares(elf, |name| component_of(name, components).unwrap_or(last))?;
    let of = |index| {
        shares
            .get(&index)
            .map_or(0, |share: &Share| share.code + share.constants)
    };
    let mut sizes: Vec<_> = (0..components.len()).map(of).collect();
    // The initial values of variables lie in flash too.
    if let Some(rest) = sizes.last_mut() {
        *rest += Sizes::of(elf)?.data;
    }
    Ok(sizes)
}

/// Which of the components the name of a function or a variable belongs to, if one names it.
fn component_of(name: &str, components: &[Component]) -> Option<usize> {
    let path = path_of(name).unwrap_or(name);
    let mut found = None;
    for (index, component) in components.iter().enumerate() {
        for of in &component.of {
            let is_it = path
                .strip_prefix(&**of)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if is_it && found.is_none_or(|(length, _)| of.len() > length) {
                found = Some((of.len(), index));
            }
        }
    }
    found.map(|(_, index)| index)
}

/// What each owner takes, by the names in an ELF file. What has no name goes to the owner of the name [`UNNAMED`].
fn shares<Owner: Ord>(elf: &Path, owner: impl Fn(&str) -> Owner) -> Result<BTreeMap<Owner, Share>> {
    let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let file = File::parse(&*bytes).with_context(|| format!("{} is not an ELF file", elf.display()))?;
    let mut shares: BTreeMap<Owner, Share> = BTreeMap::new();
    let mut unnamed = Share::default();
    for section in file.sections() {
        if let Some(kind) = Kind::of(&section)? {
            *unnamed.of_kind(kind) += section.size();
        }
    }
    // Functions that are the same have one address.
    let mut counted = BTreeSet::new();
    for symbol in file.symbols() {
        let Some(section) = symbol.section_index() else {
            continue;
        };
        let kind = Kind::of(&file.section_by_index(section)?)?;
        let (Some(kind), Ok(name)) = (kind, symbol.name()) else {
            continue;
        };
        if symbol.size() == 0 || !counted.insert((section.0, symbol.address())) {
            continue;
        }
        let name = format!("{:#}", rustc_demangle::demangle(name));
        *shares.entry(owner(&name)).or_default().of_kind(kind) += symbol.size();
        let rest = unnamed.of_kind(kind);
        *rest = rest.saturating_sub(symbol.size());
    }
    let share = shares.entry(owner(UNNAMED)).or_default();
    for kind in [Kind::Code, Kind::Constants, Kind::Variables] {
        *share.of_kind(kind) += *unnamed.of_kind(kind);
    }
    Ok(shares)
}

/// The crate in the name of a function or a variable.
fn crate_of(name: &str) -> Option<&str> {
    if name == UNNAMED {
        return Some(UNNAMED);
    }
    path_of(name)?.split("::").next()
}

/// The first path in the name of a function or a variable.
fn path_of(name: &str) -> Option<&str> {
    let (before, _) = name.split_once("::")?;
    let word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let start = before.rfind(|letter| !word(letter)).map_or(0, |at| at + 1);
    let path = &name[start..];
    let end = path
        .find(|letter| !word(letter) && letter != ':')
        .unwrap_or(path.len());
    Some(path[..end].trim_end_matches(':')).filter(|path| !path.is_empty() && start < before.len())
}

/// Builds a binary of the workspace `boards/` as it is shipped, where it is, and returns its ELF file.
pub(crate) fn build(package: &str, binary: &str, target: &str) -> Result<PathBuf> {
    picolet_image::build::build(package, binary, target, Place::Here)
}

/// Packages of `boards/` and their binaries that are linked to be measured.
const LINK_TESTS: [(&str, &str); 5] = [
    ("link-test", "empty"),
    ("link-test", "tls"),
    ("link-test", "agent"),
    ("wasi-size", "wasi"),
    ("wasi-size", "pods"),
];

/// What to print.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Of which board's image: pico-w or pico-2-w.
    #[arg(long, default_value = "pico-w")]
    board: String,
    /// The differences to this commit too, which is built beside.
    #[arg(long, value_name = "COMMIT")]
    diff: Option<String>,
    /// Of the link tests instead, for both boards.
    #[arg(long, conflicts_with_all = ["board", "diff"])]
    link_tests: bool,
}

/// Prints the sizes of a board's image, or of the link tests.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.link_tests {
        for target in crate::check::THUMB_TARGETS {
            for (package, binary) in LINK_TESTS {
                let sizes = Sizes::of(&build(package, binary, target)?)?;
                println!("{binary:>8} {target:<26} {sizes}");
            }
        }
        return Ok(());
    }
    let board = &*arguments.board;
    let [pico_w, pico_2_w] = crate::check::THUMB_TARGETS;
    let target = match board {
        "pico-w" => pico_w,
        "pico-2-w" => pico_2_w,
        _ => bail!("there is no board {board:?}; there are pico-w, pico-2-w"),
    };
    let binary = format!("picolet-{board}");
    let elf = build(board, &binary, target)?;
    let before = match &arguments.diff {
        Some(commit) => {
            let root = source_of(commit)?;
            Some(picolet_image::build::build_in(
                &root,
                board,
                &binary,
                target,
                Place::Here,
            )?)
        }
        None => None,
    };
    print_components(&elf, before.as_deref())?;
    println!();
    print_crates(&elf, before.as_deref())?;
    println!("{binary}, without the radio's firmware: {}", Sizes::of(&elf)?);
    Ok(())
}

/// Prints a table of components, with the differences to `before`.
fn print_components(elf: &Path, before: Option<&Path>) -> Result<()> {
    let components = crate::limits::read()?.component;
    let now = by_component(elf, &components)?;
    let before = before.map(|elf| by_component(elf, &components)).transpose()?;
    println!("{:>9} {:>9}  bytes of flash, by component", "now", "change");
    let print = |size: u64, before: Option<u64>, name: &str| {
        println!("{size:>9} {:>9}  {name}", change(size, before));
    };
    for (index, (component, size)) in components.iter().zip(&now).enumerate() {
        let before = before.as_ref().and_then(|sizes| sizes.get(index)).copied();
        print(*size, before, &component.name);
    }
    print(now.iter().sum(), before.map(|sizes| sizes.iter().sum()), "all");
    Ok(())
}

/// Prints a table of crates, with the differences of their flash to `before`.
fn print_crates(elf: &Path, before: Option<&Path>) -> Result<()> {
    let mut shares = by_crate(elf)?;
    let before = before.map(by_crate).transpose()?;
    for owner in before.iter().flat_map(BTreeMap::keys) {
        shares.entry(owner.clone()).or_default();
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by_key(|(_, share)| std::cmp::Reverse(share.code + share.constants));
    println!(
        "{:>9} {:>9} {:>9} {:>9}  bytes, by crate",
        "code", "constants", "change", "RAM"
    );
    for (owner, share) in shares {
        let Share {
            code,
            constants,
            variables,
        } = share;
        let flash = |share: &Share| share.code + share.constants;
        let before = before.as_ref().map(|before| before.get(&owner).map_or(0, flash));
        let change = change(flash(&share), before);
        println!("{code:>9} {constants:>9} {change:>9} {variables:>9}  {owner}");
    }
    Ok(())
}

/// How much more it is than before, with its sign; nothing if it is the same or not compared.
fn change(now: u64, before: Option<u64>) -> String {
    match before {
        Some(before) if before != now => format!("{:+}", now as i64 - before as i64),
        _ => String::new(),
    }
}

/// The source of a commit, in a folder that is kept, so that the next one need not build everything.
fn source_of(commit: &str) -> Result<PathBuf> {
    let folder = crate::workspace().join("target/sizes");
    let git = |arguments: &[&str], at: &Path| -> Result<()> {
        let status = Command::new("git").args(arguments).current_dir(at).status();
        ensure!(
            status.context("cannot run git")?.success(),
            "git does not check out {commit}"
        );
        Ok(())
    };
    if folder.join(".git").exists() {
        git(&["checkout", "--quiet", "--force", "--detach", commit], &folder)?;
    } else {
        let path = folder.to_str().context("the project's folder is not UTF-8")?;
        git(
            &["worktree", "add", "--quiet", "--force", "--detach", path, commit],
            crate::workspace(),
        )?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very program: its sections add up to something, and its code is the most of it.
    #[test]
    fn measures_an_elf_file() {
        let sizes = Sizes::of(&std::env::current_exe().unwrap()).unwrap();
        assert!(
            sizes.text > sizes.data && sizes.data > 0 && sizes.bss > 0,
            "{sizes}"
        );
        assert_eq!(sizes.flash(), sizes.text + sizes.data);
        assert_eq!(sizes.ram(), sizes.data + sizes.bss);
    }

    #[test]
    fn every_byte_of_it_is_some_crate_s() {
        let program = std::env::current_exe().unwrap();
        let (sizes, shares) = (Sizes::of(&program).unwrap(), by_crate(&program).unwrap());
        let sum = |of: fn(&Share) -> u64| shares.values().map(of).sum::<u64>();
        assert_eq!(sum(|share| share.code + share.constants), sizes.text);
        assert_eq!(sum(|share| share.variables), sizes.ram());
        assert!(shares["xtask"].code > 0 && shares["core"].code > 0);
        assert!(shares[UNNAMED].code < sizes.text / 2, "{:?}", shares[UNNAMED]);
    }

    #[test]
    fn a_name_says_whose_it_is() {
        for (name, owner) in [
            ("core::panicking::panic_bounds_check", Some("core")),
            (
                "<picolet_http::Body as core::fmt::Debug>::fmt",
                Some("picolet_http"),
            ),
            (
                "<&mut dyn picolet_tls::Read as core::fmt::Debug>::fmt",
                Some("picolet_tls"),
            ),
            ("memcpy", None),
        ] {
            assert_eq!(crate_of(name), owner, "{name}");
        }
    }

    #[test]
    fn component_is_the_one_that_names_most_of_the_path() {
        let component = |name: &str, of: &[&str]| Component {
            name: name.to_owned(),
            of: of.iter().map(|&path| path.to_owned()).collect(),
            limit: 0,
        };
        let components = [
            component("agent", &["picolet_kubelet"]),
            component("identity", &["picolet_kubelet::identity"]),
        ];
        for (name, index) in [
            ("picolet_kubelet::lease::renew", Some(0)),
            (
                "<picolet_kubelet::identity::IdentityController<H>>::keep::{closure#0}",
                Some(1),
            ),
            ("picolet_kubelet::identity_of_another::f", Some(0)),
            ("core::fmt::write", None),
            ("memcpy", None),
        ] {
            assert_eq!(component_of(name, &components), index, "{name}");
        }
    }

    #[test]
    fn says_what_is_not_an_elf_file() {
        let file = crate::workspace().join("Cargo.toml");
        assert!(
            Sizes::of(&file)
                .unwrap_err()
                .to_string()
                .ends_with("is not an ELF file")
        );
    }
}

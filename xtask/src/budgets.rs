//! `cargo xtask budgets`: what is measured, beside what `budgets.toml` allows.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::sizes::{self, Sizes};

/// `budgets.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    budget: Vec<Budget>,
}

/// One line of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// What is limited, for a person.
    what: String,
    /// How it is measured.
    measure: Measure,
    /// The most that is allowed, in bytes.
    limit: u64,
    /// What is wished for, in bytes.
    aim: Option<u64>,
}

/// How something is measured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measure {
    /// The package of `boards/` that is built as it is shipped.
    package: String,
    /// Its binary.
    binary: String,
    /// For which chip.
    target: String,
    /// What of it counts.
    of: Memory,
    /// A binary of the same package whose figure is subtracted: what the start-up costs without the thing measured.
    without: Option<String>,
}

/// Which memory.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Memory {
    /// Code, constants, initial values.
    Flash,
    /// Static variables.
    Ram,
}

/// Measures everything and fails if anything is over its limit.
pub(crate) fn run() -> Result<()> {
    let budgets = read()?;
    let mut built = HashMap::new();
    let mut over = 0;
    println!("{:>9} {:>9} {:>9}  bytes", "measured", "allowed", "aim");
    for Budget {
        what,
        measure,
        limit,
        aim,
    } in &budgets.budget
    {
        let mut figure = |binary: &str| -> Result<u64> {
            let key = (measure.package.clone(), binary.to_owned(), measure.target.clone());
            let sizes = match built.get(&key) {
                Some(sizes) => *sizes,
                None => {
                    let sizes = Sizes::of(&sizes::build(&measure.package, binary, &measure.target)?)?;
                    built.insert(key, sizes);
                    sizes
                }
            };
            Ok(match measure.of {
                Memory::Flash => sizes.flash(),
                Memory::Ram => sizes.ram(),
            })
        };
        let mut measured = figure(&measure.binary)?;
        if let Some(without) = &measure.without {
            measured = measured.saturating_sub(figure(without)?);
        }
        let aim = aim.map_or_else(|| "-".to_owned(), |aim| aim.to_string());
        let verdict = if measured > *limit { "  OVER" } else { "" };
        over += usize::from(measured > *limit);
        println!("{measured:>9} {limit:>9} {aim:>9}  {what}{verdict}");
    }
    ensure!(
        over == 0,
        "{over} of {} budgets are exceeded",
        budgets.budget.len()
    );
    Ok(())
}

fn read() -> Result<Budgets> {
    let file = crate::workspace().join("budgets.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is malformed", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_well_formed() {
        let budgets = read().unwrap();
        assert!(!budgets.budget.is_empty());
        for budget in budgets.budget {
            assert!(
                budget.aim.is_none_or(|aim| aim <= budget.limit),
                "{}",
                budget.what
            );
            assert!(
                crate::check::THUMB_TARGETS.contains(&budget.measure.target.as_str()),
                "{}",
                budget.what
            );
        }
    }
}

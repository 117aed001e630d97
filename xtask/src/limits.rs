//! `budgets.toml`: what is limited, how it is measured, and by how much.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

/// `budgets.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budgets {
    pub(crate) component: Vec<Component>,
    pub(crate) budget: Vec<Budget>,
}

/// A part of the Pico W's application, and what it may take of flash.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Component {
    pub(crate) name: String,
    /// Its crates, and modules as `crate::module`. Of two that name the same thing the longer counts.
    pub(crate) of: Vec<String>,
    /// The most that is allowed, in bytes.
    pub(crate) limit: u64,
}

/// One line of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// What is limited, for a person.
    pub(crate) what: String,
    /// How it is measured.
    pub(crate) measure: Measure,
    /// The most that is allowed, in bytes or cycles.
    pub(crate) limit: u64,
    /// What is wished for, in bytes or cycles.
    pub(crate) aim: Option<u64>,
}

/// How something is measured.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Measure {
    /// By its size.
    Image {
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
    },
    /// By booting the Pico W's image in the emulator, beside an in-memory cluster.
    Emulated {
        /// What of it counts: a name that `testbed`'s program `measure` prints.
        emulated: String,
        /// Whether the image's static memory is added.
        #[serde(default)]
        and_static: bool,
    },
    /// By running it on the simulated Cortex-M0+.
    Simulated {
        /// What is run: a name that `cargo xtask bench ec` prints.
        simulated: String,
        /// What of it counts.
        of: Cost,
    },
}

/// Which memory.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Memory {
    /// Code, constants, initial values.
    Flash,
    /// Static variables.
    Ram,
}

/// What is counted of something simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cost {
    /// Cycles by the Cortex-M0+'s table, memory without wait states.
    Cycles,
    /// Bytes of stack.
    Stack,
    /// Bytes of code and tables.
    Flash,
}

/// What is allowed of something simulated, if it has a budget.
pub(crate) fn limit(name: &str, cost: Cost) -> Result<Option<u64>> {
    Ok(read()?.budget.iter().find_map(|budget| match &budget.measure {
        Measure::Simulated { simulated, of } if simulated == name && *of == cost => Some(budget.limit),
        _ => None,
    }))
}

/// Reads `budgets.toml`.
pub(crate) fn read() -> Result<Budgets> {
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
            if let Measure::Image { target, .. } = &budget.measure {
                assert!(
                    crate::check::THUMB_TARGETS.contains(&target.as_str()),
                    "{}",
                    budget.what
                );
            }
        }
    }
}

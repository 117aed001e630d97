//! `cargo xtask budgets`: what is measured, beside what `budgets.toml` allows.

use std::collections::HashMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_image::cargo::cargo;

use crate::ec::{self, Figures};
use crate::limits::{self, Budget, Measure, Memory};
use crate::sizes::{self, Sizes};

/// The figure that is the image's static memory.
const STATIC: &str = "static_bytes";

/// Measures everything and fails if anything is over its limit.
pub(crate) fn run() -> Result<()> {
    let budgets = limits::read()?;
    let mut built = HashMap::new();
    let mut figures: Option<Figures> = None;
    let mut emulated_figures = None;
    let mut over = 0;
    println!(
        "{:>10} {:>10} {:>10}  bytes, cycles or milliseconds",
        "measured", "allowed", "aim"
    );
    for Budget {
        what,
        measure,
        limit,
        aim,
    } in &budgets.budget
    {
        let measured = match measure {
            Measure::Image {
                package,
                binary,
                target,
                of,
                without,
            } => {
                let mut figure = |binary: &str| -> Result<u64> {
                    let key = (package.clone(), binary.to_owned(), target.clone());
                    let sizes = match built.get(&key) {
                        Some(sizes) => *sizes,
                        None => {
                            let sizes = Sizes::of(&sizes::build(package, binary, target)?)?;
                            built.insert(key, sizes);
                            sizes
                        }
                    };
                    Ok(match of {
                        Memory::Flash => sizes.flash(),
                        Memory::Ram => sizes.ram(),
                    })
                };
                let whole = figure(binary)?;
                match without {
                    Some(without) => whole.saturating_sub(figure(without)?),
                    None => whole,
                }
            }
            Measure::Emulated { emulated, and_static } => {
                if emulated_figures.is_none() {
                    emulated_figures = Some(emulate()?);
                }
                let figure = |name: &str| emulated_figures.as_ref()?.get(name).copied();
                let measured = figure(emulated)
                    .with_context(|| format!("{what}: nothing that is emulated is called {emulated}"))?;
                let more = and_static.then(|| figure(STATIC).unwrap_or_default());
                measured + more.unwrap_or_default()
            }
            Measure::Simulated { simulated, of: cost } => {
                if figures.is_none() {
                    figures = Some(ec::figures()?);
                }
                figures
                    .as_ref()
                    .and_then(|figures| figures.get(&(simulated.as_str(), *cost)))
                    .copied()
                    .with_context(|| format!("{what}: nothing that is simulated is called {simulated}"))?
            }
        };
        let aim = aim.map_or_else(|| "-".to_owned(), |aim| aim.to_string());
        let verdict = if measured > *limit { "  OVER" } else { "" };
        over += usize::from(measured > *limit);
        println!("{measured:>10} {limit:>10} {aim:>10}  {what}{verdict}");
    }
    let [pico_w, _] = crate::check::THUMB_TARGETS;
    let elf = sizes::build("pico-w", "picolet-pico-w", pico_w)?;
    for (component, measured) in budgets
        .component
        .iter()
        .zip(sizes::by_component(&elf, &budgets.component)?)
    {
        let (name, limit) = (&component.name, component.limit);
        let verdict = if measured > limit { "  OVER" } else { "" };
        over += usize::from(measured > limit);
        println!(
            "{measured:>10} {limit:>10} {:>10}  Pico W, flash: {name}{verdict}",
            "-"
        );
    }
    ensure!(
        over == 0,
        "{over} of {} budgets are exceeded",
        budgets.budget.len() + budgets.component.len()
    );
    Ok(())
}

/// Boots the image and has it measured.
fn emulate() -> Result<HashMap<String, u64>> {
    let board = "pico-w";
    let folder = crate::workspace().join("target/images");
    // Where the project lies would decide how the program is laid out, and that what its cache misses and when it does what.
    Image::build(board, board, "picolet-pico-w", Place::Reproducible)?.write(&folder)?;
    let image = folder.join("picolet-pico-w.uf2");
    let output = cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "picolet-testbed",
            "--bin",
            "measure",
            "--",
        ])
        .arg(&image)
        .current_dir(crate::workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the image could not be measured");
    let text = String::from_utf8(output.stdout).context("measure printed no text")?;
    let elf = sizes::build(board, "picolet-pico-w", "thumbv6m-none-eabi")?;
    let static_memory = Sizes::of(&elf)?.ram();
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let own = (STATIC.to_owned(), static_memory);
    Ok(text.lines().filter_map(figure).chain([own]).collect())
}

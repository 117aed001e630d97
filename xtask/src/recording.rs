//! `cargo xtask recording`: runs the demo and writes what it prints, at its pace, as an animated SVG.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_image::cargo::cargo;

/// Where the README finds it.
const FILE: &str = "docs/demo.svg";
/// The size of the terminal.
const COLUMNS: usize = 104;
const ROWS: usize = 30;
/// The size of a character, in pixels.
const WIDTH: f64 = 7.8;
const HEIGHT: usize = 17;
/// Longest pause that is shown, what readers get before each command, and how long the last lines stay.
const PAUSE: Duration = Duration::from_millis(1500);
const READ: Duration = Duration::from_millis(1800);
const END: Duration = Duration::from_secs(6);
/// The line with which the demo hands over to whoever watches.
const PLAY_ON: &str = "Play on";

/// A line of the terminal, and when it appears.
struct Line {
    at: Duration,
    text: String,
}

/// Records the demo.
pub(crate) fn run() -> Result<()> {
    let folder = crate::workspace().join("target/images");
    Image::build("pico-w", "pico-w", "picolet-pico-w", Place::Here)?.write(&folder)?;
    let image = "target/images/picolet-pico-w.uf2";
    let mut command = cargo();
    command
        .args([
            "run",
            "--quiet",
            "--package",
            "picolet",
            "--",
            "demo",
            "--once",
            "--image",
            image,
        ])
        .current_dir(crate::workspace())
        .stdout(Stdio::piped());
    let mut demo = command.spawn().context("cannot run cargo")?;
    let output = BufReader::new(demo.stdout.take().context("the demo has no output")?);
    let mut lines = Vec::new();
    let mut is_over = false;
    let (mut at, mut last) = (Duration::ZERO, Instant::now());
    for line in output.lines() {
        let line = line.context("the demo's output is not UTF-8")?;
        // What follows has paths of this machine.
        is_over |= line.starts_with(PLAY_ON);
        if is_over {
            continue;
        }
        at += last.elapsed().min(PAUSE);
        last = Instant::now();
        if class(&line) == "typed" {
            at += READ;
        }
        lines.extend(wrap(&line).map(|text| Line { at, text }));
    }
    let status = demo.wait()?;
    ensure!(status.success(), "the demo ended with {status}");
    let file = crate::workspace().join(FILE);
    std::fs::write(&file, svg(&lines)).with_context(|| file.display().to_string())?;
    println!("{FILE}: {} lines, {:.1} s", lines.len(), at.as_secs_f32());
    Ok(())
}

/// Cuts a line into those of the terminal.
fn wrap(line: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = line.chars().collect();
    let mut lines: Vec<String> = characters
        .chunks(COLUMNS)
        .map(|part| part.iter().collect())
        .collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines.into_iter()
}

/// The class of a line: what is typed, what a board prints, and what is neither.
fn class(line: &str) -> &'static str {
    if line.starts_with("$ ") {
        "typed"
    } else if line.contains(" ┆ ") {
        "board"
    } else {
        "text"
    }
}

/// All lines lie below each other. Two animations with the same steps reveal and scroll them.
fn svg(lines: &[Line]) -> String {
    let end = lines.last().map_or(Duration::ZERO, |line| line.at) + END;
    let (width, height) = (COLUMNS as f64 * WIDTH + 24.0, ROWS * HEIGHT + 24);
    let (mut scroll, mut reveal) = (String::new(), String::new());
    let mut step = |at: Duration, shown: usize| {
        let percent = 100.0 * at.as_secs_f64() / end.as_secs_f64();
        let up = shown.saturating_sub(ROWS) * HEIGHT;
        let _ = writeln!(scroll, "{percent:.3}% {{ transform: translateY(-{up}px) }}");
        let _ = writeln!(
            reveal,
            "{percent:.3}% {{ transform: translateY({}px) }}",
            shown * HEIGHT
        );
    };
    step(Duration::ZERO, 0);
    let mut shown = 0;
    while let Some(line) = lines.get(shown) {
        // Lines that appear at once are one step.
        let together = lines[shown..]
            .iter()
            .take_while(|next| next.at == line.at)
            .count();
        shown += together;
        step(line.at, shown);
    }
    step(end, shown);
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let escaped = line
            .text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let (y, class) = ((index + 1) * HEIGHT - 4, class(&line.text));
        let _ = writeln!(
            text,
            r#"<text y="{y}" xml:space="preserve" class="{class}">{escaped}</text>"#
        );
    }
    let (inside, all) = (ROWS * HEIGHT, lines.len() * HEIGHT);
    // Without animation the end is shown.
    let hidden = all.saturating_sub(inside);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="Recording of cargo xtask demo">
<style>
text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; fill: #d0d7de }}
.typed {{ fill: #7ee787; font-weight: bold }}
.board {{ fill: #a5d6ff }}
.scroll {{ animation: scroll {seconds:.2}s step-end infinite }}
.reveal {{ animation: reveal {seconds:.2}s step-end infinite; fill: #0d1117 }}
@media (prefers-reduced-motion) {{ .scroll, .reveal {{ animation: none }} }}
@keyframes scroll {{
{scroll}}}
@keyframes reveal {{
{reveal}}}
</style>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>
<svg x="12" y="12" width="{width}" height="{inside}">
<g class="scroll" transform="translate(0 -{hidden})">
{text}<rect class="reveal" transform="translate(0 {all})" width="{width}" height="{all}"/>
</g>
</svg>
</svg>
"##,
        seconds = end.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_and_empty_ones_kept() {
        let long: String = "é".repeat(COLUMNS + 1);
        assert_eq!(
            wrap(&long).map(|line| line.chars().count()).collect::<Vec<_>>(),
            [COLUMNS, 1]
        );
        assert_eq!(wrap("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn lines_are_revealed_and_scrolled_when_they_appear() {
        let line = |seconds, text: &str| Line {
            at: Duration::from_secs(seconds),
            text: text.into(),
        };
        let mut lines = vec![line(1, "$ a < b")];
        lines.extend((0..ROWS).map(|_| line(2, "c")));
        let svg = svg(&lines);
        assert!(svg.contains(r#"class="typed">$ a &lt; b</text>"#), "{svg}");
        // One line after one of eight seconds; all after two, with the first scrolled away.
        assert!(svg.contains("12.500% { transform: translateY(17px) }"), "{svg}");
        assert!(svg.contains("25.000% { transform: translateY(-17px) }"), "{svg}");
    }
}

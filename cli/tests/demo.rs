//! `picolet demo` as a person meets it, with the boards that `cargo xtask demo` shows.

use picolet_image::Image;
use picolet_image::build::Place;
use std::process::Command;

/// Runs the demo to its end, and returns what it showed. The nodes' addresses are counted up from `first`, apart from
/// those of the other test.
fn demo(first: u8, arguments: &[&str]) -> String {
    // Other processes may test at the same time.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let high = high | 128;
    let output = Command::new(env!("CARGO_BIN_EXE_picolet"))
        .args([
            "demo",
            "--once",
            "--node-ip",
            &format!("127.{high}.{low}.{first}"),
        ])
        .args(arguments)
        .output()
        .expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{shown}");
    shown
}

fn assert_shows(shown: &str, all: &[&str]) {
    for words in all {
        assert!(shown.contains(words), "{words:?} is not shown:\n{shown}");
    }
}

#[test]
fn two_emulated_boards_are_driven_by_one_configmap() {
    let image = Image::build("pico-w", "pico-w", "picolet-pico-w", Place::Here).expect("the image");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("picolet.uf2");
    std::fs::write(&file, image.uf2().expect("the image")).expect("the file");
    let shown = demo(1, &["--boards", "2", "--image", file.to_str().expect("UTF-8")]);
    for name in ["pico-1", "pico-2"] {
        for words in [
            "started by power-on",
            "joined",
            "registered as node",
            "GPIO 2   ▔▔▔",
            "GPIO 3   ▔▔▔▔▁▁▁▁",
            "blinks every",
            "GPIO 2   is let go",
        ] {
            let line = |line: &&str| line.starts_with(&format!("{name} ┆")) && line.contains(words);
            assert!(
                shown.lines().any(|l| line(&l)),
                "{name}: no {words:?} in\n{shown}"
            );
        }
        let ready = |line: &str| line.starts_with(&format!("{name}   Ready "));
        assert!(shown.lines().any(ready), "{name} is not Ready in\n{shown}");
    }
    assert_shows(
        &shown,
        &["WifiSignal", "\"value\":255", "InvalidConfiguration", "Play on"],
    );
}

#[test]
fn a_linux_process_is_shown_the_same_way() {
    let shown = demo(101, &["--board", "linux"]);
    assert_shows(
        &shown,
        &[
            "pico-1   Ready ",
            "\"value\":255",
            "InvalidConfiguration",
            "Play on",
        ],
    );
}

#[test]
fn a_board_without_an_image_is_told_what_it_needs() {
    let output = Command::new(env!("CARGO_BIN_EXE_picolet"))
        .args(["demo", "--board", "pico-w"])
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("--image"), "{said}");
}

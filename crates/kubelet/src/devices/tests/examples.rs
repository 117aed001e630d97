//! What the documents tell people to write is taken by every board.

use super::super::check;
use picolet_platform::PinSet;
use std::string::String;
use std::vec::Vec;

const DOCUMENTS: [(&str, &str); 5] = [
    ("README.md", include_str!("../../../../../README.md")),
    (
        "docs/from-box-to-ready.md",
        include_str!("../../../../../docs/from-box-to-ready.md"),
    ),
    ("docs/drive.md", include_str!("../../../../../docs/drive.md")),
    (
        "docs/hardware-smoke-test.md",
        include_str!("../../../../../docs/hardware-smoke-test.md"),
    ),
    ("docs/cluster.md", include_str!("../../../../../docs/cluster.md")),
];

/// Examples that show what is rejected.
const WRONG: [&str; 1] = ["0=1,1=300"];

/// The values that a document has for a key: `--from-literal=KEY=VALUE`, `"KEY":"VALUE"`, `KEY: VALUE` and the rows of tables.
fn examples(text: &str, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(key) {
        if text[..at].ends_with('_') {
            continue; // the end of a longer word
        }
        let rest = &text[at + key.len()..];
        let line = rest.lines().next().unwrap_or_default();
        let value = if let Some(table) = line.strip_prefix("` | ") {
            for (n, value) in table.split('`').enumerate() {
                if n % 2 == 1 {
                    found.push(value.into());
                }
            }
            continue;
        } else if let Some(json) = line.strip_prefix("\":\"") {
            json.split('"').next()
        } else if let Some(quoted) = line.strip_prefix("=\"") {
            quoted.split('"').next()
        } else if let Some(literal) = line.strip_prefix('=') {
            literal.split(char::is_whitespace).next()
        } else if let Some(prose) = line.strip_prefix(": ") {
            prose.split('`').next()
        } else {
            None
        };
        // What follows the key in an error message or in a column of figures is not a value.
        found.extend(
            value
                .filter(|value| !value.starts_with("entry") && !value.starts_with(' '))
                .map(Into::into),
        );
    }
    found
}

#[test]
fn documented_examples_are_accepted_by_every_board() {
    // A Pico W, a Pico 2 W and a process on Linux; those of a board without a UART are more.
    let pins = PinSet::range(2, 22).union(PinSet::range(26, 28));
    let mut count = 0;
    for (document, text) in DOCUMENTS {
        for key in ["gpio", "memory_values", "led"] {
            for value in examples(text, key) {
                if WRONG.contains(&&*value) {
                    assert!(check(key, &value, pins).is_err(), "{document}: {key}: {value}");
                    continue;
                }
                let checked = check(key, &value, pins);
                assert_eq!(checked, Ok(()), "{document}: {key}: {value}");
                count += 1;
            }
        }
    }
    assert!(count >= 10, "only {count} examples were found");
}

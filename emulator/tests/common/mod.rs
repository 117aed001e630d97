//! What the integration tests share.
#![allow(dead_code, reason = "each test uses its part")]

use std::process::Command;

/// Whether a tool that a test compares with is there. If not, says so; where everything is required, fails.
pub(crate) fn has_tool(name: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().is_ok_and(|o| o.status.success());
    if !found {
        let required = std::env::var_os("PICOLET_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!required, "{name} is required and not installed");
        println!("not run: install {name}");
    }
    found
}

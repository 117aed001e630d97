//! Counts its starts in a file: the first argument, or /data/counter.

use std::io::{self, ErrorKind};
use std::{env, fs};

fn main() -> io::Result<()> {
    let path = env::args().nth(1).unwrap_or_else(|| "/data/counter".into());
    let starts: u32 = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(io::Error::other)?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let starts = starts.saturating_add(1);
    // Renamed when it is whole: who reads it finds the old number or the new one.
    let new = format!("{path}.new");
    fs::write(&new, format!("{starts}\n"))?;
    fs::rename(&new, &path)?;
    println!("start {starts}");
    Ok(())
}

//! Small programs whose output says how calls of WASI end. The first argument is the name of the program; without one, all names are
//! listed.
//!
//! They expect `/etc/text` ("hello, world"), `/etc/empty`, `/dir` with `one` and `two`, and the links `/link` to `etc/text`, `/folder` to
//! `dir`, `/loop` to itself, `/dangling` to nothing and `/up` out of the root.

mod calls;
mod files;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

/// A program: its name, and what it does. An error that it returns is printed.
type Program = (&'static str, fn() -> io::Result<()>);

/// The program's own streams, arguments and end.
const PROCESS: [Program; 8] = [
    ("args", || {
        env::args().for_each(|argument| println!("{argument}"));
        Ok(())
    }),
    ("env", || {
        env::vars().for_each(|(name, value)| println!("{name}={value}"));
        println!("{:?}", env::var("NONE"));
        Ok(())
    }),
    ("exit", || std::process::exit(7)),
    ("exit-largest", || std::process::exit(125)),
    ("trap", || std::process::abort()),
    ("stdin", || {
        let text = io::read_to_string(io::stdin())?;
        println!("{text:?}");
        Ok(())
    }),
    ("stderr", || {
        io::stderr().write_all(b"to the error stream\n")?;
        println!("to the output");
        Ok(())
    }),
    ("long-output", || {
        let line = "0123456789".repeat(100);
        (0..20).for_each(|_| println!("{line}"));
        Ok(())
    }),
];

fn main() -> ExitCode {
    let programs = || PROCESS.iter().chain(&files::PROGRAMS).chain(&calls::PROGRAMS);
    let Some(name) = env::args().nth(1) else {
        programs().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, program)) = programs().find(|(found, _)| *found == name) else {
        return ExitCode::from(100);
    };
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error {:?}", error.raw_os_error());
            ExitCode::FAILURE
        }
    }
}

/// Prints how something ended: its result, or its errno.
pub(crate) fn say<T: std::fmt::Debug>(what: &str, result: io::Result<T>) {
    match result {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => println!("{what}: errno {:?}", error.raw_os_error()),
    }
}

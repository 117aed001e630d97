//! What a person at a terminal is asked for, where the command line leaves it out.

use anyhow::{Context, Result, bail, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal, Stdin, Write};

/// Asks for what `flag` would have said, until the answer is `valid`.
pub(super) fn ask(flag: &str, question: &str, valid: impl Fn(&str) -> Result<()>) -> Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("{flag} is missing; it is asked for where there is a terminal");
    }
    loop {
        let answer = line(&stdin, question)?;
        match valid(&answer) {
            Ok(()) => return Ok(answer),
            Err(error) => eprintln!("{error}"),
        }
    }
}

/// Asks for a secret, which the terminal does not show, until the answer is `valid` or empty, which is `None`.
pub(super) fn ask_secret(question: &str, valid: impl Fn(&str) -> Result<()>) -> Result<Option<String>> {
    let stdin = io::stdin();
    let _hidden = Hidden::new(&stdin)?;
    loop {
        let answer = line(&stdin, question)?;
        // The end of the line was not shown either.
        eprintln!();
        if answer.is_empty() {
            return Ok(None);
        }
        match valid(&answer) {
            Ok(()) => return Ok(Some(answer)),
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn line(stdin: &Stdin, question: &str) -> Result<String> {
    eprint!("{question}: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    let length = stdin.read_line(&mut answer).context("there was no answer")?;
    ensure!(length > 0, "there was no answer");
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, for as long as this is there.
struct Hidden<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(stdin: &'a Stdin) -> Result<Self> {
        let before = tcgetattr(stdin).context("no terminal to ask for a secret")?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Now, &modes).context("the terminal shows what is typed")?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}

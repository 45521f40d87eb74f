//! A passphrase from the terminal, not shown while it is typed. Without a terminal there is none.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for the passphrase of a key; `None` when there is no terminal, or nothing was typed.
#[must_use]
pub fn ask(key: &Path) -> Option<String> {
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    write!(terminal, "Passphrase for {}: ", key.display()).ok()?;
    let shown = tcgetattr(&terminal).ok()?;
    let mut hidden = shown.clone();
    hidden.local_modes -= LocalModes::ECHO;
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).ok()?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    // The terminal goes back to how it was, whatever was read.
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &shown);
    let _ = writeln!(terminal);
    read.ok()?;
    let line = line.trim_end_matches(['\n', '\r']);
    (!line.is_empty()).then(|| line.to_owned())
}

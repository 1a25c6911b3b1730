//! Results, line by line, on stdout.
//!
//! It owns what a reader that went away means. Logs and errors go to stderr.

use std::io::{ErrorKind as IoKind, Write as _};

use crate::error::{Error, ErrorKind, Result};

/// Prints one line of a result. A reader that went away (`| head`) is no error.
pub fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != IoKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

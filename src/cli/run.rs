//! `thalweg run`.

use super::RunArguments;
use crate::error::{Error, ErrorKind, Result};

pub fn run(arguments: &RunArguments) -> Result<()> {
    let _config = super::load_config(&arguments.config)?;
    Err(Error::new(ErrorKind::Internal, "`run` is not wired yet"))
}

//! `thalweg check`.

use super::CheckArguments;
use crate::error::{Error, ErrorKind, Result};

pub fn check(arguments: &CheckArguments) -> Result<()> {
    let _config = super::load_config(&arguments.config)?;
    Err(Error::new(ErrorKind::Internal, "`check` is not wired yet"))
}

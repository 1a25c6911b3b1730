//! `thalweg table verify` and `thalweg table info`.

use super::TableArguments;
use crate::config::table_address;
use crate::error::{Error, ErrorKind, Result};

pub fn verify(arguments: &TableArguments) -> Result<()> {
    let (_location, _options) = table_address(&arguments.location, &arguments.storage)?;
    Err(Error::new(ErrorKind::Internal, "`table verify` is not wired yet"))
}

pub fn info(arguments: &TableArguments) -> Result<()> {
    let (_location, _options) = table_address(&arguments.location, &arguments.storage)?;
    Err(Error::new(ErrorKind::Internal, "`table info` is not wired yet"))
}

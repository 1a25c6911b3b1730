//! `thalweg demo`.

use super::DemoArguments;
use crate::error::{Error, ErrorKind, Result};

pub fn demo(_arguments: &DemoArguments) -> Result<()> {
    Err(Error::new(ErrorKind::Internal, "`demo` is not wired yet"))
}

//! What turns raw values into checked ones, and the values themselves.

use std::path::PathBuf;

use super::interpolate::Environment;
use super::source::{Source, SourcePosition};
use crate::error::{Error, Result};

pub(super) fn kept<T>(section: Result<T>, wrong: &mut Vec<Error>) -> Option<T> {
    section.map_err(|error| wrong.push(error)).ok()
}

/// A string value after interpolation, and where it came from.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: SourcePosition,
}

/// Turns raw values into checked ones.
pub struct Reader<'a> {
    pub source: Source<'a>,
    pub(super) environment: Environment<'a>,
    pub(super) directory: PathBuf,
}

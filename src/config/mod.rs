//! The configuration as the rest of the program sees it: checked, complete,
//! with every default filled in.
//!
//! It owns the types and their defaults. Reading a file into them, with
//! errors that point at the place, is `parse`; what the machine allows is
//! `resources`.

mod decoding;
mod format;
mod grammar;
mod group;
mod interpolate;
mod librdkafka;
mod location;
mod metadata;
mod nearest;
mod options;
mod parse;
mod raw;
mod reader;
mod redact;
pub mod resources;
mod security;
mod settings;
mod shape;
mod source;
mod store_value;
mod syntax;
#[cfg(test)]
mod tests;
mod values;
mod words;

pub use decoding::{Decoding, EpochUnit, OnNewField};
pub use format::{ColumnsFrom, Format, RAW_COLUMN, is_raw_column};
pub use group::{Assignor, Group};
pub use metadata::{MetadataColumn, RESCUED_COLUMN, is_reserved};
pub use options::from_outside as store_value_from_outside;
#[cfg(test)]
pub(crate) use parse::parse_on;
pub use parse::{check_variables, load, parse};
pub use redact::{names_a_secret, without_userinfo};
pub use security::{ClientCertificate, Mechanism, Sasl, Secret, Security, Tls, owner};
pub use settings::{Admin, Compression, Config, Kafka, Limits, OnBadRecord, Start, Table};

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

/// The address of one table, as a command line gives it.
///
/// # Errors
/// `Usage`, with the same refusals as for a config file.
pub fn table_address(
    location: &str,
    options: &[(String, String)],
) -> Result<(url::Url, BTreeMap<String, Secret>)> {
    let directory = std::env::current_dir().map_err(|error| {
        Error::new(ErrorKind::Io, format!("no current directory: {}", source::reason(&error)))
    })?;
    let url = location::parse(location, &directory)
        .map_err(|error| Error::new(ErrorKind::Usage, error.message).remedy(error.remedy))?;
    Ok((url, storage_options(options)?))
}

/// Options of the object store, as a command line gives them.
///
/// # Errors
/// `Usage`, with the same refusals as for a config file.
pub fn storage_options(pairs: &[(String, String)]) -> Result<BTreeMap<String, Secret>> {
    options::storage_from_pairs(pairs)
}

//! The config that a command is given.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;

#[derive(Args, Clone, Debug)]
pub struct ConfigArgument {
    /// The config file
    ///
    /// A text in it may hold `${env:NAME}`, `${env:NAME:-default}`, `${env:NAME:?message}` or `${file:/path}`;
    /// `$$` is a dollar sign.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: PathBuf,
}

/// The config that a command was given, with the environment's overrides.
pub(super) fn load_config(argument: &ConfigArgument) -> Result<crate::config::Config> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    crate::config::check_variables(names)?;
    crate::config::load(&argument.file, &|name| std::env::var(name).ok())
}

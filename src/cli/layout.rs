//! How results are laid out, and the runtime of commands that ask a store.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::stdout;

/// A table without borders or colour: for eyes and for `awk`.
pub(super) fn columns(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(names);
    table
}

pub(super) fn laid_out(mut table: Table, right: &[usize]) -> Vec<String> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for &index in right {
        table.column_mut(index).expect("the column is there").set_cell_alignment(CellAlignment::Right);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

pub(super) fn pretty(value: &Value) -> String {
    stdout::json(value)
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn no_runtime(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the I/O runtime cannot start: {error}"))
}

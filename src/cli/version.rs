//! `thalweg version`: ours, and that of the library that speaks to Kafka.

use super::arguments::VersionArguments;
use crate::error::Result;
use crate::source;
use crate::stdout;

pub fn version(arguments: &VersionArguments) -> Result<()> {
    let ours = env!("CARGO_PKG_VERSION");
    let librdkafka = source::client_version();
    if arguments.json {
        let value = serde_json::json!({"thalweg": ours, "librdkafka": librdkafka});
        return stdout::print_text(&value.to_string());
    }
    stdout::print(&format!("thalweg {ours} (librdkafka {librdkafka})"))
}

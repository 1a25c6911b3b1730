//! `generate`: fills a topic with a seeded workload and says what it holds.
//!
//! It owns the arguments and the JSON line on stdout. The records are the
//! library's, the way to the broker is `produce`'s.

mod produce;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::{Map, Value, json};
use thalweg_workloads::{Checksum, Variation, Workload};

use crate::produce::Sent;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fills a Kafka topic with a seeded workload
#[derive(Parser, Debug)]
struct Arguments {
    /// w1: clicks, flat, ~165 B; w2: Nexmark's union of three structs, ~380 B; w3: repository events, nested, ~1 KB;
    /// w4: Debezium envelopes over TPC-H, ~710 B; w4schema: each with its schema inside; w5: logs with a map, 120 to
    /// 1,500 B. All are JSON: thalweg reads no Avro and no Protobuf yet
    #[arg(long)]
    workload: Workload,
    /// Prints the workload's schema as Spark DDL and does nothing else
    #[arg(long)]
    ddl: bool,
    #[arg(long, required_unless_present = "ddl")]
    brokers: Option<String>,
    #[arg(long, required_unless_present = "ddl")]
    topic: Option<String>,
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    #[arg(long, default_value = "lz4", value_parser = ["lz4", "zstd", "snappy", "gzip", "none"])]
    codec: String,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Creates the topic first; it must not exist
    #[arg(long)]
    create: bool,
    /// Share of records that are no rows, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    malformed: f64,
    /// Records a second, sent on schedule and stamped with the intended time; without it, as fast as it goes
    #[arg(long)]
    rate: Option<f64>,
    /// The keys of each object come in a new order in every record
    #[arg(long)]
    shuffled: bool,
    /// Share of the keys of each object that are missing, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    missing: f64,
    /// So many shapes interleaved: each has its own order of keys and lacks a fifth of them
    #[arg(long, default_value_t = 0)]
    shapes: u64,
    /// So many keys more in each record, which the schema does not know
    #[arg(long, default_value_t = 0)]
    unknown: usize,
    /// A third of the strings end in something that is escaped, text that is not ASCII included
    #[arg(long)]
    escapes: bool,
    /// A third of the strings end in something that is not ASCII; with --escapes half of them are escaped
    #[arg(long)]
    non_ascii: bool,
    /// Few partitions get most records, instead of each in turn
    #[arg(long)]
    skew: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.ddl {
        println!("{}", arguments.workload.ddl());
        return Ok(());
    }
    ensure!((0.0..=1.0).contains(&arguments.malformed), "--malformed is a share between 0 and 1");
    ensure!((0.0..=1.0).contains(&arguments.missing), "--missing is a share between 0 and 1");
    ensure!(arguments.rate.is_none_or(|rate| rate > 0.0), "--rate must be above 0");
    let brokers = arguments.brokers.as_deref().context("--brokers is missing")?;
    let topic = arguments.topic.as_deref().context("--topic is missing")?;
    if arguments.create {
        produce::create_topic(brokers, topic, arguments.partitions)?;
    }
    let sent = produce::run(&produce::Plan {
        brokers,
        topic,
        workload: arguments.workload,
        records: arguments.records,
        partitions: arguments.partitions,
        codec: &arguments.codec,
        seed: arguments.seed,
        malformed_share: arguments.malformed,
        variation: Variation {
            shuffled: arguments.shuffled,
            missing: arguments.missing,
            shapes: arguments.shapes,
            unknown: arguments.unknown,
            escapes: arguments.escapes,
            non_ascii: arguments.non_ascii,
        },
        records_per_second: arguments.rate,
        skew: arguments.skew,
    })?;
    println!("{}", summary(&arguments, topic, &sent));
    if sent.delivered != arguments.records {
        bail!("{} of {} records were delivered", sent.delivered, arguments.records);
    }
    Ok(())
}

fn summary(arguments: &Arguments, topic: &str, sent: &Sent) -> Value {
    let mut total = Checksum::default();
    let (mut malformed, mut bytes) = (0, 0);
    let mut partitions = Map::new();
    for (number, partition) in sent.partitions.iter().enumerate() {
        total.merge(partition.checksum);
        malformed += partition.malformed;
        bytes += partition.bytes;
        let entry = json!({
            "records": partition.checksum.rows + partition.malformed,
            "rows": partition.checksum.rows,
            "malformed": partition.malformed,
            "checksum": partition.checksum.sum.to_string(),
            "offset_first": partition.offset_first,
            "offset_next": partition.offset_next,
        });
        partitions.insert(number.to_string(), entry);
    }
    json!({
        "topic": topic,
        "workload": arguments.workload.name(),
        "seed": arguments.seed,
        "codec": arguments.codec,
        "records": total.rows + malformed,
        "rows": total.rows,
        "malformed": malformed,
        "bytes": bytes,
        "checksum": total.sum.to_string(),
        "partitions": partitions,
        "seconds": sent.elapsed.as_secs_f64(),
    })
}

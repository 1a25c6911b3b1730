"""A pipeline of stock Rust crates, written the way a competent engineer would: ../plain."""

ABOUT = "Rust: rdkafka, arrow-json, ArrowWriter, deltalake"
EXACTLY_ONCE = "one Delta commit with a file and the `txn` of each partition"

binary = None


def prepare(tools):
    global binary
    binary = tools.binary("thalweg-plain", "plain")
    return tools.locked("rdkafka", "arrow-json", "parquet", "deltalake")


def command(job):
    return [
        *[binary, "--brokers", job.brokers, "--topic", job.topic, "--location", job.table, "--schema", job.schema],
        *["--threads", job.cores, "--latency", f"{job.latency_s}s", "--target-file-bytes", job.file_bytes_max],
        "--until-end",
    ]

"""Spark Structured Streaming into Delta Lake: `availableNow`, `from_json` with the schema given.

Imported, it is the peer; run, it is the job. The start of the JVM is in its
cost; the job says how much that was.
"""
import json
import os
import sys
import time
from pathlib import Path

ABOUT = "Spark Structured Streaming, Delta Lake"
EXACTLY_ONCE = "a checkpoint directory, and the `txn` of query and micro-batch in each Delta commit"

interpreter = None
jars = None


def prepare(tools):
    global interpreter, jars
    interpreter = tools.python("spark")
    jars = tools.spark_jars()
    artifact = lambda start: next(jar.stem.rpartition("-")[2] for jar in jars if jar.name.startswith(start))
    versions = {"delta": artifact("delta-spark"), "spark-sql-kafka": artifact("spark-sql-kafka")}
    return tools.packages(interpreter, "pyspark") | versions


def command(job):
    return [
        *[interpreter, __file__, "--brokers", job.brokers, "--topic", job.topic, "--table", job.table],
        *["--schema", job.schema, "--cores", job.cores, "--scratch", job.scratch, "--jars", ",".join(map(str, jars))],
    ]


# ---- the job ----------------------------------------------------------------------------------------------------


def main(options):
    from pyspark.sql import functions

    began = time.monotonic()
    spark = session(options)
    print(json.dumps({"startup": {"cpu_s": cpu_s(), "wall_s": time.monotonic() - began}}), flush=True)
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", options.brokers)
        .option("subscribe", options.topic)
        .option("startingOffsets", "earliest")
        .option("kafka.isolation.level", "read_committed")
        .load()
    )
    payload = functions.col("value").cast("string")
    row = functions.from_json(payload, options.schema, {"mode": "FAILFAST"}).alias("row")
    rows = records.select(row, "partition", "offset", "timestamp").select(
        "row.*",
        functions.col("partition").alias("_partition"),
        functions.col("offset").alias("_offset"),
        functions.col("timestamp").alias("_timestamp"),
    )
    query = (
        rows.writeStream.format("delta")
        .outputMode("append")
        .option("checkpointLocation", f"{options.scratch}/checkpoint")
        .trigger(availableNow=True)
        .start(options.table)
    )
    query.awaitTermination()
    spark.stop()


def session(options):
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_LOCAL_DIRS"] = options.scratch
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{options.cores}]")
    for key, value in {
        "spark.jars": options.jars,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "2g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": options.cores,
        "spark.databricks.delta.snapshotPartitions": options.cores,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def cpu_s():
    """User and system time of this process and its descendants until now; the JVM is one of them."""
    parents, spent = {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(directory.name)] = int(fields[1])
        spent[int(directory.name)] = sum(int(field) for field in fields[11:15])

    def is_ours(process):
        while process not in (0, os.getpid()):
            process = parents.get(process, 0)
        return process != 0

    return sum(ticks for process, ticks in spent.items() if is_ours(process)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser()
    for name in ("brokers", "topic", "table", "schema", "cores", "scratch", "jars"):
        parser.add_argument(f"--{name}", required=True)
    main(parser.parse_args())

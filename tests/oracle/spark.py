"""Reads a table on local disk with Spark and Delta Lake's own reader; for long runs, a JVM start is slow.

Run through `tools/python --spark`. Prints one JSON line: version, count, and
per numeric top-level column its sum, per other column the number of values.
"""
import argparse
import json
import os
import subprocess
import sys

TOOLS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools")


def jars():
    """Delta's jars by Maven, fetched once: lib.sh knows the cache."""
    script = (
        'source "$1/lib.sh"; pom="$1/services/spark/pom.xml"; fetch() { maven_jars "$pom" "$1"; }; '
        'name=spark-$(fingerprint "$pom"); once "$name" fetch; printf "%s\\n" "$cache_dir/$name"'
    )
    found = subprocess.run(["bash", "-euo", "pipefail", "-c", script, "spark", TOOLS], check=True, stdout=subprocess.PIPE)
    directory = os.path.join(found.stdout.decode().strip(), "libs")
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if name.endswith(".jar")]


def session():
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.jars", ",".join(jars()))
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.driver.memory": "2g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("location", metavar="DIRECTORY")
    location = os.path.abspath(parser.parse_args().location)
    from pyspark.sql import functions, types

    spark = session()
    table = spark.read.format("delta").load(location)
    numeric = [f.name for f in table.schema.fields if isinstance(f.dataType, types.IntegralType)]
    others = [name for name in table.columns if name not in numeric]
    row = table.agg(
        functions.count(functions.lit(1)).alias("count"),
        # Decimal, because Spark's own sum of BIGINT overflows.
        *[functions.sum(functions.col(f"`{n}`").cast("decimal(38,0)")).alias(f"sum {n}") for n in numeric],
        *[functions.count(functions.col(f"`{n}`")).alias(f"count {n}") for n in others],
    ).collect()[0]
    figures = {key: value if isinstance(value, int) or value is None else str(value) for key, value in row.asDict().items()}
    print(json.dumps({"spark": spark.version} | figures))
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

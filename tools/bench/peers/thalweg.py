"""thalweg itself, with the settings that it has by default."""
import json
import subprocess

ABOUT = "this project"
EXACTLY_ONCE = "the commit that adds a file also moves the `txn` of each of its partitions, put-if-absent"
SKIPS = True

binary = None


def prepare(tools):
    global binary
    binary = tools.binary("thalweg", "thalweg")
    said = subprocess.run([binary, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"thalweg": said.split()[-1]}


def command(job):
    config = job.scratch / "thalweg.toml"
    config.write_text(configuration(job))
    return [binary, "run", "-c", config, "--until-end"]


def configuration(job, latency=None, more=""):
    """A config of one table; `more` is TOML that follows."""
    text = json.dumps  # a JSON string is a TOML one, too
    return f"""version = 1
[kafka]
brokers = {text(job.brokers)}
[limits]
cores = {job.cores}
[[table]]
id = "bench"
topic = {text(job.topic)}
location = {text(str(job.table))}
schema = {text(job.schema)}
max_latency = {text(latency or f"{job.latency_s}s")}
target_file_size = {text(f"{job.file_bytes_max >> 20}MiB")}
on_new_field = "ignore"
on_bad_record = "{"skip" if job.bad_records else "fail"}"
{more}"""

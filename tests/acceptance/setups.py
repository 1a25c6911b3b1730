"""Broken set-ups and their screens; TLS and SASL, right and wrong."""
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

from bench import ROOT, REFUSE_SECONDS, TOOLS, call, drain, expect, say, tail, text_of, toml, wait

sys.path.append(TOOLS)
import broken_setups as broken  # noqa: E402

PASSWORD = "thalweg-secret"
CANARY = "canary-7f3a90c2"


def secured_broker(bench, *more):
    """A broker of its own with TLS and SASL listeners: the line that it prints, and its words."""
    directory = f"{bench.work}/kafka-secured"
    line = call(f"{TOOLS}/kafka", "start", "--sasl-ssl", "--dir", directory, "--while", os.getpid(), *more)
    return line, dict(word.split("=", 1) for word in line.split())


def stop_broker(words):
    subprocess.run([f"{TOOLS}/kafka", "stop", "--dir", words["dir"]])


def setups(bench):
    """every broken set-up: one screen, one code, check = run"""
    line, words = secured_broker(bench)
    try:
        s3 = f"endpoint={bench.s3()} dir={bench.work}/s3"
        services = broken.Services(bench.thalweg(), line, s3)
        passed, failed, left_out = broken.judge_all(services)
    finally:
        stop_broker(words)
    for case, reason in left_out.items():
        say(f"left out {case}: {reason}")
    expect(not failed, "\n".join(f"{case}: {wrong}" for case, wrong in failed.items()))
    expect(len(passed) >= 40, f"only {len(passed)} set-ups were met")
    slowest = max(passed, key=passed.get)
    return (f"{len(passed)} broken set-ups, check = run, nothing left behind; "
            f"{len(left_out)} left out; the slowest {slowest} {passed[slowest]:.1f} s")


def security(bench):
    """TLS and SASL: what is right reads, what is wrong is told apart, no password is shown"""
    # A client proves itself anew every 3 s, so that a user who is gone is noticed on open connections.
    _, words = secured_broker(bench, "--set", "connections.max.reauth.ms=3000")
    outputs = []
    try:
        call(bench.binary("generate", "thalweg-generate"), "--brokers", words["bootstrap"], "--topic", "secured",
             "--workload", "w1", "--records", max(1000, int(200_000 * bench.options.scale)), "--partitions", 4,
             "--seed", bench.options.seed, "--create")
        schema = bench.generate("--workload", "w1", "--ddl").strip()
        rows = {name: reads(bench, name, kafka, schema, outputs) for name, kafka in right(words).items()}
        expect(len(set(rows.values())) == 1, f"the tables differ: {rows}")
        told = [refuses(bench, name, kafka, schema, *expected, outputs)
                for name, (kafka, expected) in wrong(words).items()]
        noticed = withdrawn(bench, words, schema, outputs)
    finally:
        stop_broker(words)
    for name, text in outputs:
        for secret in (PASSWORD, CANARY):
            expect(secret not in text, f"{name}: a password is shown")
    return (f"{len(rows)} ways in, {next(iter(rows.values())):,} rows each; {len(told)} wrong ones told apart, "
            f"the slowest after {max(told):.1f} s; "
            f"a withdrawn user in /readyz after {noticed:.1f} s; {len(outputs)} outputs without a password")


def sasl(words, mechanism="scram-sha-512", password=PASSWORD, ca="ca", brokers="sasl_ssl"):
    return {"brokers": words[brokers], "auth": "sasl",
            "sasl": {"mechanism": mechanism, "username": "thalweg", "password": password},
            "tls": {"ca": f"{words['tls']}/{ca}.pem"}}


def right(words):
    tls = words["tls"]
    certificate = {"ca": f"{tls}/ca.pem", "cert": f"{tls}/client.pem", "key": f"{tls}/client.key"}
    return {"scram-sha-512": sasl(words), "plain": sasl(words, "plain"),
            "certificate": {"brokers": words["ssl"], "auth": "tls", "tls": certificate}}


def wrong(words):
    """The config, then the exit code and words that have to be said."""
    by_number = words | {"sasl_ssl": words["sasl_ssl"].replace("localhost", "127.0.0.1")}
    return {
        "scram, wrong password": (sasl(words, password=CANARY), (77, ["refuses the credentials", "[kafka.sasl]"])),
        "plain, wrong password": (sasl(words, "plain", CANARY), (77, ["refuses the credentials", "[kafka.sasl]"])),
        "mechanism not offered": (sasl(words, "scram-sha-256"), (77, ["SCRAM-SHA-512", "`mechanism`"])),
        "wrong CA": (sasl(words, ca="other-ca"), (69, ["not signed by an authority", "`ca` under [kafka.tls]"])),
        "other host name": (sasl(by_number), (69, ["another host name", "openssl s_client"])),
        "plaintext to TLS": ({"brokers": words["sasl_ssl"]}, (69, ["as TLS listeners do", "auth ="])),
        "TLS to plaintext": (sasl(words, brokers="bootstrap"), (69, ["does not speak TLS", "auth ="])),
        "no client certificate": ({"brokers": words["ssl"], "auth": "tls", "tls": {"ca": f"{words['tls']}/ca.pem"}},
                                  (77, ["client certificate", "`cert` and `key`"])),
    }


def withdrawn(bench, words, schema, outputs):
    """A user who is removed during a run: readiness says so, the log is not flooded, and once he is back it goes on."""
    from confluent_kafka.admin import (AdminClient, ScramMechanism, UserScramCredentialDeletion as Deletion,
                                       UserScramCredentialUpsertion as Upsertion, ScramCredentialInfo)
    admin = AdminClient({"bootstrap.servers": words["bootstrap"]})

    def change(alteration):
        for done in admin.alter_user_scram_credentials([alteration]).values():
            done.result()

    back = Upsertion("thalweg", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode())
    file, _ = config(bench, "withdrawn", sasl(words), schema)
    with open(file, "a") as more:
        more.write('[admin]\nlisten = "127.0.0.1:0"\n')
    run = bench.start(file)
    try:
        until(run, 60, "it commits", lambda: "committed" in text_of(run))
        address = re.search(r"address=(\S+)", text_of(run))[1]
        change(Deletion("thalweg", ScramMechanism.SCRAM_SHA_512))
        began = time.monotonic()
        until(run, 60, "/readyz says it", lambda: "refuses the credentials" in page(address, "/readyz"))
        seconds = time.monotonic() - began
        lines = text_of(run).count("\n")
        time.sleep(10)  # the flood that must not come
        more = text_of(run).count("\n") - lines
        expect(more <= 40, f"{more} lines in 10 s of refused credentials\n{tail(run, 60)}")
        outputs += [("withdrawn: readyz", page(address, "/readyz")), ("withdrawn: metrics", page(address, "/metrics"))]
        change(back)
        until(run, 60, "it is ready again", lambda: '"ready":true' in page(address, "/readyz"))
        drain(run)
    finally:
        change(back)
        if run.poll() is None:
            run.kill()
            run.wait()
    outputs.append(("withdrawn: run", text_of(run)))
    say(f"withdrawn: in /readyz after {seconds:.1f} s, {more} lines in the 10 s after")
    return seconds


def until(run, seconds, what, holds):
    deadline = time.monotonic() + seconds
    while not holds():
        expect(run.poll() is None, f"it ended before {what}: exit {run.poll()}\n{tail(run)}")
        expect(time.monotonic() < deadline, f"not within {seconds} s: {what}\n{tail(run, 40)}")
        time.sleep(0.2)


def page(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.read().decode()


def config(bench, name, kafka, schema):
    place = bench.location("local", bench.fresh(f"secured-{name.replace(' ', '-').replace(',', '')}"))
    file = bench.config([("secured", "secured", place, schema)], brokers=kafka["brokers"])
    lines = [f"auth = {toml(kafka['auth'])}"] if "auth" in kafka else []
    for section in ("sasl", "tls"):
        if section in kafka:
            lines += [f"[kafka.{section}]", *(f"{key} = {toml(value)}" for key, value in kafka[section].items())]
    with open(file) as old:
        text = old.read()
    brokers = f"brokers = {toml(kafka['brokers'])}\n"
    with open(file, "w") as new:
        new.write(text.replace(brokers, brokers + "".join(line + "\n" for line in lines)))
    return file, place


def reads(bench, name, kafka, schema, outputs):
    file, place = config(bench, name, kafka, schema)
    checked = subprocess.run([bench.thalweg(), "check", "-vv", "-c", file], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, timeout=60)
    expect(checked.returncode == 0, f"{name}: check exits {checked.returncode}\n{checked.stdout[-3000:]}")
    run = bench.start(file, "--until-end", "-vv")
    wait(run, 300)
    expect(run.returncode == 0, f"{name}: exit {run.returncode}\n{tail(run)}")
    outputs += [(f"{name}: check", checked.stdout), (f"{name}: run", text_of(run))]
    for entry in os.scandir(f"{place}/_delta_log"):
        with open(entry.path, errors="replace") as log:
            outputs.append((f"{name}: {entry.name}", log.read()))
    verified = subprocess.run([bench.thalweg(), "table", "verify", "--json", place], stdout=subprocess.PIPE, text=True)
    expect(verified.returncode == 0, f"{name}: verify exits {verified.returncode}")
    count = call(f"{TOOLS}/python", f"{ROOT}/tests/oracle/table.py", place)
    return json.loads(count.splitlines()[-1])["rows"]


def refuses(bench, name, kafka, schema, code, said, outputs):
    file, place = config(bench, name, kafka, schema)
    run = bench.start(file, "--until-end", "-vv")
    began = time.monotonic()
    wait(run, REFUSE_SECONDS)
    seconds = time.monotonic() - began
    text = text_of(run)
    expect(run.returncode == code, f"{name}: exit {run.returncode}, not {code}\n{tail(run)}")
    for word in said:
        expect(word in text, f"{name}: `{word}` is not said\n{tail(run)}")
    expect(not os.path.exists(f"{place}/_delta_log"), f"{name}: a table was left in {place}")
    outputs.append((name, text))
    say(f"{name}: exit {code} after {seconds:.1f} s")
    return seconds


ROWS = [setups, security]

"""What happens to the services while instances come and die: one thing after the other, from a seed.

Owns the broker's deaths and pauses, the S3 proxy's faults, a full disk, and
partitions that are added. Ends with everything healthy again.
"""
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter

from bench import TOOLS, call

SHORT = ["503", "500", "429", "500-after", "cut-before", "cut-request", "cut-after", "cut-reply", "slow", "slow-reply"]
# (name, the proxy's settings, seconds)
S3_FAULTS = [
    ("s3 mixed", {"rate": "0.2", "kinds": ",".join(SHORT)}, 4.0),
    ("s3 storm of 503", {"rate": "1", "kinds": "503"}, 4.0),
    ("s3 replies lost", {"rate": "0.5", "kinds": "500-after,cut-after", "only": "(PUT|POST) "}, 3.0),
    ("s3 cut in a part", {"rate": "0.5", "kinds": "cut-request", "only": "PUT "}, 3.0),
    ("s3 stalls", {"rate": "0.3", "kinds": "stall,stall-after", "stall": "20"}, 3.0),
    ("s3 credentials expired", {"rate": "1", "kinds": "403"}, 3.0),
    ("s3 slow", {"rate": "1", "kinds": "slow", "slow": "0.5"}, 3.0),
]
CALM = {"rate": "0", "only": "", "slow": "0.2", "stall": "60"}


class ServiceFaults:
    def __init__(self, work, seed, proxy, tmpfs, grow, broker_deaths=True):
        self.work, self.proxy, self.tmpfs, self.grow = work, proxy, tmpfs, grow
        self.random = random.Random(f"faults {seed}")
        self.met, self.lock = Counter(), threading.Lock()
        self.stop, self.failed = threading.Event(), None
        self.kinds = [self.broker_pause]
        if broker_deaths:
            self.kinds.append(self.broker_death)
        if proxy:
            self.kinds += [self.s3] * 6
        if tmpfs:
            self.kinds += [self.disk_full] * 3
        if grow:
            self.kinds += [self.partitions]
        self.thread = threading.Thread(target=self.run)

    def begin(self):
        self.thread.start()
        return self

    def end(self):
        self.stop.set()
        self.thread.join()
        if self.failed:
            raise self.failed

    def run(self):
        try:
            while not self.stop.wait(self.random.uniform(0.2, 2.0)):
                self.random.choice(self.kinds)()
        except Exception as error:
            self.failed = error

    def broker_pid(self):
        with open(f"{self.work}/kafka/pid") as file:
            return int(file.read())

    def broker_pause(self):
        self.met["broker paused"] += 1
        pid = self.broker_pid()
        os.kill(pid, signal.SIGSTOP)
        self.stop.wait(self.random.uniform(0.3, 3.0))
        os.kill(pid, signal.SIGCONT)

    def broker_death(self):
        self.met["broker killed"] += 1
        call(f"{TOOLS}/kafka", "kill", "--dir", f"{self.work}/kafka")
        # The next start begins a new log.
        with open(f"{self.work}/kafka/log") as log, open(f"{self.work}/kafka/log.old", "a") as old:
            old.write(log.read())
        self.stop.wait(self.random.uniform(0.0, 2.0))
        call(f"{TOOLS}/kafka", "start", "--dir", f"{self.work}/kafka", "--while", os.getpid(), stderr=subprocess.DEVNULL)

    def s3(self):
        name, settings, seconds = self.random.choice(S3_FAULTS)
        self.met[name] += 1
        self.set(settings | {"seed": str(self.random.randrange(1 << 30))})
        self.stop.wait(self.random.uniform(0.3, 1.0) * seconds)
        self.set(CALM)

    def set(self, settings):
        """The proxy's settings, without the start of a Python for it."""
        request = urllib.request.Request(f"{self.proxy}/-faults/settings", json.dumps(settings).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=30).read()

    def disk_full(self):
        self.met["disk full"] += 1
        ballast = f"{self.tmpfs}/ballast"
        try:
            with open(ballast, "wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
        except OSError:
            pass
        self.stop.wait(self.random.uniform(0.2, 2.5))
        os.unlink(ballast)

    def partitions(self):
        self.met["partitions added"] += 1
        self.grow()
        self.kinds.remove(self.partitions)  # once in a round

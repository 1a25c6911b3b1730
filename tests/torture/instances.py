"""Instances of the program under test: started, killed, frozen, watched.

Owns one process each, also under strace, which kills it at a chosen system
call. What happens to whom and when is the round's business.
"""
import os
import re
import shutil
import signal
import subprocess
import time

from bench import Failure, expect

DRAIN_SECONDS = 15
# Exits of a start that met a fault: unavailable, disk full, refused credentials.
COULD_NOT_START = {69, 74, 77}
FDS_MAX = 512


def can_inject():
    """Whether strace is here and may trace."""
    if not shutil.which("strace"):
        return False
    tried = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"], stderr=subprocess.DEVNULL)
    return tried.returncode == 0


class Instance:
    def __init__(self, binary, config, log, inject=None):
        """`inject`: (system calls, number): SIGKILL at the n-th of them of any thread."""
        command = [binary, "run", "-c", config]
        if inject:
            calls, number = inject
            command = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={calls}",
                       "-e", f"inject={calls}:signal=KILL:when={number}", *command]
        self.log, self.inject, self.frozen, self.unwelcome, self.leaving = log, inject, False, False, False
        with open(log, "w") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.began = time.monotonic()
        self.memory_peak = self.fds_peak = 0
        self._read, self._text = 0, ""

    def pid(self):
        """Of the program, not of its tracer; None where it is gone."""
        if not self.inject:
            return self.process.pid
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
                return int(children.read().split()[0])
        except (OSError, IndexError):
            return None

    def text(self):
        with open(self.log, errors="replace") as log:
            log.seek(self._read)
            new = log.read()
            self._read = log.tell()
        self._text += new
        return self._text

    def tail(self, lines=25):
        return f"{self.log}:\n" + "\n".join(self.text().splitlines()[-lines:])

    def awaits_its_call(self, seconds):
        return bool(self.inject) and not self.ended() and time.monotonic() - self.began < seconds

    def opened(self):
        return "table open" in self.text()

    def ended(self):
        return self.process.poll() is not None

    def killed_by_strace(self):
        return self.ended() and self.inject and self.process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)

    def signal(self, number):
        pid = self.pid()
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self):
        """True if it was alive until now."""
        was_alive = not self.ended()
        self.signal(signal.SIGKILL)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return was_alive

    def freeze(self):
        self.sample()
        self.frozen = True
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)
        self.frozen = False

    def sample(self):
        """Notes the peaks of memory and descriptors so far."""
        pid = self.pid()
        try:
            with open(f"/proc/{pid}/status") as status:
                peak = re.search(r"VmHWM:\s+(\d+) kB", status.read())
            self.memory_peak = max(self.memory_peak, int(peak[1]) >> 10 if peak else 0)
            self.fds_peak = max(self.fds_peak, len(os.listdir(f"/proc/{pid}/fd")))
        except (OSError, TypeError):
            pass

    def drain(self):
        """SIGTERM; it has to end in order, soon. Returns the seconds that took."""
        self.sample()
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"SIGTERM: still there after {DRAIN_SECONDS} s\n{self.tail()}") from None
        expect(self.process.returncode == 0, f"SIGTERM: exit {self.process.returncode}\n{self.tail()}")
        return time.monotonic() - began

    def sound(self, memory_mib):
        """It did not panic, and kept to its limits."""
        expect("panicked" not in self.text(), f"a panic\n{self.tail()}")
        expect(self.memory_peak <= 2 * memory_mib, f"a peak of {self.memory_peak} MiB with a limit of {memory_mib}\n{self.log}")
        expect(self.fds_peak <= FDS_MAX, f"{self.fds_peak} descriptors\n{self.log}")

#!/usr/bin/env python3
"""Records what this version of the daemon writes and answers, for tests/it/recorded.rs of later versions.

    cargo build && tests/it/recorded/record.py target/debug/mockserver

Lets the daemon live several lives in one data folder, each with another end, and keeps in the folder of
its version beside this script: the ledger as those lives left it, and what one more boot answers about it.
The configurations there are written by hand; what `--check` prints of each is recorded too. A recording is
made once, at the release of a version, and is never changed afterwards.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 20
HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def eventually(what, check):
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"never: {what}")


class Daemon:
    """One life, in the current folder. Relative paths keep this machine's out of the ledger."""

    def __init__(self, binary, *, yaml="", env=None):
        self.admin = free_port()
        self.since = 0
        pathlib.Path("mockserver.yaml").write_text(f"Host: 127.0.0.1\nPort: 0\n{yaml}")
        settings = {"MOCKSERVER_ADMIN_PORT": str(self.admin), **(env or {})}
        self.process = subprocess.Popen([binary], env={**os.environ, **settings}, stdout=subprocess.DEVNULL)

    def __enter__(self):
        eventually("it answers", lambda: self.process.poll() is not None or self.is_up())
        return self

    def live_on(self):
        """From here on `sees` is about this life."""
        self.since = max(event["seq"] for event in self.events() if event["kind"] == "boot")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def is_up(self):
        try:
            return self.raw("GET", "/ready")
        except OSError:
            return False

    def raw(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE_S)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        return connection.getresponse().read()

    def get(self, path):
        return json.loads(self.raw("GET", path))

    def post(self, path, body=None):
        try:
            return json.loads(self.raw("POST", f"/api/v1/{path}", body) or "null")
        except (OSError, http.client.HTTPException):
            return None  # It may have died of the request.

    def start(self, name, **params):
        self.since = self.events()[-1]["seq"]
        return self.post(f"scenarios/{name}/start", params)

    def start_set(self, scenarios, **terms):
        self.since = self.events()[-1]["seq"]
        return self.post("composite/start", {"scenarios": scenarios, **terms})

    def stop(self, name):
        return self.post(f"scenarios/{name}/stop")

    def stop_all(self):
        return self.post("composite/stop")

    def events(self):
        return self.get("/api/v1/events?limit=10000")["events"]

    def sees(self, kind, scenario):
        """Waits for an event after the latest start."""
        def find():
            return [
                event for event in self.events()
                if event["seq"] > self.since and (event["kind"], event.get("scenario")) == (kind, scenario)
            ]
        eventually(f"{kind} {scenario}", find)

    def ends(self):
        return self.process.wait(PATIENCE_S)

    def signal(self, name):
        self.process.send_signal(name)


def ends_of_runs(binary):
    """Every way for a run to end but those that take the process along; then SIGTERM."""
    with Daemon(binary, yaml="Name: recorded\nLimits: {DefaultDuration: 600}\n") as daemon:
        daemon.start("dependency", failure_type="error", duration=0)
        daemon.start("dependency", failure_type="slow", duration=90.5)
        daemon.stop("dependency")
        daemon.start("network_latency", latency_ms=25, duration=0.5)
        daemon.sees("cleared", "network_latency")
        daemon.start_set([
            {"name": "cpu_burner", "params": {"target_percent": 10}, "duration": 60},
            {"name": "memory_leaker", "params": {"target_mb": 8, "leak_rate_mb": 20}, "duration": 90},
            {"name": "health_check", "params": {"failure_mode": "intermittent", "fail_rate": 0.25}},
        ])
        daemon.sees("target_reached", "memory_leaker")
        daemon.sees("target_reached", "cpu_burner")
        # An effect that is lost: a stopped process burns nothing.
        daemon.signal(signal.SIGSTOP)
        time.sleep(8)
        daemon.signal(signal.SIGCONT)
        daemon.sees("lost", "cpu_burner")
        daemon.sees("effective", "cpu_burner")
        daemon.stop("memory_leaker")
        daemon.start_set([{"name": "goroutine_leak", "params": {"goroutines_per_second": 200, "max_goroutines": 40}}])
        daemon.sees("target_reached", "goroutine_leak")
        daemon.stop_all()
        daemon.start("disk_io", write_rate_mb=1)
        daemon.sees("target_reached", "disk_io")
        daemon.start_set(
            [{"name": "goroutine_leak"}, {"name": "dependency"}],
            abort_when={"achieved_above": {"goroutine_leak": 20}},
        )
        daemon.sees("cleared", "dependency")
        daemon.start("health_check", failure_mode="delayed", delay_ms=5, lease=1)
        daemon.sees("cleared", "health_check")
        daemon.start_set([{"name": "crash", "params": {"crash_delay": 3600, "mode": "abort"}}, {"name": "dependency"}])
        daemon.post("halt")
        daemon.start("dependency")
        daemon.post("rearm")
        daemon.start("shutdown_hang", mode="slow", drain_seconds=0.2)
        daemon.start("dependency")
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0


def a_start_that_fails(binary):
    """One that cannot be prepared, one that fails on the way; then a crash on command."""
    with Daemon(binary) as daemon:
        folder = pathlib.Path("data")
        away = pathlib.Path("data-away")
        folder.rename(away)
        folder.write_text("no folder")
        daemon.start("disk_io")
        daemon.start_set([{"name": "dependency"}, {"name": "disk_io"}])
        folder.unlink()
        away.rename(folder)
        daemon.start("dependency", failure_type="timeout", duration=300)
        daemon.start("crash", crash_delay=0.2, exit_code=7)
        assert daemon.ends() == 7


def a_boot_profile(binary):
    """Runs that start by themselves; then kill -9."""
    profile = {"scenarios": [
        {"name": "network_latency", "params": {"latency_ms": 3}, "duration": 120, "after": 0.2},
        {"name": "memory_leaker", "params": {"target_mb": 4, "leak_rate_mb": 40}, "when_ready": True},
    ]}
    with Daemon(binary, env={"MOCKSERVER_BOOT": json.dumps(profile)}) as daemon:
        daemon.live_on()
        daemon.sees("started", "network_latency")
        daemon.sees("target_reached", "memory_leaker")
        daemon.signal(signal.SIGKILL)
        daemon.ends()


def a_failing_boot(binary):
    """An error of the boot profile, while runs live."""
    profile = {"fail": {"after": 1, "listening": True, "exit_code": 9, "message": "Fatal: no region"},
               "scenarios": [{"name": "dependency"}]}
    with Daemon(binary, env={"MOCKSERVER_BOOT": json.dumps(profile)}) as daemon:
        assert daemon.ends() == 9


def a_crash_loop(binary):
    profile = {"crash_loop": {"boots": 1, "after": 0.5, "exit_code": 3}}
    with Daemon(binary, env={"MOCKSERVER_BOOT": json.dumps(profile)}) as daemon:
        assert daemon.ends() == 3


def two_signals(binary):
    """Booted safely, with a profile that is ignored; the second signal ends a slow end."""
    env = {"MOCKSERVER_BOOT": '{"never_ready": true}', "MOCKSERVER_SAFE_BOOT": "1"}
    with Daemon(binary, env=env) as daemon:
        daemon.start("shutdown_hang", mode="slow", drain_seconds=3600)
        shown = "/api/v1/scenarios/shutdown_hang/status"
        daemon.signal(signal.SIGTERM)
        eventually("the signal is counted", lambda: daemon.get(shown)["metrics"]["signals"] == 1)
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 128 + signal.SIGTERM


def a_leak_that_warned(binary):
    """kill -9 under a leak beyond the memory limit, which looks like a kill for want of memory."""
    with Daemon(binary) as daemon:
        daemon.start("memory_leaker", target_percent_of_limit=1000, leak_rate_mb=0.1)
        daemon.signal(signal.SIGKILL)
        daemon.ends()


def a_torn_line(binary):
    """A write that was cut off by the end of the machine; the boot after it lives until kill -9."""
    (journal,) = pathlib.Path("data/ledger").glob("events-*.jsonl")
    with journal.open("a") as file:
        file.write('{"seq":9999,"time":"20')
    with Daemon(binary) as daemon:
        daemon.start_set([{"name": "dependency", "duration": 900}, {"name": "goroutine_leak"}])
        daemon.sees("effective", "goroutine_leak")
        daemon.signal(signal.SIGKILL)
        daemon.ends()


def main(binary):
    binary = str(pathlib.Path(binary).resolve())
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    folder = HERE / version
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for life in (ends_of_runs, a_start_that_fails, a_boot_profile, a_failing_boot, a_crash_loop, two_signals,
                     a_leak_that_warned, a_torn_line):
            print(life.__name__)
            life(binary)
        shutil.rmtree(folder / "ledger", ignore_errors=True)
        (folder / "ledger").mkdir(parents=True)
        for journal in sorted(pathlib.Path("data/ledger").glob("events-*.jsonl")):
            shutil.copy(journal, folder / "ledger")
        with Daemon(binary) as daemon:
            for name, path in (
                ("sessions.json", "sessions"),
                ("sessions.csv", "sessions?format=csv"),
                ("events.json", "events?limit=10000"),
            ):
                (folder / name).write_bytes(daemon.raw("GET", f"/api/v1/{path}"))
        os.chdir(folder)
        for config in sorted(folder.glob("*.yaml")):
            if config.suffixes == [".yaml"]:
                checked = subprocess.run([binary, "--check", "-f", config.name], capture_output=True, check=True)
                config.with_suffix(".check.yaml").write_bytes(checked.stdout)


main(*sys.argv[1:])

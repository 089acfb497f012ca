"""Drives the console in Chromium: console.py PROGRAM FOLDER AXE. Screenshots go to FOLDER; AXE is axe-core's file."""

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PROGRAM, FOLDER, AXE = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE_S = 15


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Daemon:
    """A daemon whose ports and data outlive its process."""

    def __init__(self, **more):
        self.service, self.admin = free_port(), free_port()
        self.data = tempfile.mkdtemp()
        self.env = {
            "PATH": os.environ["PATH"],
            "MOCKSERVER_HOST": "127.0.0.1",
            "MOCKSERVER_PORT": str(self.service),
            "MOCKSERVER_ADMIN_PORT": str(self.admin),
            "MOCKSERVER_DATA_DIR": self.data,
            **more,
        }
        self.start()

    def start(self):
        self.log = open(os.path.join(self.data, "log"), "ab")
        self.process = subprocess.Popen([PROGRAM], env=self.env, stdout=self.log, stderr=self.log)

    def page(self):
        return f"http://127.0.0.1:{self.admin}/"

    def status(self):
        return ask("GET", self.page() + "api/v1/composite/status")


class Browser:
    def __init__(self):
        port = free_port()
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        until("chromedriver", lambda: quiet(lambda: ask("GET", self.base + "/status")["value"]["ready"]))
        options = {
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en",
                     "--window-size=1400,1250", "--hide-scrollbars"],
            "prefs": {"intl.accept_languages": "en"},
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = ask("POST", self.base + "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += "/session/" + session["value"]["sessionId"]

    def do(self, method, path, body=None):
        return ask(method, self.base + path, body)["value"]

    def open(self, url):
        self.do("POST", "/url", {"url": url})

    def script(self, text, *arguments):
        return self.do("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def find(self, css):
        found = lambda: self.do("POST", "/elements", {"using": "css selector", "value": css})
        return until(css, found)[0][ELEMENT]

    def click(self, css):
        element = self.find(css)
        self.script("arguments[0].scrollIntoView({block: 'center'})", {ELEMENT: element})
        self.do("POST", f"/element/{element}/click", {})

    def type(self, css, text):
        element = self.find(css)
        self.do("POST", f"/element/{element}/clear", {})
        self.do("POST", f"/element/{element}/value", {"text": text})

    def press(self, key):
        self.script("document.activeElement?.blur()")
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self.do("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def text(self, css):
        return self.script("return document.querySelector(arguments[0])?.textContent ?? ''", css)

    def size(self, width, height):
        emulated = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        body = {"cmd": "Emulation.setDeviceMetricsOverride", "params": emulated}
        self.do("POST", "/goog/cdp/execute", body)

    def picture(self, name):
        with open(os.path.join(FOLDER, name + ".png"), "wb") as file:
            file.write(base64.b64decode(self.do("GET", "/screenshot")))

    def log(self, kind):
        return self.do("POST", "/se/log", {"type": kind})

    def end(self):
        quiet(lambda: self.do("DELETE", ""))
        self.driver.terminate()


def quiet(work):
    try:
        return work()
    except Exception:
        return None


def until(what, check):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"did not happen: {what}")


def card(name):
    return f"details[data-scenario={name}]"


def field(name, pointer):
    return f"{card(name)} .field[data-pointer='{pointer}'] input:not([type=range])"


def opened(b, name):
    b.script("document.querySelector(arguments[0]).open = true", until(name, lambda: card(name) if b.text(card(name)) else None))
    b.find(f"{card(name)} form")


def start(b, name):
    b.click(f"{card(name)} button[data-do=start]")


def achieved(b, name):
    """What the plot's caption says."""
    words = b.text(f"figure[data-scenario={name}] .key.one").split()
    return float(words[-1]) if words and words[-1][0].isdigit() else 0.0


def asks_on_and_on(daemon):
    """Some traffic, for the plots."""
    while True:
        quiet(lambda: urllib.request.urlopen(f"http://127.0.0.1:{daemon.service}/health", timeout=5).read())
        time.sleep(0.02)


def burns(b, daemon):
    opened(b, "cpu_burner")
    b.type(field("cpu_burner", "/target_percent"), "20")
    assert '"target_percent":20' in b.text(f"{card('cpu_burner')} .curl")
    start(b, "cpu_burner")
    until("achieved meets asked", lambda: abs(achieved(b, "cpu_burner") - 20) < 3)
    assert "cpu_burner" in b.text("#session"), b.text("#session")


def stops_with_one_key(b, daemon):
    b.press("s")
    until("it stopped", lambda: not daemon.status()["scenarios"])
    until("the page shows it", lambda: "Nothing runs" in b.text("#session"))


def every_form_is_made(b, daemon):
    names = [one["name"] for one in ask("GET", daemon.page() + "api/v1/scenarios")["scenarios"]]
    for name in names:
        opened(b, name)
        assert f"/scenarios/{name}/start" in b.text(f"{card(name)} .curl"), name
        # What the form holds before anything is typed is taken.
        body = json.loads(b.text(f"{card(name)} .curl").split(" -d '", 1)[1].rsplit("'", 1)[0])
        b.script("document.querySelector(arguments[0]).open = false", card(name))
        yield name, body


def shows_problems_at_their_field(b, daemon):
    b.script("document.querySelector(arguments[0]).open = true", card("cpu_burner"))
    b.type(field("cpu_burner", "/target_percent"), "200")
    start(b, "cpu_burner")
    problem = ".field.bad[data-pointer='/target_percent'] .error"
    until("the problem", lambda: "from 0 to 100" in b.text(f"{card('cpu_burner')} {problem}"))
    b.type(field("cpu_burner", "/target_percent"), "20")


def composes_a_set(b, daemon):
    for name in ("cpu_burner", "network_latency"):
        b.script("document.querySelector(arguments[0]).open = true", card(name))
        b.click(f"{card(name)} button[data-do=add]")
        b.script("document.querySelector(arguments[0]).open = false", card(name))
    b.click("#start-set")
    until("both run", lambda: sorted(daemon.status()["scenarios"]) == ["cpu_burner", "network_latency"])


def halts_and_rearms(b, daemon):
    until("it can halt", lambda: b.text("#halt") == "Halt")
    b.click("#halt")
    until("it is halted", lambda: b.text("#state") == "halted" and b.text("#halt") == "Rearm")
    b.click("#halt")
    until("it is armed", lambda: b.text("#state") == "ready")


def shows_a_death_and_a_restart(b, daemon):
    opened(b, "crash")
    b.type(field("crash", "/crash_delay"), "0")
    start(b, "crash")
    until("the page says so", lambda: "no answer" in b.text("#gone"))
    daemon.process.wait(PATIENCE_S)
    daemon.start()
    until("the page shows how it ended", lambda: "planned" in b.text("#gone"))
    until("it is ready", lambda: b.text("#state") == "ready")


def looks_good(b, daemon):
    began = time.monotonic()
    until("ten seconds of figures", lambda: time.monotonic() - began > 10)
    b.size(1280, 1000)
    opened(b, "cpu_burner")
    b.script("document.querySelectorAll('details[data-scenario]').forEach((one) => { one.open = false })")
    for theme in ("light", "dark"):
        if b.script("return document.documentElement.dataset.theme") != theme:
            b.click("#theme")
        b.script("scrollTo(0, 0)")
        b.picture(f"console-{theme}")
        b.script("document.querySelector(arguments[0]).open = true", card("cpu_burner"))
        anyone_can_use(b, theme)
        b.script("document.querySelector(arguments[0]).open = false", card("cpu_burner"))
    b.click("#language")
    until("Chinese", lambda: "全部停止" in b.text("#stop"))
    b.picture("chinese")
    b.click("#language")
    b.size(390, 844)
    wide = b.script("return document.documentElement.scrollWidth")
    assert wide <= 390, f"{wide} px"
    b.picture("phone")
    b.size(1400, 1250)


def anyone_can_use(b, what):
    """Nothing that axe-core knows of keeps people from using the page as it is now."""
    if not b.script("return typeof axe === 'object'"):
        with open(AXE, encoding="utf-8") as file:
            b.script(f"{file.read()}; window.axe = axe")
    found = b.do("POST", "/execute/async", {"args": [], "script": "axe.run().then((r) => arguments[0](r.violations))"})
    for one in found:
        print("   ", what, one["id"], one["help"], [node["html"][:160] for node in one["nodes"]][:3])
    assert not found, f"{what}: {len(found)} kinds of problems"


# Each ends the process, or the answers of the listener that the page is not on: they have their tests elsewhere.
NOT_BY_FORM = ("crash", "deadlock", "shutdown_hang")
# What is missing without a default, and what would take long.
BY_HAND = {
    "disk_fill": {"/size_mb": "8"},
    "memory_leaker": {"/target_mb": "8"},
    "disk_io": {"/write_rate_mb": "1"},
    "log_flood": {"/lines_per_second": "10"},
    "network_latency": {"/latency_ms": "5"},
    "thread_leak": {"/per_second": "10"},
    "fd_leak": {"/per_second": "10"},
}


def starts_each_from_its_form(b, daemon):
    names = [one["name"] for one in ask("GET", daemon.page() + "api/v1/scenarios")["scenarios"]]
    for name in (name for name in names if name not in NOT_BY_FORM):
        opened(b, name)
        for pointer, value in BY_HAND.get(name, {}).items():
            b.type(field(name, pointer), value)
        start(b, name)
        until(f"{name} runs", lambda: name in daemon.status()["scenarios"])
        until(f"{name} is shown", lambda: b.script("return document.querySelector(arguments[0])?.classList.contains('on')", card(name)))
        b.click(f"{card(name)} button[data-do=stop]")
        until(f"{name} stopped", lambda: not daemon.status()["scenarios"])
        b.script("document.querySelector(arguments[0]).open = false", card(name))


def leads_to_the_admin_listener(b, daemon):
    """Where a fault blocks the listener that serves the page, it shows the other one."""
    b.open(f"http://127.0.0.1:{daemon.service}/")
    until("it is ready", lambda: b.text("#state") == "ready")
    ask("POST", daemon.page() + "api/v1/scenarios/deadlock/start", {"duration": "20s"})
    until("the way out", lambda: f":{daemon.admin}/" in b.text("#gone"))
    b.click("#gone a")
    until("it is ready", lambda: b.text("#state") == "ready")
    b.press("s")
    until("it stopped", lambda: not daemon.status()["scenarios"])


def asks_for_the_token(b):
    daemon = Daemon(MOCKSERVER_AUTH_TOKEN="secret-of-the-test", MOCKSERVER_AUTH_PROTECT_READS="true")
    try:
        until("it listens", lambda: quiet(lambda: ask("GET", daemon.page() + "health")))
        b.open(daemon.page())
        until("it asks", lambda: not b.script("return document.getElementById('token-form').hidden"))
        b.type("#token", "secret-of-the-test")
        b.click("#token-form button")
        until("it is let in", lambda: b.text("#state") == "ready")
        assert "secret" not in b.script("return location.href")
    finally:
        daemon.process.kill()
        daemon.process.wait()


def clean(b, ports):
    """No error but those that were provoked, and no request to anywhere else."""
    expected = ("status of 422", "status of 401", "ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY_RESPONSE", "502")
    for entry in b.log("browser"):
        assert entry["level"] != "SEVERE" or any(text in entry["message"] for text in expected), entry
    for entry in b.log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            assert url.startswith(("data:", "blob:", "chrome")) or any(f":{port}/" in url for port in ports), url


def main():
    began = time.monotonic()
    daemon, b = Daemon(), Browser()
    try:
        until("it listens", lambda: quiet(daemon.status))
        b.size(1400, 1250)
        threading.Thread(target=asks_on_and_on, args=(daemon,), daemon=True).start()
        b.open(daemon.page())
        until("it is ready", lambda: b.text("#state") == "ready")
        steps = [burns, stops_with_one_key, shows_problems_at_their_field, composes_a_set, looks_good, halts_and_rearms]
        for step in steps:
            step(b, daemon)
            print(f"{time.monotonic() - began:5.1f} s  {step.__name__}", flush=True)
        for name, body in every_form_is_made(b, daemon):
            try:
                ask("POST", f"{daemon.page()}api/v1/scenarios/{name}/start", {**body, "dry_run": True})
            except urllib.error.HTTPError as error:
                print("   ", name, body, error.read().decode()[:300])
                # A parameter without a default is for a person to fill in.
                assert error.code in (422, 409), name
        print(f"{time.monotonic() - began:5.1f} s  every form", flush=True)
        starts_each_from_its_form(b, daemon)
        print(f"{time.monotonic() - began:5.1f} s  each from its form", flush=True)
        shows_a_death_and_a_restart(b, daemon)
        print(f"{time.monotonic() - began:5.1f} s  a death and a restart", flush=True)
        leads_to_the_admin_listener(b, daemon)
        print(f"{time.monotonic() - began:5.1f} s  the way out", flush=True)
        ports = {daemon.admin, daemon.service}
        clean(b, ports)
        asks_for_the_token(b)
        print(f"{time.monotonic() - began:5.1f} s  the token", flush=True)
    except BaseException:
        quiet(lambda: b.picture("failed"))
        print(quiet(lambda: b.log("browser")))
        raise
    finally:
        b.end()
        daemon.process.kill()


if __name__ == "__main__":
    main()

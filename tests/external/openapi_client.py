"""Imports all of a client that openapi-python-client made, and calls a running daemon with it.

usage: openapi_client.py SERVICE_URL TOKEN
"""

import importlib
import pkgutil
import sys

import mockserver_client
from mockserver_client import AuthenticatedClient, models
from mockserver_client.types import UNSET

TOKEN = sys.argv[2]
client = AuthenticatedClient(base_url=sys.argv[1], token=TOKEN, raise_on_unexpected_status=True)


def import_all():
    prefix = f"{mockserver_client.__name__}."
    found = [module.name for module in pkgutil.walk_packages(mockserver_client.__path__, prefix)]
    for name in found:
        importlib.import_module(name)
    return found


def call(route, expected, **arguments):
    """Calls `route`, such as "sets.session"; the answer must be an object of the class `expected`."""
    module = importlib.import_module(f"mockserver_client.api.{route}")
    answer = module.sync(client=client, **arguments)
    assert type(answer) is expected, f"{route}: {answer!r}"
    return answer


def model_of(scenario, kind):
    return getattr(models, f"Start{''.join(word.title() for word in scenario.split('_'))}{kind}")


def single_starts():
    """Each scenario with defaults only, as a dry run: what is not set must not be sent."""
    listed = call("scenarios.list_", models.ScenarioList)
    for scenario in listed.scenarios:
        body = model_of(scenario.name, "Body")(dry_run=True)
        assert body.to_dict() == {"dry_run": True}, body.to_dict()
        call(f"scenarios.start_{scenario.name}", models.DryRun, body=body)
    # Its rival has a default.
    body = models.StartCpuBurnerBody(cores=0.05, duration=60)
    call("scenarios.start_cpu_burner", models.StartReport, body=body)
    assert call("scenarios.status", models.ScenarioStatus, name="cpu_burner").running
    assert not call("scenarios.stop", models.ScenarioStatus, name="cpu_burner").running
    bad = models.StartCpuBurnerBody(target_percent=101)
    problem = call("scenarios.start_cpu_burner", models.Problem, body=bad)
    assert problem.errors[0].pointer == "/target_percent", problem


def sets():
    nothing = call("sets.session", models.NoSession)
    assert (nothing.scenarios, nothing.halted_since) == ([], UNSET), nothing
    conditions = models.AbortConditions(memory_available_below_mb=1)
    body = {"scenarios": [{"name": "network_latency", "params": {"latency_ms": 0}, "duration": 60}]}
    body = models.StartSetBody.from_dict({**body, "lease": 60, "abort_when": conditions.to_dict()})
    started = call("sets.start_set", models.StartReport, body=body)
    session = call("sets.session", models.SessionStatus)
    assert session.session_id == started.session_id, session
    call("sets.renew", models.Renewed)
    assert call("sets.stop_all", models.AllStopped).stopped == ["network_latency"]
    call("guard_rails.halt", models.Halted)
    assert call("sets.session", models.NoSession).halted_since is not UNSET
    call("guard_rails.rearm", models.Rearmed)


def reads():
    events = call("ledger.events", models.EventPage, limit=1000).events
    kinds = {event.kind for event in events}
    assert {"started", "cleared", "halted"} <= kinds, kinds
    sessions = call("ledger.past_sessions", models.PastSessions).sessions
    latest = call("ledger.past_session", models.PastSession, id=sessions[-1].session_id)
    assert latest.runs, latest
    call("probes.health", models.Health)
    call("description.version", models.Version)
    call("traffic.sleep_10_ms", models.Slept)


print(f"{len(import_all())} modules imported")
single_starts()
sets()
reads()
print("all calls answered as described")

"""Keeps the machine usable: a good value that is large becomes a small good one, and what is left out
of the single starts is left out of the sets too. A bad value stays as it is."""

import re

import schemathesis

LEFT_OUT = ("crash", "deadlock", "network_latency", "shutdown_hang")
# The first member of each replaces a missing one, whose default is large as well.
LARGEST = {
    "cpu_burner": {"target_percent": 3, "cores": 0.05},
    "memory_leaker": {"target_mb": 8, "target_percent_of_limit": 0.01},
    "goroutine_leak": {"goroutines_per_second": 100},
    "disk_io": {"write_rate_mb": 1},
    "health_check": {"delay_ms": 5},
    "fd_leak": {"per_second": 50, "max": 100},
    "thread_leak": {"per_second": 20, "max": 50},
    "runtime_stall": {"stall_ms": 5},
    "disk_fill": {"size_mb": 8, "percent": 0.01},
    "memory_churn": {"mb": 4, "per_second": 5},
    "lock_contention": {"threads": 2},
    "log_flood": {"lines_per_second": 100},
    "metrics_fault": {"max_series": 100},
}


def is_time(value):
    """Whether it may be a good time: a number, or a text with a unit."""
    return type(value) in (int, float) and value >= 0 or isinstance(value, str) and value[:1].isdigit()


def order(value):
    """Puts the figures of shapes in the order that they must have, which no schema can say."""
    if isinstance(value, dict):
        low, high = value.get("low"), value.get("high")
        if type(low) in (int, float) and type(high) in (int, float) and low > high:
            value["low"], value["high"] = high, low
        elif is_time(low) and is_time(high):
            # With units, of which either may be the longer one.
            value["high"] = low
        steps = value.get("steps")
        if isinstance(steps, list):
            for time, step in enumerate(steps):
                if isinstance(step, list) and step and is_time(step[0]):
                    step[0] = time
        for member in value.values():
            order(member)
    elif isinstance(value, list):
        for item in value:
            order(item)


def shorten(shape, largest, most):
    """Brings the good figures of a shape down to the largest one; texts with a unit always."""
    if not isinstance(shape, dict):
        return

    def small(value):
        if isinstance(value, str):
            return largest if is_time(value) else value
        return largest if is_time(value) and largest < value <= most else value

    if "constant" in shape:
        shape["constant"] = small(shape["constant"])
    for law in shape.values():
        if isinstance(law, dict):
            law.update({name: small(law[name]) for name in ("from", "to", "low", "high") if name in law})
        for step in law if isinstance(law, list) else ():
            if isinstance(step, list) and len(step) > 1:
                step[1] = small(step[1])


def soften(name, params, schemas):
    if not isinstance(name, str):
        return
    order(params)
    limits = LARGEST.get(name, {})
    if limits and not params.keys() & (limits.keys() | {"leave_free_mb"}):
        member = next(iter(limits))
        params[member] = limits[member]
    for member, largest in limits.items():
        value, most = params.get(member), schemas[f"{name}_params"]["properties"][member]["maximum"]
        if type(value) in (int, float) and largest < value <= most:
            params[member] = largest
    # The more is left free, the less is taken.
    if name == "disk_fill" and type(params.get("leave_free_mb")) in (int, float) and params["leave_free_mb"] >= 0:
        params["leave_free_mb"] = max(params["leave_free_mb"], 16_777_216)
    # As with a limit, which upstreams are good is said by the configuration and not by the description.
    if name == "dependency" and isinstance(params.get("upstream"), str):
        allowed = schemas["dependency_params"]["properties"]["upstream"]
        if re.search(allowed["pattern"], params["upstream"]):
            params["upstream"] = "inventory"
    # The other modes take seconds.
    if name == "dependency" and params.get("failure_type", "timeout") in ("timeout", "slow"):
        params["failure_type"] = "error"
    # It must not be shorter than the stall.
    if name == "runtime_stall":
        params.pop("every_ms", None)
        stall = params.get("stall_ms")
        shorten(stall, 5, schemas["runtime_stall_params"]["properties"]["stall_ms"]["maximum"])
        if isinstance(stall, str) and is_time(stall):
            params["stall_ms"] = 5
    # Its lines of errors would be taken for the daemon's own.
    if name == "log_flood" and params.get("level", "error") == "error":
        params["level"] = "warn"
    # The page of metrics would not be answered, or with an error that was asked for.
    if name == "metrics_fault" and params.get("mode", "gap") in ("gap", "error"):
        params["mode"] = "stale"


@schemathesis.hook
def before_call(context, case, kwargs):
    *_, name, last = case.operation.path.split("/")
    schemas = case.operation.schema.raw_schema["components"]["schemas"]
    # Where nothing runs the id of the session is empty, and a path that ends there is another route.
    if case.path_parameters and case.path_parameters.get("id") == "":
        case.path_parameters["id"] = "none"
    # Blanks are an absent body here, which is good, and which no schema can say.
    if isinstance(case.body, bytes) and not case.body.strip():
        case.body = b"-"
    if last != "start":
        return
    if name != "composite":
        if not isinstance(case.body, (dict, list, str, int, float, bytes, type(None))):
            case.body = {}
        if isinstance(case.body, dict):
            soften(name, case.body, schemas)
    elif isinstance(case.body, dict) and isinstance(case.body.get("scenarios"), list):
        entries = case.body["scenarios"]
        named = [entry for entry in entries if isinstance(entry, dict)]
        for entry in named:
            # A set with a duration must not be over before.
            if is_time(entry.get("after")):
                entry["after"] = 0
            if entry.get("name") in LEFT_OUT:
                entries.remove(entry)
            elif isinstance(entry.setdefault("params", {}), dict):
                soften(entry.get("name"), entry["params"], schemas)
        if not entries and named:
            entries.append({"name": "dependency", "params": {"failure_type": "error"}})

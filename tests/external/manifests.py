"""Reads the manifests. The first argument names one of the functions below, the others are its own."""

import json
import re
import sys

import yaml

# The one Secret.
TOKEN = "mockserver-token"


def objects(file):
    return [document for document in yaml.safe_load_all(open(file)) if document]


def of_kind(file, kind):
    return [document for document in objects(file) if document["kind"] == kind]


def selects(selector, labels):
    return selector.items() <= labels.items()


def label_selector(selector, labels):
    """Whether a LabelSelector, which may have expressions, selects what has the labels."""
    holds = {
        "In": lambda e: labels.get(e["key"]) in e["values"],
        "DoesNotExist": lambda e: e["key"] not in labels,
    }
    return selects(selector.get("matchLabels", {}), labels) and all(
        holds[expression["operator"]](expression) for expression in selector.get("matchExpressions", [])
    )


def environment(file):
    """The container's environment, NAME=VALUE, ended by zeros. Its files are in the folder files/."""
    (deployment,) = of_kind(file, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    values = {}
    for source in container["envFrom"]:
        name = source["configMapRef"]["name"]
        (data,) = [m["data"] for m in of_kind(file, "ConfigMap") if m["metadata"]["name"] == name]
        values.update(data)
    values.update({entry["name"]: entry["value"] for entry in container["env"]})
    for name, value in values.items():
        sys.stdout.write(f"{name}={value}\0")


def token(file):
    print(of_kind(file, "Secret")[0]["stringData"]["token"])


def probes(file):
    """The path and the patience of each probe: how long it may fail, in seconds."""
    (deployment,) = of_kind(file, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for kind in ("startup", "liveness", "readiness"):
        probe = container[f"{kind}Probe"]
        print(kind, probe["httpGet"]["path"], probe["periodSeconds"] * probe["failureThreshold"])


def agree(file, dockerfile):
    """Complains of names that name nothing, of selectors that select nothing, of rights too many."""
    text = open(dockerfile).read()
    user = int(re.search(r"^USER (\d+)", text, re.M)[1])
    exposed = [int(port) for port in re.search(r"^EXPOSE (.*)$", text, re.M)[1].split()]
    known = {(o["kind"], o["metadata"]["name"]) for o in objects(file)}
    (deployment,) = of_kind(file, "Deployment")
    template = deployment["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    claims = {
        "the Deployment selects its pods": selects(deployment["spec"]["selector"]["matchLabels"], labels),
        "every Service selects its pods": all(
            selects(service["spec"]["selector"], labels) for service in of_kind(file, "Service")
        ),
        "every Service's port is one of the container's": all(
            port["targetPort"] in ports
            for service in of_kind(file, "Service")
            for port in service["spec"]["ports"]
        ),
        "callers are not offered the admin port": all(
            "admin" not in [port["name"] for port in service["spec"]["ports"]]
            for service in of_kind(file, "Service")
            if service["spec"].get("clusterIP") != "None"
        ),
        "operators reach pods that are not ready": all(
            service["spec"]["publishNotReadyAddresses"]
            for service in of_kind(file, "Service")
            if service["spec"].get("clusterIP") == "None"
        ),
        "the ports are those of the image": sorted(ports.values()) == sorted(exposed),
        "the configuration is there": all(
            ("ConfigMap", source["configMapRef"]["name"]) in known for source in container["envFrom"]
        ),
        # The canary has that of the good version.
        "the token is the one of all": [
            volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume
        ] == [TOKEN],
        "there is no other one": {name for kind, name in known if kind == "Secret"} <= {TOKEN},
        "reads need the token": env["MOCKSERVER_AUTH_PROTECT_READS"] == "true",
        "the token's file is mounted": env["MOCKSERVER_AUTH_TOKEN_FILE"].startswith(mounts["token"]),
        "DataDir is a volume": env["MOCKSERVER_DATA_DIR"] == mounts["data"],
        "all three probes ask the service listener": all(
            container[f"{kind}Probe"]["httpGet"]["port"] == "http"
            for kind in ("startup", "liveness", "readiness")
        ),
    }
    complain(claims | locked_down(pod, container, user))


def complain(claims):
    for claim, holds in claims.items():
        if not holds:
            print("not so:", claim)


def locked_down(pod, container, user):
    rights = container["securityContext"]
    return {
        "the user is that of the image": pod["securityContext"]["runAsUser"] == user,
        "its group may write DataDir": pod["securityContext"]["fsGroup"] == user,
        "it is not root": pod["securityContext"]["runAsNonRoot"] is True,
        "it gains no rights": rights["allowPrivilegeEscalation"] is False,
        "it has no capabilities": rights["capabilities"] == {"drop": ["ALL"]},
        "its root is read-only": rights["readOnlyRootFilesystem"] is True,
        "it has no account in the cluster": pod["automountServiceAccountToken"] is False,
        "it is limited": {"cpu", "memory"} <= container["resources"]["limits"].keys(),
    }


def shop(file, dockerfile):
    """Complains of calls that find no service, of services without pods, of rights too many, and of telling names."""
    user = int(re.search(r"^USER (\d+)", open(dockerfile).read(), re.M)[1])
    (files,) = [document["data"] for document in of_kind(file, "ConfigMap")]
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind(file, "Service")}
    versions = []
    for deployment in of_kind(file, "Deployment"):
        template = deployment["spec"]["template"]
        labels, pod = template["metadata"]["labels"], template["spec"]
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        env = {
            entry["name"]: entry.get("value") or labels[entry["valueFrom"]["fieldRef"]["fieldPath"].split("'")[1]]
            for entry in container["env"]
        }
        name = env["APP"]
        configuration = yaml.safe_load(files[f"{name}.yaml"])
        versions.append((name, env["MOCKSERVER_VERSION"]))
        called = re.findall(r"http://([\w-]+):(\d+)/", files[f"{name}.yaml"])
        claims = {
            "the Deployment selects its pods": selects(deployment["spec"]["selector"]["matchLabels"], labels),
            "its Service selects its pods": selects(services[name]["selector"], labels),
            "the name has the address of every pod": services[name]["clusterIP"] == "None",
            "it reads its own file": container["args"] == ["-f", f"{mounts['config']}/$(APP).yaml"],
            "and that is called like it": configuration["Name"] == name,
            "it calls what there is": all(
                [port["port"] for port in services[host]["ports"]] == [int(port)] for host, port in called
            ),
            "a call reaches the service listener": ports == {"http": 8888},
            "the admin listener is for no other pod": env["MOCKSERVER_ADMIN_HOST"] == "127.0.0.1",
            "DataDir is a volume": env["MOCKSERVER_DATA_DIR"] == mounts["data"],
            "nothing else is mounted": mounts.keys() == {"config", "data"},
            "all three probes ask the service listener": all(
                container[f"{kind}Probe"]["httpGet"]["port"] == "http"
                for kind in ("startup", "liveness", "readiness")
            ),
        }
        complain({f"{claim} ({name})": holds for claim, holds in (claims | locked_down(pod, container, user)).items()})
    # What cluster metrics show of it; the image can have another name.
    metadata = json.dumps([o["metadata"] for o in objects(file)]) + container["name"]
    names = [name for name, _ in versions]
    complain({
        "there are four services": sorted(services) == sorted(set(names)) == sorted(f[:-5] for f in files),
        "one has a canary": names.count("orders") == 2 and len(set(versions)) == len(versions) == 5,
        "no name tells what it is": "mockserver" not in metadata,
    })


def canary(good, bad):
    """Complains if callers miss the canary, or if what is the canary's concerns the stable pods."""
    labels = {
        file: of_kind(file, "Deployment")[0]["spec"]["template"]["metadata"]["labels"]
        for file in (good, bad)
    }
    for service in of_kind(good, "Service"):
        if not selects(service["spec"]["selector"], labels[bad]):
            print("misses the canary:", service["metadata"]["name"])
    for document in of_kind(bad, "Service") + of_kind(bad, "Deployment"):
        selector = document["spec"]["selector"]
        if selects(selector.get("matchLabels", selector), labels[good]):
            print("selects stable pods:", document["kind"], document["metadata"]["name"])
    extra = [o["kind"] for o in objects(bad)]
    if sorted(extra) != ["ConfigMap", "Deployment", "Service"]:
        print("the canary has more than its Deployment, its version and the name of its pods:", *extra)
    both = {(o["kind"], o["metadata"]["name"]) for o in objects(good)} & {
        (o["kind"], o["metadata"]["name"]) for o in objects(bad)
    }
    for name in both:
        print("would be replaced by the canary's:", *name)


def references(value):
    """The Secrets that anything in a manifest names."""
    if isinstance(value, list):
        return [name for item in value for name in references(item)]
    if not isinstance(value, dict):
        return []
    named = value.get("secretKeyRef", {}).get("name"), value.get("secretName")
    return [name for name in named if name] + references(list(value.values()))


def shared(good, every_pod, argo, flagger):
    """Complains of a second token, of pods that the policy leaves out, and of callers at the admin port."""
    (secret,) = of_kind(good, "Secret")
    for file in (good, every_pod, argo):
        for name in set(references(objects(file))) - {secret["metadata"]["name"]}:
            print("another Secret:", name)
    # Flagger makes a copy for the stable version otherwise.
    if secret["metadata"]["annotations"]["flagger.app/config-tracking"] != "disabled":
        print("Flagger makes a second Secret")

    (policy,) = of_kind(good, "NetworkPolicy")
    for app in ("mockserver", "mockserver-primary"):
        for track in ("stable", "canary"):
            if not label_selector(policy["spec"]["podSelector"], {"app": app, "track": track}):
                print("the policy leaves out:", app, track)
    if policy["spec"]["policyTypes"] != ["Ingress"]:
        print("the policy holds back what pods send")

    def lets(port, namespace, labels):
        return any(
            {"port": port} in rule["ports"]
            and ("from" not in rule or any(peer_is(peer, namespace, labels) for peer in rule["from"]))
            for rule in policy["spec"]["ingress"]
        )

    def peer_is(peer, namespace, labels):
        namespaces = peer.get("namespaceSelector")
        here = namespace is None if namespaces is None else label_selector(
            namespaces, {"kubernetes.io/metadata.name": namespace}
        )
        return here and label_selector(peer.get("podSelector", {}), labels)

    jobs = [o["spec"]["jobTemplate"]["spec"] for o in of_kind(every_pod, "CronJob")]
    jobs.append(job_spec(argo, "mockserver-inject-every-pod"))
    (canary,) = of_kind(flagger, "Canary")
    tester, namespace = re.match(
        r"http://([\w-]+)\.([\w-]+)/", canary["spec"]["analysis"]["webhooks"][0]["url"]
    ).groups()
    operators = [(None, job["template"]["metadata"]["labels"]) for job in jobs] + [
        (namespace, {"app": tester}),
        ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
        ("argo-rollouts", {"app.kubernetes.io/name": "argo-rollouts"}),
    ]
    for operator in operators:
        if not lets("admin", *operator):
            print("the policy keeps an operator out:", *operator)
    for caller in [(None, {"app": "shop"}), ("shop", {"app": "mockserver-every-pod"}), (namespace, {"app": "shop"})]:
        if lets("admin", *caller):
            print("the policy lets a caller at the admin port:", *caller)
        if not lets("http", *caller):
            print("the policy keeps a caller out:", *caller)


def scrapes(monitored, canary, *rules):
    """Complains of a pod that the ServiceMonitor does not scrape once on each listener, under the job of the rules."""
    (monitor,) = of_kind(monitored, "ServiceMonitor")
    services = of_kind(monitored, "Service") + of_kind(canary, "Service")
    found = [
        service for service in services
        if label_selector(monitor["spec"]["selector"], service["metadata"]["labels"])
    ]
    jobs = {}
    for endpoint in monitor["spec"]["endpoints"]:
        (relabeling,) = endpoint["relabelings"]
        jobs[endpoint["port"]] = relabeling["replacement"]
        if endpoint.get("authorization") != {
            "http": None, "admin": {"credentials": {"name": TOKEN, "key": "token"}},
        }[endpoint["port"]]:
            print("not the right token:", endpoint)
        for file in (monitored, canary):
            (deployment,) = of_kind(file, "Deployment")
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            times = sum(
                selects(service["spec"]["selector"], labels)
                for service in found
                for port in service["spec"]["ports"]
                if port["name"] == endpoint["port"]
            )
            if times != 1:
                print(f"scraped {times} times:", deployment["metadata"]["name"], endpoint["port"])
    named = {name for file in rules for name in re.findall(r'job="([^"]+)"', open(file).read())}
    if set(jobs.values()) != named:
        print("jobs", jobs, "and not", named)


def job_spec(file, name):
    """What a job of that name does: one of a CronJob, or of a job metric of Argo Rollouts."""
    for found in objects(file):
        if found["metadata"]["name"] == name and found["kind"] == "CronJob":
            return found["spec"]["jobTemplate"]["spec"]
        if found["metadata"]["name"] == name and found["kind"] == "AnalysisTemplate":
            return found["spec"]["metrics"][0]["provider"]["job"]["spec"]


def job(file, name):
    """A job's arguments, the variables put in, one a line."""
    (container,) = job_spec(file, name)["template"]["spec"]["containers"]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    for argument in container["args"]:
        print(re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], argument))


def job_object(file, name):
    """The job as the controller of Argo Rollouts makes it."""
    metadata = {"name": name}
    print(yaml.safe_dump(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job_spec(file, name)}
    ))


def hook(file, name):
    """The command of a webhook of Flagger's load tester."""
    (found,) = of_kind(file, "Canary")
    (hook,) = [hook for hook in found["spec"]["analysis"]["webhooks"] if hook["name"] == name]
    assert hook["metadata"]["type"] == "bash", hook
    print(hook["metadata"]["cmd"])


def web(file, token):
    """A web metric of Argo Rollouts, sent as its controller sends it: url, headers and body in curl's
    configuration format."""
    (metric,) = [m for t in of_kind(file, "AnalysisTemplate") for m in t["spec"]["metrics"]
                 if "web" in m["provider"]]
    web = metric["provider"]["web"]
    arguments = {"namespace": "default", "token": token}
    fill = lambda text: re.sub(r"{{args\.([\w-]+)}}", lambda match: arguments[match[1]], text)
    print("url =", json.dumps(fill(web["url"])))
    print("request =", web["method"])
    for header in web["headers"]:
        print("header =", json.dumps(f'{header["key"]}: {fill(header["value"])}'))
    print('header = "Content-Type: application/json"')
    print("data =", json.dumps(json.dumps(web["jsonBody"])))
    assert web["jsonPath"] == "{$.status}" and metric["successCondition"] == 'result == "success"'


def experiment(journal):
    """On how many pods an experiment of the Chaos Toolkit started and stopped its session."""
    journal = json.load(open(journal))
    (start,), (stop,) = journal["run"], journal["rollbacks"]
    started = start["output"]["stdout"].count('"status":"success"')
    stopped = stop["output"]["stdout"].count('"stopped":["cpu_burner","dependency"]')
    print(f"started on {started}, stopped on {stopped}")


globals()[sys.argv[1]](*sys.argv[2:])

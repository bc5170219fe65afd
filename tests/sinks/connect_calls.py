"""Calls of Kafka Connect's REST interface in a row, and what of the answers is compared: status and shape."""

import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

WAIT_S_MAX: Final = 60.0
ABSENT: Final = "absent"
NAME: Final = "compared"
Json = Any

# (method, path, body); "$config" stands for the settings of a connector that works, "$other" for other ones of it,
# "$wrong" for some with a key that does not fit, "$class" for its kind. "await STATE" waits until the connector and
# its task say so.
CALLS: Final[list[tuple[str, str, Json]]] = [
    ("GET", "/", None),
    ("GET", "/health", None),
    ("GET", "/connectors", None),
    ("GET", "/connectors?expand=status&expand=info", None),
    ("GET", "/connector-plugins", None),
    ("GET", "/connector-plugins?connectorsOnly=false", None),
    ("GET", "/connector-plugins/$class/config", None),
    ("GET", "/connector-plugins/nonsense/config", None),
    ("PUT", "/connector-plugins/$class/config/validate", "$config"),
    ("PUT", "/connector-plugins/$class/config/validate", "$wrong"),
    ("PUT", "/connector-plugins/nonsense/config/validate", "$config"),
    ("POST", "/connectors", {"name": NAME, "config": "$wrong"}),
    ("POST", "/connectors", {"name": NAME, "config": {}}),
    ("POST", "/connectors", {"name": "other", "config": "$config"}),
    ("POST", "/connectors", {"nonsense": 1}),
    ("POST", "/connectors", {"name": NAME, "config": "$config", "initial_state": "NONSENSE"}),
    ("POST", "/connectors", {"name": NAME, "config": "$config"}),
    ("await", "RUNNING", None),
    ("POST", "/connectors", {"name": NAME, "config": "$config"}),
    ("GET", "/connectors", None),
    ("GET", "/connectors?expand=status", None),
    ("GET", "/connectors?expand=info", None),
    ("GET", "/connectors?expand=status&expand=info", None),
    ("GET", "/connectors?expand=nonsense", None),
    ("GET", f"/connectors/{NAME}", None),
    ("GET", f"/connectors/{NAME}/", None),
    ("GET", "/connectors/absent", None),
    ("GET", f"/connectors/{NAME}/config", None),
    ("GET", "/connectors/absent/config", None),
    ("GET", f"/connectors/{NAME}/status", None),
    ("GET", "/connectors/absent/status", None),
    ("GET", f"/connectors/{NAME}/tasks", None),
    ("GET", "/connectors/absent/tasks", None),
    ("GET", f"/connectors/{NAME}/tasks-config", None),
    ("GET", f"/connectors/{NAME}/tasks/0/status", None),
    ("GET", f"/connectors/{NAME}/tasks/9/status", None),
    ("GET", f"/connectors/{NAME}/topics", None),
    ("GET", "/connectors/absent/topics", None),
    ("PUT", f"/connectors/{NAME}/topics/reset", None),
    ("GET", f"/connectors/{NAME}/offsets", None),
    ("GET", "/connectors/absent/offsets", None),
    ("PATCH", f"/connectors/{NAME}/offsets", "$offsets"),
    ("DELETE", f"/connectors/{NAME}/offsets", None),
    ("PUT", f"/connectors/{NAME}/config", "$other"),
    ("await", "RUNNING", None),
    ("PUT", f"/connectors/{NAME}/config", "$wrong"),
    ("PUT", "/connectors/another/config", "$config"),
    ("PATCH", f"/connectors/{NAME}/config", {"tasks.max": "1"}),
    ("await", "RUNNING", None),
    ("PATCH", "/connectors/absent/config", {"tasks.max": "1"}),
    ("PUT", f"/connectors/{NAME}/pause", None),
    ("await", "PAUSED", None),
    ("GET", f"/connectors/{NAME}/status", None),
    ("PUT", "/connectors/absent/pause", None),
    ("PUT", f"/connectors/{NAME}/resume", None),
    ("await", "RUNNING", None),
    ("PUT", "/connectors/absent/resume", None),
    ("POST", f"/connectors/{NAME}/restart", None),
    ("await", "RUNNING", None),
    ("POST", f"/connectors/{NAME}/restart?includeTasks=true&onlyFailed=true", None),
    ("POST", f"/connectors/{NAME}/restart?includeTasks=true&onlyFailed=false", None),
    ("await", "RUNNING", None),
    ("POST", "/connectors/absent/restart", None),
    ("POST", "/connectors/absent/restart?includeTasks=true", None),
    ("POST", f"/connectors/{NAME}/tasks/0/restart", None),
    ("await", "RUNNING", None),
    ("POST", f"/connectors/{NAME}/tasks/9/restart", None),
    ("PUT", f"/connectors/{NAME}/stop", None),
    ("await", "STOPPED", None),
    ("GET", f"/connectors/{NAME}/status", None),
    ("GET", f"/connectors/{NAME}", None),
    ("GET", f"/connectors/{NAME}/tasks", None),
    ("PUT", "/connectors/absent/stop", None),
    ("PATCH", f"/connectors/{NAME}/offsets", "$offsets"),
    ("PATCH", f"/connectors/{NAME}/offsets", {"offsets": []}),
    ("PATCH", f"/connectors/{NAME}/offsets", {"offsets": [{"partition": {"what": 1}, "offset": {"kafka_offset": 0}}]}),
    ("GET", f"/connectors/{NAME}/offsets", None),
    ("DELETE", f"/connectors/{NAME}/offsets", None),
    ("GET", f"/connectors/{NAME}/offsets", None),
    ("PATCH", "/connectors/absent/offsets", "$offsets"),
    ("DELETE", "/connectors/absent/offsets", None),
    ("PUT", f"/connectors/{NAME}/resume", None),
    ("await", "RUNNING", None),
    ("DELETE", f"/connectors/{NAME}", None),
    ("DELETE", f"/connectors/{NAME}", None),
    ("DELETE", "/connectors/another", None),
    ("POST", "/connectors", {"name": NAME, "config": "$config", "initial_state": "STOPPED"}),
    ("await", "STOPPED", None),
    ("DELETE", f"/connectors/{NAME}", None),
    ("GET", "/admin/loggers", None),
    ("GET", "/admin/loggers/root", None),
    ("GET", "/admin/loggers/no.such.logger", None),
    ("PUT", "/admin/loggers/compared.logger", {"level": "FATAL"}),
    ("PUT", "/admin/loggers/compared.logger", {"level": "FATAL"}),
    ("GET", "/admin/loggers/compared.logger", None),
    ("PUT", "/admin/loggers/compared.logger?scope=worker", {"level": "warn"}),
    ("PUT", "/admin/loggers/compared.logger?scope=nonsense", {"level": "error"}),
    ("PUT", "/admin/loggers/compared.logger?scope=cluster", {"level": "DEBUG"}),
    ("PUT", "/admin/loggers/compared.logger", {"level": "LOUD"}),
    ("PUT", "/admin/loggers/compared.logger", {}),
    ("GET", "/nonsense", None),
    ("DELETE", "/connectors", None),
    ("POST", "/connectors", "no JSON"),
]  # fmt: skip


def play(address: str, given: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Make all calls; returns method, path, status and shape of each answer, with $words in the paths."""
    answers: list[dict[str, Json]] = []
    with httpx.Client(base_url=address, timeout=WAIT_S_MAX) as client:
        for method, path, body in CALLS:
            if method == "await":
                _wait_until_it_is(client, path)
                continue
            url = path.replace("$class", str(given["$class"]))
            answer = _call(client, method, url, _filled(body, given))
            answers.append(
                {"method": method, "path": path, "status": answer.status_code, "shape": _shape_of(answer, path)}
            )
    return answers


def _call(client: httpx.Client, method: str, url: str, body: Json) -> httpx.Response:
    """Again while the workers are rebalancing, as clients of Connect do."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        if isinstance(body, str):
            answer = client.request(method, url, content=body, headers={"Content-Type": "application/json"})
        else:
            answer = client.request(method, url, json=body) if body is not None else client.request(method, url)
        busy = answer.status_code == 409 and "already exists" not in answer.text
        if not busy or time.monotonic() > deadline_s:
            return answer
        time.sleep(0.1)


def _wait_until_it_is(client: httpx.Client, wanted: str) -> None:
    deadline_s = time.monotonic() + WAIT_S_MAX
    while not _is(client, wanted):
        assert time.monotonic() < deadline_s, f"waited {WAIT_S_MAX:.0f} s for {NAME} to be {wanted}"
        time.sleep(0.05)


def _is(client: httpx.Client, wanted: str) -> bool:
    answer = client.get(f"/connectors/{NAME}/status")
    if answer.status_code != 200:
        return False
    status = answer.json()
    tasks = [] if wanted == "STOPPED" else [wanted]
    return status["connector"]["state"] == wanted and [task["state"] for task in status["tasks"]] == tasks


def _filled(body: Json, given: Mapping[str, Json]) -> Json:
    if isinstance(body, str):
        return given.get(body, body)
    if isinstance(body, dict):
        return {key: _filled(value, given) for key, value in body.items()}
    return body


def _shape_of(answer: httpx.Response, path: str) -> Json:
    if not answer.content:
        return "empty"
    try:
        if path == "/admin/loggers":  # names are free
            return {"*": _shape(list(answer.json().values()))}
        is_settings = path == f"/connectors/{NAME}/config" and answer.request.method == "GET"
        return _shape([answer.json()], "config" if is_settings else "")
    except ValueError:
        return "text"


def _shape(values: list[Json], key: str = "") -> Json:
    """What is common to values of one place: types, or the shapes of all their parts. Settings have free names."""
    if key in ("config", "settings") and all(isinstance(value, dict) for value in values):
        return "settings" if all(isinstance(one, str) for value in values for one in value.values()) else "not text"
    if all(isinstance(value, dict) for value in values) and values:
        names = sorted({name for value in values for name in value})
        return {name: _shape([value[name] for value in values if name in value], name) for name in names}
    if all(isinstance(value, list) for value in values) and values:
        return [_shape([one for value in values for one in value])]
    return sorted({type(value).__name__ for value in values})


def fits(ours: Json, theirs: Json) -> bool:
    """Whether a client that understands the one understands the other: the same keys; types that come there too."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(fits(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        if any(isinstance(one, dict | list) for one in (*ours, *theirs)):
            return ours == [[]] or theirs == [[]] or (len(ours) == len(theirs) == 1 and fits(ours[0], theirs[0]))
        return set(ours) <= set(theirs)
    return bool(ours == theirs)

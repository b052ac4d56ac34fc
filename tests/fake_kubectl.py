#!/usr/bin/env python3
"""A `kubectl` for tests: it keeps objects as files of a folder, writes down how it was called, and knows no cluster.

`kustomize` is the real one's, whose place BPTT_TEST_KUBECTL names. Nothing but the standard library: it is started for
every call.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

READY = {
    "Deployment": {"observedGeneration": 1, "updatedReplicas": 9, "readyReplicas": 9},
    "StatefulSet": {"observedGeneration": 1, "updatedReplicas": 9, "readyReplicas": 9},
    "Job": {"conditions": [{"type": "Complete", "status": "True"}]},
    "RayCluster": {"state": "ready"},
}


def store() -> Path:
    return Path(os.environ["BPTT_TEST_CLUSTER"])


def kind_of(word: str) -> str:
    """Return one name for `RayJob`, `rayjobs` and `rayjobs.ray.io`."""
    word = word.lower().partition(".")[0]
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word if word.endswith("ss") else word.removesuffix("es" if word.endswith("sses") else "s")


def place(kind: str, name: str) -> Path:
    return store() / "objects" / kind_of(kind) / f"{name}.json"


def fail(message: str, status: int = 1) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)


def read(kind: str, name: str) -> dict[str, Any]:
    path = place(kind, name)
    if not path.is_file():
        fail(f'Error from server (NotFound): {kind_of(kind)} "{name}" not found')
    found: dict[str, Any] = json.loads(path.read_text())
    if (store() / "ready").exists() and "status" not in found:
        found["status"] = READY.get(found["kind"], {})
    return found


def write(found: dict[str, Any]) -> None:
    path = place(found["kind"], found["metadata"]["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    found["metadata"] = {"generation": 1, "uid": f"uid-of-{path.stem}", **found["metadata"]}
    for key, value in found.pop("stringData", {}).items():
        found.setdefault("data", {})[key] = value
    if found["kind"] == "RayJob" and (store() / "rayjob-status.json").is_file():
        found["status"] = json.loads((store() / "rayjob-status.json").read_text())
    path.write_text(json.dumps(found))


def objects(stdin: str) -> list[dict[str, Any]]:
    found = json.loads(stdin) if stdin else {"kind": "List", "items": []}
    return list(found["items"]) if found["kind"] == "List" else [found]


def option(arguments: list[str], name: str) -> str:
    return next((each.partition("=")[2] for each in arguments if each.startswith(f"--{name}=")), "")


def get(words: list[str], arguments: list[str]) -> None:
    kind, *names = words
    if (store() / "forbidden").is_file() and kind_of(kind) in (store() / "forbidden").read_text().split():
        fail(f"Error from server (Forbidden): {kind} is forbidden: User cannot list them at the cluster scope")
    if names:
        found = read(kind, names[0])
        if option(arguments, "output") == "name":
            print(f"{kind_of(kind)}/{names[0]}")
        elif "jsonpath={.data." in " ".join(arguments):
            print(found["data"]["".join(arguments).partition("{.data.")[2].partition("}")[0]], end="")
        elif "go-template" in option(arguments, "output"):
            print("\n".join(found.get("data", {})))
        else:
            print(json.dumps(found))
        return
    if (store() / "unknown-kinds").is_file() and kind_of(kind) in (store() / "unknown-kinds").read_text().split():
        fail(f'error: the server doesn\'t have a resource type "{kind}"')
    found_all = [read(kind, path.stem) for path in sorted((store() / "objects" / kind_of(kind)).glob("*.json"))]
    wanted = dict(part.partition("=")[::2] for part in option(arguments, "selector").split(",") if "=" in part)
    kept = [each for each in found_all if wanted.items() <= each["metadata"].get("labels", {}).items()]
    print(json.dumps({"items": kept}))


def create(stdin: str) -> None:
    for each in objects(stdin):
        if place(each["kind"], each["metadata"]["name"]).is_file():
            name = each["metadata"]["name"]
            fail(f'Error from server (AlreadyExists): {kind_of(each["kind"])} "{name}" already exists')
        write(each)


def create_secret(arguments: list[str]) -> None:
    """Create what the real one makes of files and of its stdin."""
    made = [os.environ["BPTT_TEST_KUBECTL"], *arguments, "--dry-run=client", "--output=json"]
    create(subprocess.run(made, check=True, capture_output=True, text=True).stdout)


def apply(rest: list[str], stdin: str) -> None:
    """Keep objects; of a file or a folder see that there is something in it that can be read."""
    if "-k" in rest:
        subprocess.run([os.environ["BPTT_TEST_KUBECTL"], "kustomize", rest[-1]], check=True, capture_output=True)
    elif "-f" in rest:
        Path(rest[-1]).read_text()
    for each in objects(stdin):
        write(each)


def diff(stdin: str) -> None:
    new = [each for each in objects(stdin) if not place(each["kind"], each["metadata"]["name"]).is_file()]
    for each in new:
        print(f"+kind: {each['kind']}\n+  name: {each['metadata']['name']}")
    sys.exit(1 if new else 0)


def forward(arguments: list[str]) -> None:
    port = (store() / "port").read_text().strip() if (store() / "port").is_file() else ""
    if not port:
        fail("error: unable to forward port because pod is not running. Current status=Pending")
    print(f"Forwarding from 127.0.0.1:{port} -> {arguments[-1].lstrip(':')}", flush=True)
    signal.pause()


def kustomize(folder: Path) -> None:
    """Let the real one render, which takes a second, once for each kustomization of a run of tests."""
    text = (folder / "kustomization.yaml").read_text()
    place = str(folder) if "bptt-" not in folder.name else ""  # of those made for the moment only the text counts
    kept = Path(os.environ["BPTT_TEST_RENDERED"], hashlib.sha256((place + text).encode()).hexdigest())
    if not kept.is_file():
        done = subprocess.run([os.environ["BPTT_TEST_KUBECTL"], "kustomize", str(folder)], capture_output=True)
        if done.returncode:
            fail(done.stderr.decode(), done.returncode)
        kept.with_suffix(f".{os.getpid()}").write_bytes(done.stdout)
        kept.with_suffix(f".{os.getpid()}").rename(kept)
    sys.stdout.write(kept.read_text())


def main(arguments: list[str]) -> None:
    if arguments[0] == "kustomize":
        kustomize(Path(arguments[1]))
        return
    stdin = sys.stdin.read() if "--filename=-" in arguments else ""
    with (store() / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"arguments": arguments, "stdin": stdin}) + "\n")
    words = list(arguments)
    for flag in ("--context", "--namespace", "-n"):
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    verb, *rest = words
    plain = [each for each in rest if not each.startswith("-")]
    client = {"clientVersion": {"gitVersion": os.environ.get("BPTT_TEST_VERSION", "v1.32.4")}}
    if verb == "version" and "--client" in rest:
        print(json.dumps(client))
        return
    if (store() / "unreachable").exists():
        fail("E1127 couldn't get it\nThe connection to the server 10.0.0.1:6443 was refused - is it right?")
    answer(verb, rest, plain, client, stdin)


def answer(verb: str, rest: list[str], plain: list[str], client: dict[str, Any], stdin: str) -> None:
    match verb:
        case "version":
            print(json.dumps({**client, "serverVersion": {"gitVersion": "v1.32.0"}}))
        case "api-versions":
            print((store() / "api-versions").read_text())
        case "auth":
            denied = (store() / "denied").read_text().split() if (store() / "denied").is_file() else []
            is_denied = kind_of(plain[2]) in denied or f"{plain[1]}-{kind_of(plain[2])}" in denied
            print("no" if is_denied else "yes")
            sys.exit(1 if is_denied else 0)
        case "get":
            get(plain, rest)
        case "create" if plain[:2] == ["secret", "generic"]:
            create_secret(["create", *rest])
        case "create":
            create(stdin)
        case "apply" | "replace":
            apply(rest, stdin)
        case "diff":
            diff(stdin)
        case "delete":
            kind, name = plain[0].split("/") if "/" in plain[0] else plain
            if place(kind, name).is_file():
                place(kind, name).unlink()
                print(f'{kind_of(kind)} "{name}" deleted')
        case "port-forward":
            forward(rest)
        case "logs" | "exec":
            print(f"lines of {' '.join(plain)}")
        case _:
            fail(f'error: unknown command "{verb}" for "kubectl"')


if __name__ == "__main__":
    main(sys.argv[1:])

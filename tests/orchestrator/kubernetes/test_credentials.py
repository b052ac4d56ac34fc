"""Which Secrets objects refer to, and what is made of those that are missing."""

from __future__ import annotations

from typing import Any

from orchestrator.kubernetes.credentials import Need, databases, needs, storage, token_secret

POD: dict[str, Any] = {
    "containers": [
        {
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "a"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "one", "key": "b"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "one", "key": "c", "optional": True}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "maybe", "key": "d", "optional": True}}},
            ],
            "envFrom": [{"secretRef": {"name": "whole"}}, {"configMapRef": {"name": "no-secret"}}],
        }
    ],
    "volumes": [
        {"name": "v", "secret": {"secretName": "mounted", "items": [{"key": "k", "path": "p"}]}},
        {
            "name": "w",
            "projected": {"sources": [{"secret": {"name": "projected", "items": [{"key": "q", "path": "p"}]}}]},
        },
        {"name": "x", "secret": {"secretName": "also-maybe", "optional": True}},
    ],
}


def ray_cluster(**auth: str) -> dict[str, Any]:
    return {"kind": "RayCluster", "metadata": {"name": "c"}, "spec": {"authOptions": auth, "template": {"spec": POD}}}


def test_all_that_must_be_there_is_needed_and_nothing_else() -> None:
    assert needs([ray_cluster(mode="token", secretName="token")]) == [
        Need("mounted", frozenset("k")),
        Need("one", frozenset("ab")),
        Need("projected", frozenset("q")),
        Need("token", frozenset(["auth_token"])),
        Need("whole", frozenset()),
    ]


def test_a_secret_that_is_among_the_objects_is_not_needed() -> None:
    own = {"kind": "Secret", "metadata": {"name": "one"}}
    assert "one" not in {need.name for need in needs([ray_cluster(), own])}


def test_the_token_is_where_kuberay_keeps_it() -> None:
    assert token_secret(ray_cluster(mode="token")) == "c"
    assert token_secret(ray_cluster(mode="token", secretName="mine")) == "mine"
    assert token_secret(ray_cluster(mode="disabled")) == ""


def test_no_two_passwords_are_the_same() -> None:
    first, second = databases("db:5432"), databases("db:5432")
    passwords = [value for made in (first, second) for key, value in made.items() if key.endswith("password")]
    assert len(set(passwords)) == 8
    assert first["mlflow_url"] == f"postgresql+psycopg://mlflow:{first['mlflow_password']}@db:5432/mlflow"


def test_a_server_by_http_is_told_as_such() -> None:
    made = storage("http://s3.local:9000", "b", "key", "secret")
    assert made["checkpoints_uri"] == "s3://b/checkpoints?endpoint_override=s3.local:9000&scheme=http"
    assert made["artifacts_uri"] == "s3://b/artifacts"

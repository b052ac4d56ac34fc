"""`bptt k8s apply`: the cluster looked at, Secrets made and kept, the difference shown, and all of it installed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from orchestrator.cli import k8s_apply
from tests.kubernetes import Cluster, definition, node, operator, secret
from tests.orchestrator.cli.conftest import Bptt

SECRETS = ["bptt-databases", "bptt-storage", "bptt-tracking"]
OWN = {
    "bptt-databases": dict.fromkeys(("study_url", "mlflow_url", "mlflow_auth_url"), "postgresql+psycopg://u:pw@db/x"),
    "bptt-storage": dict.fromkeys(
        ("bucket", "access_key_id", "secret_access_key", "checkpoints_uri", "artifacts_uri"), "given"
    ),
}


def apply(bptt: Bptt, *arguments: str) -> Any:
    return bptt("k8s", "apply", *arguments, "--timeout", "0")


def decoded(cluster: Cluster, name: str) -> dict[str, str]:
    return dict(cluster.read("secret", name)["data"])


def applied(cluster: Cluster) -> list[list[str]]:
    """The kinds of each apply."""
    return [[each["kind"] for each in json.loads(call["stdin"])["items"]] for call in cluster.calls("apply")]


def test_all_of_it_is_installed_the_databases_first(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("ready")
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 0, answer.err
    namespaces, first, last = applied(cluster)
    assert set(namespaces) == {"Namespace"}
    assert {"StatefulSet", "Job", "Service", "NetworkPolicy"} <= set(first)
    assert set(last) == {"Deployment", "RayCluster"}
    assert cluster.names("secret") == SECRETS
    assert "kubectl --namespace bptt port-forward service/mlflow 5000" in answer.out
    assert cluster.read("configmap", "bptt-installed")["data"]["overlay"] == "local"


def test_no_secret_is_printed_or_on_a_command_line(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("ready")
    answer = apply(bptt, "local", "--yes")
    contents = {name: decoded(cluster, name) for name in SECRETS}
    databases = contents["bptt-databases"]
    assert databases["study_url"] == f"postgresql+psycopg://sweeps:{databases['sweeps_password']}@postgres:5432/sweeps"
    assert contents["bptt-storage"]["endpoint"] == "http://seaweedfs:8333"
    assert contents["bptt-storage"]["checkpoints_uri"].startswith("s3://bptt/checkpoints?endpoint_override=seaweedfs:")
    hidden = [
        value for found in contents.values() for key, value in found.items() if "password" in key or "secret" in key
    ]
    assert len(set(hidden)) == len(hidden) == 7
    assert all(len(value) >= 32 for value in hidden)
    shown = answer.out + answer.err + json.dumps([call["arguments"] for call in cluster.calls()])
    assert not [value for value in hidden if value in shown]


def test_a_secret_that_is_there_is_never_changed(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("ready")
    assert apply(bptt, "local", "--yes").status == 0
    before = {name: decoded(cluster, name) for name in SECRETS}
    cluster.remove("secret", "bptt-tracking")
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 0
    assert "made Secret bptt-tracking" in answer.out
    assert "bptt-databases" not in answer.out
    after = {name: decoded(cluster, name) for name in SECRETS}
    assert {name for name in SECRETS if before[name] != after[name]} == {"bptt-tracking"}


def test_a_dry_run_shows_the_difference_and_changes_nothing(bptt: Bptt, cluster: Cluster) -> None:
    answer = apply(bptt, "local", "--dry-run")
    assert answer.status == 0, answer.err
    assert "+ StatefulSet postgres\n" in answer.out
    assert "bptt-databases, bptt-storage, bptt-tracking will be made with random passwords" in answer.out
    assert cluster.changes() == []


def test_where_the_namespace_is_there_the_difference_is_kubectls(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("ready")
    apply(bptt, "local", "--yes")
    cluster.remove("service", "mlflow")
    answer = apply(bptt, "local", "--dry-run")
    assert "+kind: Service\n+  name: mlflow" in answer.out
    assert answer.out.count("+kind") == 1


def test_nothing_is_changed_where_nobody_can_be_asked(bptt: Bptt, cluster: Cluster) -> None:
    answer = apply(bptt, "local")
    assert answer.status == 2
    assert "--yes: missing; nobody can be asked here" in answer.err
    assert cluster.changes() == []


def test_nothing_is_changed_where_the_answer_is_no(
    bptt: Bptt, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(question: str) -> None:
        asked.append(question)
        raise KeyboardInterrupt

    monkeypatch.setattr(k8s_apply, "agree", refuse)
    assert apply(bptt, "local", "--context", "prod").status == 130
    assert asked == ["apply this to namespace bptt of prod"]
    assert cluster.changes() == []


def test_the_context_and_the_namespace_are_passed_through(bptt: Bptt, cluster: Cluster) -> None:
    apply(bptt, "local", "--dry-run", "--context", "a b", "--namespace", "lab")
    calls = [call["arguments"] for call in cluster.calls()]
    assert calls
    assert all(call[:4] == ["--context", "a b", "--namespace", "lab"] for call in calls)


def test_a_changed_image_runs_the_jobs_again(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("ready")
    apply(bptt, "local", "--yes")
    assert apply(bptt, "local", "--yes").out.count("to run again") == 0
    answer = apply(bptt, "local", "--yes", "--set", "mlflow_image=flow:2")
    assert "Job mlflow-migrate is to run again, with another image" in answer.out
    assert "Job bucket is to run" not in answer.out
    job = cluster.read("job", "mlflow-migrate")
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "flow:2"
    assert "mlflow_image: flow:2" in cluster.read("configmap", "bptt-installed")["data"]["values"]


def test_what_does_not_become_ready_is_said_with_its_reason(bptt: Bptt, cluster: Cluster) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    status = {"phase": "Pending", "containerStatuses": [{"name": "postgres", "state": {"waiting": waiting}}]}
    cluster.put("postgres-0", {"kind": "Pod", "status": status}, labels={"app.kubernetes.io/name": "postgres"})
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 1
    assert (
        "StatefulSet postgres is not ready: 0/1 ready; postgres-0: postgres: ImagePullBackOff: no such image"
        in answer.err
    )
    assert "Deployment" not in [kind for kinds in applied(cluster) for kind in kinds], "MLflow waits for its database"


def failing(cluster: Cluster, how: str) -> None:
    match how:
        case "KubeRay":
            cluster.remove("customresourcedefinition", "rayclusters.ray.io")
        case "tokens":
            cluster.put("rayclusters.ray.io", definition(tokens=False))
        case "operator":
            cluster.remove("deployment", "kuberay-operator")
        case "operator down":
            cluster.put(
                "kuberay-operator",
                operator(ready=0),
                labels={"app.kubernetes.io/name": "kuberay-operator"},
                namespace="kuberay-system",
            )
        case "storage":
            cluster.put("standard", {"kind": "StorageClass"})
        case "rights":
            cluster.mark("denied", "secret raycluster")
        case "kinds":
            cluster.mark("api-versions", "v1 apps/v1")
        case "keys":
            secret(cluster, "bptt-storage", bucket="b")
        case "cluster":
            cluster.mark("unreachable")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            "KubeRay",
            "the cluster does not know RayClusters\n                         install the operator: kubectl create -k",
        ),
        ("tokens", "its RayClusters know no token (authOptions)\n                         install KubeRay 1.7.0"),
        ("operator", "its definitions are there, but no operator was found"),
        ("operator down", "its operator kuberay-system/kuberay-operator is not ready"),
        (
            "storage",
            "the cluster has no default storage class\n                         set storage_class in the values",
        ),
        (
            "rights",
            "you may not create raycluster.ray.io, secret\n                         ask for the right to create them",
        ),
        ("kinds", "the cluster knows no NetworkPolicy (networking.k8s.io/v1)"),
        (
            "keys",
            "bptt-storage is there without access_key_id, artifacts_uri, checkpoints_uri, endpoint, secret_access_key",
        ),
        ("cluster", "the cluster cannot be reached: The connection to the server 10.0.0.1:6443 was refused"),
    ],
)
def test_what_the_cluster_lacks_is_told_with_what_to_do_and_nothing_is_changed(
    bptt: Bptt, cluster: Cluster, how: str, said: str
) -> None:
    failing(cluster, how)
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 1
    assert said in answer.out
    assert "nothing was changed" in answer.err
    assert cluster.changes() == []


def test_doubts_are_warnings(bptt: Bptt, cluster: Cluster) -> None:
    cluster.put("kuberay-operator", operator("v1.5.0"), labels={"app.kubernetes.io/name": "kuberay-operator"})
    cluster.put("node-1", node(cpus=1))
    hard, used = {"requests.cpu": "4", "pods": "10"}, {"requests.cpu": "3500m", "pods": "0"}
    cluster.put("team", {"kind": "ResourceQuota", "status": {"hard": hard, "used": used}})
    answer = apply(bptt, "gpu", "--dry-run")
    for line in (
        "kuberay/operator:v1.5.0",
        "GiB for bptt's workers cpu",
        "no node offers one: sweeps that ask for GPUs will wait",
        "team leaves too little requests.cpu (3500m of 4 taken,",
    ):
        assert line in answer.out
    assert "pods (" not in answer.out


def test_who_has_rights_in_one_namespace_only_may_install_there(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("ready")
    cluster.mark("forbidden", "node customresourcedefinition")
    cluster.mark("denied", "patch-namespace create-namespace")
    cluster.put("bptt", {"kind": "Namespace"})
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 0, answer.err
    assert answer.out.count("this was not looked at") == 2
    assert "Namespace" not in [kind for kinds in applied(cluster) for kind in kinds]
    assert "warning  room            Error from server (Forbidden): nodes is forbidden" in answer.out
    before = len(cluster.changes())
    cluster.mark("forbidden", "secret")
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 1
    assert "failure  secrets" in answer.out
    assert len(cluster.changes()) == before


def test_an_old_kubectl_is_told(bptt: Bptt, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPTT_TEST_VERSION", "v1.21.2")
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 1
    assert "v1.21.2; 1.27 or newer is needed" in answer.out


def test_a_namespace_that_may_not_be_made_is_told(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("denied", "create-namespace")
    answer = apply(bptt, "local", "--yes")
    assert answer.status == 1
    assert "you may not create namespace\n" in answer.out


def test_a_missing_certificate_is_a_warning(bptt: Bptt, cluster: Cluster) -> None:
    answer = apply(bptt, "production", "--dry-run")
    assert "warning  secrets         mlflow-tls is missing: no TLS" in answer.out
    secret(cluster, "mlflow-tls")
    assert "mlflow-tls" not in apply(bptt, "production", "--dry-run").out


def test_databases_and_storage_of_ones_own_are_asked_for(bptt: Bptt, cluster: Cluster) -> None:
    answer = apply(bptt, "gpu", "--yes")
    assert answer.status == 1
    assert "bptt-databases is missing, and only you know what is in it" in answer.out
    assert "write NAME=VALUE lines of mlflow_auth_url, mlflow_url, study_url into a file, then kubectl" in answer.out
    assert cluster.changes() == []
    for name, content in OWN.items():
        secret(cluster, name, **content)
    cluster.mark("ready")
    assert apply(bptt, "gpu", "--yes").status == 0
    assert cluster.names("secret") == SECRETS
    assert base64.b64decode(cluster.read("secret", "bptt-storage")["data"]["bucket"]) == b"given"


def test_keys_of_s3_may_come_from_the_terminal(bptt: Bptt, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    secret(cluster, "bptt-databases", **OWN["bptt-databases"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-mine-0001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    cluster.mark("ready")
    values = ["--set", "s3.endpoint=https://s3.example.com:9000", "--set", "s3.bucket=sweeps"]
    answer = apply(bptt, "gpu", "--yes", *values)
    assert answer.status == 0, answer.out
    made = decoded(cluster, "bptt-storage")
    assert made["secret_access_key"] == "hunter2hunter2"
    assert made["checkpoints_uri"] == "s3://sweeps/checkpoints?endpoint_override=s3.example.com:9000&scheme=https"
    assert "hunter2" not in answer.out + answer.err + json.dumps([call["arguments"] for call in cluster.calls()])


def test_a_context_that_is_not_there_is_the_users_mistake(bptt: Bptt, cluster: Cluster) -> None:
    from orchestrator.errors import UserError
    from orchestrator.kubernetes.kubectl import Kubectl

    fault = Kubectl("nowhere").fault('error: context "nowhere" does not exist\n')
    assert isinstance(fault, UserError)
    assert "`kubectl config get-contexts` lists what there is" in str(fault)

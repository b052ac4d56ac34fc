"""Mistakes between objects, in limits and in settings; each with the words by which it must be found."""

from __future__ import annotations

from tests.deploy.planting import (
    GPU,
    LOCAL,
    PRODUCTION,
    SWEEP,
    Fault,
    cluster,
    data,
    head,
    mlflow,
    pod,
    policy,
    rule,
    variable,
    without,
    worker,
)
from tests.deploy.rendered import named

FAULTS = [  # References
    Fault(
        "a wrong name of a Secret",
        PRODUCTION,
        lambda made: variable(mlflow(made), "MLFLOW_BACKEND_STORE_URI")["valueFrom"]["secretKeyRef"].update(
            name="bptt-database"
        ),
        "there is no Secret bptt-database",
    ),
    Fault(
        "a wrong key of a Secret",
        GPU,
        lambda made: variable(head(made)["containers"][0], "BPTT_STUDY_URL")["valueFrom"]["secretKeyRef"].update(
            key="study-url"
        ),
        "Secret bptt-databases has no key study-url",
    ),
    Fault(
        "settings that are not there",
        GPU,
        lambda made: without(made, "ConfigMap", "bptt-settings"),
        "there is no ConfigMap bptt-settings",
    ),
    Fault(
        "a sweep without its files",
        SWEEP,
        lambda made: without(made, "ConfigMap", "sweep-demo"),
        "there is no ConfigMap sweep-demo",
    ),
    Fault(
        "an account that is not there",
        LOCAL,
        lambda made: without(made, "ServiceAccount", "bptt-worker"),
        "there is no ServiceAccount bptt-worker",
    ),
    Fault(
        "a volume that is not there",
        LOCAL,
        lambda made: without(made, "PersistentVolumeClaim", "bptt-data"),
        "there is no PersistentVolumeClaim bptt-data",
    ),
    Fault(
        "a mount of no volume",
        LOCAL,
        lambda made: worker(made)["volumes"].pop(),
        "worker cpu: container ray-worker: there is no volume home",
    ),
    Fault(
        "a mount of no volume in the autoscaler",
        GPU,
        lambda made: cluster(made)["autoscalerOptions"]["volumeMounts"].append({"name": "logs", "mountPath": "/logs"}),
        "container autoscaler: there is no volume logs",
    ),
    Fault(
        "an object of another namespace",
        PRODUCTION,
        lambda made: named(made, "LocalQueue", "sweeps")["metadata"].update(namespace="default"),
        "LocalQueue/sweeps: there is no Namespace default",
    ),
    Fault(
        "an object that is there twice",
        LOCAL,
        lambda made: made.append(named(made, "Service", "mlflow")),
        "Service/mlflow is there twice",
    ),
    Fault(
        "a service that selects nothing",
        LOCAL,
        lambda made: named(made, "Service", "postgres")["spec"]["selector"].update({"app.kubernetes.io/name": "pg"}),
        "Service/postgres: its selector selects no pod",
    ),
    Fault(
        "a service of a port that its pods lack",
        LOCAL,
        lambda made: named(made, "Service", "mlflow")["spec"]["ports"][0].update(targetPort="web"),
        "Deployment/mlflow has no port web",
    ),
    Fault(
        "an ingress to a port that no service has",
        PRODUCTION,
        lambda made: named(made, "Ingress", "mlflow")["spec"]["rules"][0]["http"]["paths"][0]["backend"][
            "service"
        ].update(port={"number": 80}),
        "Service mlflow has no port 80",
    ),
    Fault(
        "an ingress without TLS",
        PRODUCTION,
        lambda made: named(made, "Ingress", "mlflow")["spec"].pop("tls"),
        "host mlflow.example.org has no TLS",
    ),
    Fault(
        "a monitor of a port that nodes lack",
        PRODUCTION,
        lambda made: named(made, "PodMonitor", "ray-nodes")["spec"]["podMetricsEndpoints"][0].update(port="prom"),
        "has no port prom",
    ),
    Fault(
        "a budget by which no pod may ever go",
        PRODUCTION,
        lambda made: named(made, "PodDisruptionBudget", "mlflow")["spec"].update(minAvailable=2),
        "none may ever go",
    ),
    # Connections
    Fault(
        "no policy that denies",
        GPU,
        lambda made: without(made, "NetworkPolicy", "deny-all"),
        "no NetworkPolicy denies what none allows",
    ),
    Fault(
        "a policy open to everyone",
        LOCAL,
        lambda made: policy(made, "mlflow")["ingress"][0].pop("from"),
        "a rule for Ingress is open to everyone",
    ),
    Fault(
        "a policy on every port, so that metrics are told to all",
        LOCAL,
        lambda made: policy(made, "ray-nodes")["ingress"][0].pop("ports"),
        "is open on every port",
    ),
    Fault(
        "metrics for everyone who is on a node of Ray's",
        LOCAL,
        lambda made: [
            policy(made, "ray-nodes")[way][0]["ports"][0].update(endPort=65535) for way in ("ingress", "egress")
        ],
        "from RayCluster/bptt head, port 8080 of RayCluster/bptt head can be reached",
    ),
    Fault(
        "a policy for pods that there are none of",
        LOCAL,
        lambda made: policy(made, "seaweedfs").update(podSelector={"matchLabels": {"app": "seaweedfs"}}),
        "its podSelector selects no pod",
    ),
    Fault(
        "a policy for a port that is none",
        LOCAL,
        lambda made: policy(made, "mlflow")["ingress"][0]["ports"][0].update(port=5001),
        "port 5001 is no port of the pods it is for",
    ),
    Fault(
        "no way out to the database",
        LOCAL,
        lambda made: without(made, "NetworkPolicy", "heads-to-postgres"),
        "from RayCluster/bptt head, port 5432 of StatefulSet/postgres cannot be reached",
    ),
    Fault(
        "no names",
        PRODUCTION,
        lambda made: without(made, "NetworkPolicy", "names"),
        "port 53 of DNS cannot be reached",
    ),
    Fault(
        "a cloud's credentials within reach",
        GPU,
        lambda made: policy(made, "ray-heads")["egress"][1]["to"][0]["ipBlock"].pop("except"),
        "0.0.0.0/0 reaches 169.254.169.254",
    ),
    Fault(
        "workers at the database",
        LOCAL,
        lambda made: [
            policy(made, "heads-to-postgres").update(podSelector={}),
            policy(made, "postgres")["ingress"][0]["from"].append({"podSelector": {}}),
        ],
        "worker cpu, port 5432 of StatefulSet/postgres can be reached",
    ),
    Fault(
        "the operator shut out",
        GPU,
        lambda made: policy(made, "ray-heads").pop("ingress"),
        "from KubeRay's operator, port 8265 of RayCluster/bptt head cannot be reached",
    ),
    # Hardening
    Fault(
        "a node killed before it has drained",
        GPU,
        lambda made: worker(made, 1).update(terminationGracePeriodSeconds=60),
        "terminationGracePeriodSeconds 60 is not above RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S 100",
    ),
    Fault("no limit", LOCAL, lambda made: mlflow(made)["resources"].pop("limits"), "cpu has no request and limit"),
    Fault(
        "parts of CPUs for Ray",
        LOCAL,
        lambda made: [
            worker(made)["containers"][0]["resources"][key].update(cpu="1500m") for key in ("requests", "limits")
        ],
        "group cpu: CPUs are not whole",
    ),
    Fault(
        "trials on the head",
        LOCAL,
        lambda made: cluster(made)["headGroupSpec"]["rayStartParams"].clear(),
        'num-cpus is not "0"',
    ),
    Fault(
        "GPUs that are kept",
        GPU,
        lambda made: cluster(made)["workerGroupSpecs"][1].update(minReplicas=1, replicas=1),
        "GPUs are kept though nothing asks for them",
    ),
    Fault(
        "GPUs that no node takes",
        GPU,
        lambda made: worker(made, 1).pop("tolerations"),
        "which it does not tolerate",
    ),
    Fault(
        "a node of Ray's that is asked by wget, which there is not",
        GPU,
        lambda made: worker(made, 1)["containers"][0].pop("readinessProbe"),
        "worker gpu: container ray-worker: no readinessProbe",
    ),
    Fault("no probe", LOCAL, lambda made: mlflow(made).pop("livenessProbe"), "no livenessProbe"),
    Fault(
        "a probe of a port that is none",
        LOCAL,
        lambda made: mlflow(made)["readinessProbe"]["httpGet"].update(port="web"),
        "readinessProbe: there is no port web",
    ),
    Fault(
        "a token of the API server for whoever trains",
        LOCAL,
        lambda made: head(made)["containers"][0]["volumeMounts"].append({"name": "api-access", "mountPath": "/access"}),
        "container ray-head: it has a token of the API server",
    ),
    Fault(
        "an image without a version",
        LOCAL,
        lambda made: pod(made, "StatefulSet", "seaweedfs")["containers"][0].update(image="chrislusf/seaweedfs"),
        "'chrislusf/seaweedfs' has no version",
    ),
    Fault(
        "the latest image",
        GPU,
        lambda made: worker(made)["containers"][0].update(image="bptt-trainer:latest"),
        "'bptt-trainer:latest' has no version",
    ),
    Fault(
        "a role that gives secrets away",
        LOCAL,
        lambda made: named(made, "Role", "bptt-sweeps")["rules"][0].update(apiGroups=[""], resources=["secrets"]),
        "gives secrets away",
    ),
    # Settings
    Fault(
        "a Secret in the repository",
        LOCAL,
        lambda made: made.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "bptt-tracking", "namespace": "bptt"},
                "stringData": {"username": "admin"},
            }
        ),
        "a Secret is written out",
    ),
    Fault(
        "a password in a variable",
        LOCAL,
        lambda made: variable(mlflow(made), "MLFLOW_AUTH_ADMIN_PASSWORD").update(value="correct horse"),
        "MLFLOW_AUTH_ADMIN_PASSWORD is written out",
    ),
    Fault(
        "a password in an address",
        LOCAL,
        lambda made: data(made, "bptt-settings").update(BPTT_STUDY_URL="postgresql+psycopg://a:b@postgres/sweeps"),
        "data.BPTT_STUDY_URL holds a secret",
    ),
    Fault(
        "a tracking server that is not there",
        GPU,
        lambda made: data(made, "bptt-settings").update(BPTT_TRACKING_URI="http://ml-flow:5000"),
        "there is no Service ml-flow",
    ),
    Fault(
        "a tracking server at a port that it lacks",
        GPU,
        lambda made: data(made, "bptt-settings").update(BPTT_TRACKING_URI="http://mlflow:5001"),
        "Service mlflow has no port 5001",
    ),
    Fault(
        "hosts without the one that clients use",
        PRODUCTION,
        lambda made: data(made, "mlflow-settings").update(MLFLOW_SERVER_ALLOWED_HOSTS="mlflow,localhost:*"),
        "MLFLOW_SERVER_ALLOWED_HOSTS lacks mlflow:5000",
    ),
    Fault(
        "an ingress by which MLflow does not answer",
        PRODUCTION,
        lambda made: [
            named(made, "Ingress", "mlflow")["spec"]["rules"][0].update(host="runs.example.org"),
            named(made, "Ingress", "mlflow")["spec"]["tls"][0].update(hosts=["runs.example.org"]),
        ],
        "MLFLOW_SERVER_ALLOWED_HOSTS lacks runs.example.org",
    ),
    Fault(
        "clients that are sent to S3",
        GPU,
        lambda made: data(made, "bptt-settings").pop("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"),
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD is not false",
    ),
    Fault(
        "a role that lacks a verb which a command needs",
        LOCAL,
        lambda made: rule(made, "pods/exec")["verbs"].remove("create"),
        "`logs of a sweep` needs pods/exec: create",
    ),
    Fault(
        "a role that may not read the parts",
        PRODUCTION,
        lambda made: named(made, "Role", "bptt-sweeps")["rules"].remove(rule(made, "statefulsets")),
        "`status` needs deployments.apps: list, statefulsets.apps: list",
    ),
    Fault(
        "a role for another cluster's token",
        GPU,
        lambda made: cluster(made)["authOptions"].update(secretName="token-of-ray"),
        "`submit --running` needs secrets/token-of-ray: get",
    ),
    Fault(
        "a role that may read every Secret",
        LOCAL,
        lambda made: rule(made, "secrets").pop("resourceNames"),
        "Role/bptt-sweeps: no command needs secrets: get",
    ),
    Fault(
        "a role that may take parts away",
        PRODUCTION,
        lambda made: rule(made, "deployments")["verbs"].append("delete"),
        "Role/bptt-sweeps: no command needs deployments.apps: delete",
    ),
]

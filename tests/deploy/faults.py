"""Mistakes that people make in manifests, each with the words by which it must be found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.rendered import Object, named, of_kind

PRODUCTION, LOCAL, GPU = "overlays/production", "overlays/local", "overlays/gpu"
SWEEP, QUEUED = "overlays/local/sweep", "overlays/production/sweep"


@dataclass(frozen=True)
class Fault:
    """A mistake, planted into what a kustomization renders to."""

    what: str
    where: str
    plant: Callable[[list[Object]], object]
    words: str
    needs_crds: bool = False


def cluster(objects: Sequence[Object]) -> Any:
    """Return the spec of the Ray cluster: that of the sweep's job, where there is one."""
    for job in of_kind(objects, "RayJob"):
        return job["spec"]["rayClusterSpec"]
    (found,) = of_kind(objects, "RayCluster")
    return found["spec"]


def job(objects: Sequence[Object]) -> Any:
    """Return the RayJob."""
    (found,) = of_kind(objects, "RayJob")
    return found


def head(objects: Sequence[Object]) -> Any:
    """Return the spec of the head's pod."""
    return cluster(objects)["headGroupSpec"]["template"]["spec"]


def worker(objects: Sequence[Object], group: int = 0) -> Any:
    """Return the spec of a worker's pod: 0 is the group of CPUs, 1 that of GPUs."""
    return cluster(objects)["workerGroupSpecs"][group]["template"]["spec"]


def pod(objects: Sequence[Object], kind: str, name: str) -> Any:
    """Return the pod's spec of a Deployment, a StatefulSet or a Job."""
    return named(objects, kind, name)["spec"]["template"]["spec"]


def mlflow(objects: Sequence[Object]) -> Any:
    """Return MLflow's container."""
    return pod(objects, "Deployment", "mlflow")["containers"][0]


def policy(objects: Sequence[Object], name: str) -> Any:
    """Return the spec of a network policy."""
    return named(objects, "NetworkPolicy", name)["spec"]


def variable(container: Any, name: str) -> Any:
    """Return a variable of a container."""
    (found,) = (each for each in container["env"] if each["name"] == name)
    return found


def without(objects: list[Object], kind: str, name: str) -> None:
    """Take an object away."""
    objects.remove(named(objects, kind, name))


def put(place: Any, **values: Any) -> None:
    """Write values into a mapping, `_` for `-` and `.` apart."""
    place.update(values)


def data(objects: Sequence[Object], name: str) -> Any:
    """Return what a ConfigMap holds."""
    return named(objects, "ConfigMap", name)["data"]


SUBMITTER = {
    "spec": {
        "restartPolicy": "Never",
        "containers": [{"name": "ray-job-submitter", "image": "bptt-trainer:0.1.0"}],
    }
}
FAULTS = [
    # Fields and types
    Fault(
        "a typo in a RayCluster",
        LOCAL,
        lambda all: cluster(all).update(enableInTreeAutoScaling=True),
        "'enableInTreeAutoScaling' was unexpected",
        needs_crds=True,
    ),
    Fault(
        "a typo deep in a pod template of a RayCluster",
        GPU,
        lambda all: worker(all, 1)["containers"][0].update(resource={}),
        "workerGroupSpecs.1.template.spec.containers.0: Additional properties",
        needs_crds=True,
    ),
    Fault(
        "a number for a text in rayStartParams",
        LOCAL,
        lambda all: cluster(all)["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        "headGroupSpec.rayStartParams.num-cpus: 0 is not of type 'string'",
        needs_crds=True,
    ),
    Fault(
        "a group without maxReplicas' type",
        LOCAL,
        lambda all: cluster(all)["workerGroupSpecs"][0].update(maxReplicas="eight"),
        "'eight' is not of type 'integer'",
        needs_crds=True,
    ),
    Fault(
        "a typo in a Deployment",
        LOCAL,
        lambda all: mlflow(all).update(readynessProbe=mlflow(all).pop("readinessProbe")),
        "'readynessProbe' was unexpected",
    ),
    Fault(
        "an API version that is gone",
        PRODUCTION,
        lambda all: named(all, "PodDisruptionBudget", "mlflow").update(apiVersion="policy/v1beta1"),
        "has no kind PodDisruptionBudget in policy/v1beta1",
    ),
    # What the operator refuses
    Fault(
        "a name too long for the services that the operator makes",
        SWEEP,
        lambda all: job(all)["metadata"].update(name="sweep-" + "a" * 42),
        "at most 47 characters",
    ),
    Fault(
        "restartPolicy with the autoscaler's second version",
        LOCAL,
        lambda all: worker(all).update(restartPolicy="Always"),
        "restartPolicy must be Never",
    ),
    Fault("no token", GPU, lambda all: cluster(all).pop("authOptions"), "authOptions.mode is not token"),
    Fault("a token without a version", GPU, lambda all: cluster(all).pop("rayVersion"), "must be written out"),
    Fault("a version before tokens", GPU, lambda all: cluster(all).update(rayVersion="2.51.0"), "tokens need 2.52.0"),
    Fault(
        "a sidecar that submits",
        SWEEP,
        lambda all: job(all)["spec"].update(submissionMode="SidecarMode", submitterPodTemplate=SUBMITTER),
        "SidecarMode does not go with submitterPodTemplate",
    ),
    Fault(
        "a time to live without an end",
        SWEEP,
        lambda all: job(all)["spec"].pop("shutdownAfterJobFinishes"),
        "ttlSecondsAfterFinished needs shutdownAfterJobFinishes",
    ),
    Fault(
        "rules of deletion beside an end",
        SWEEP,
        lambda all: job(all)["spec"].update(
            deletionStrategy={"deletionRules": [{"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED"}}]}
        ),
        "deletionRules excludes shutdownAfterJobFinishes",
    ),
    Fault(
        "retries on a cluster that stands",
        SWEEP,
        lambda all: job(all)["spec"].update(clusterSelector={"ray.io/cluster": "bptt"}),
        "backoffLimit does not go with clusterSelector",
    ),
    Fault(
        "labels among Ray's parameters",
        GPU,
        lambda all: cluster(all)["workerGroupSpecs"][0]["rayStartParams"].update(labels="zone=a"),
        "labels are a field of the group",
    ),
    Fault(
        "an alpha feature",
        GPU,
        lambda all: cluster(all).update(networkPolicy={"mode": "DenyAll"}),
        "networkPolicy needs an alpha feature gate",
    ),
    Fault(
        "an autoscaler in a queue",
        QUEUED,
        lambda all: cluster(all).update(enableInTreeAutoscaling=True),
        "Kueue admits no cluster that autoscales",
    ),
    Fault(
        "a queue that is not there",
        QUEUED,
        lambda all: job(all)["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "sweep"}),
        "there is no LocalQueue sweep",
    ),
    Fault(
        "more replicas than there may be",
        LOCAL,
        lambda all: cluster(all)["workerGroupSpecs"][0].update(replicas=9),
        "do not rise",
    ),
    # Pod Security
    Fault(
        "a namespace that lets everything in",
        LOCAL,
        lambda all: named(all, "Namespace", "bptt")["metadata"].pop("labels"),
        "enforce is not restricted",
    ),
    Fault(
        "no security context for the autoscaler, whose container the operator makes",
        LOCAL,
        lambda all: cluster(all)["autoscalerOptions"].pop("securityContext"),
        "head: container autoscaler: allowPrivilegeEscalation is not false",
    ),
    Fault(
        "a sidecar that submits, which can have no security context",
        SWEEP,
        lambda all: job(all)["spec"].update(submissionMode="SidecarMode"),
        "head: container ray-job-submitter: capabilities.drop lacks ALL",
    ),
    Fault(
        "a pod that submits, of the operator's own making",
        SWEEP,
        lambda all: job(all)["spec"].pop("submissionMode"),
        "submitter: container ray-job-submitter: runAsNonRoot is not true",
    ),
    Fault(
        "a pod that submits, by a template without a security context",
        SWEEP,
        lambda all: job(all)["spec"].update(submissionMode="K8sJobMode", submitterPodTemplate=SUBMITTER),
        "submitter: container ray-job-submitter: seccompProfile is neither",
    ),
    Fault(
        "no security context for a worker, and so for what waits before it",
        GPU,
        lambda all: worker(all, 1)["containers"][0].pop("securityContext"),
        "worker gpu: container wait-gcs-ready: capabilities.drop lacks ALL",
    ),
    Fault(
        "a folder of the host",
        LOCAL,
        lambda all: head(all)["volumes"][0].update(hostPath={"path": "/tmp"}),
        "volume tmp: hostPath is not allowed",
    ),
    Fault(
        "the network of the host",
        GPU,
        lambda all: worker(all).update(hostNetwork=True),
        "hostNetwork is not allowed",
    ),
    Fault(
        "root in a Job",
        LOCAL,
        lambda all: pod(all, "Job", "mlflow-migrate")["securityContext"].update(runAsNonRoot=False),
        "runAsNonRoot is not true",
    ),
    # References
    Fault(
        "a wrong name of a Secret",
        PRODUCTION,
        lambda all: variable(mlflow(all), "MLFLOW_BACKEND_STORE_URI")["valueFrom"]["secretKeyRef"].update(
            name="bptt-database"
        ),
        "there is no Secret bptt-database",
    ),
    Fault(
        "a wrong key of a Secret",
        GPU,
        lambda all: variable(head(all)["containers"][0], "BPTT_STUDY_URL")["valueFrom"]["secretKeyRef"].update(
            key="study-url"
        ),
        "Secret bptt-databases has no key study-url",
    ),
    Fault(
        "settings that are not there",
        GPU,
        lambda all: without(all, "ConfigMap", "bptt-settings"),
        "there is no ConfigMap bptt-settings",
    ),
    Fault(
        "a sweep without its files",
        SWEEP,
        lambda all: without(all, "ConfigMap", "sweep-demo"),
        "there is no ConfigMap sweep-demo",
    ),
    Fault(
        "an account that is not there",
        LOCAL,
        lambda all: without(all, "ServiceAccount", "bptt-worker"),
        "there is no ServiceAccount bptt-worker",
    ),
    Fault(
        "a volume that is not there",
        LOCAL,
        lambda all: without(all, "PersistentVolumeClaim", "bptt-data"),
        "there is no PersistentVolumeClaim bptt-data",
    ),
    Fault(
        "a mount of no volume",
        LOCAL,
        lambda all: worker(all)["volumes"].pop(),
        "worker cpu: container ray-worker: there is no volume home",
    ),
    Fault(
        "a mount of no volume in the autoscaler",
        GPU,
        lambda all: cluster(all)["autoscalerOptions"]["volumeMounts"].append({"name": "logs", "mountPath": "/logs"}),
        "container autoscaler: there is no volume logs",
    ),
    Fault(
        "a service that selects nothing",
        LOCAL,
        lambda all: named(all, "Service", "postgres")["spec"]["selector"].update({"app.kubernetes.io/name": "pg"}),
        "Service/postgres: its selector selects no pod",
    ),
    Fault(
        "a service of a port that its pods lack",
        LOCAL,
        lambda all: named(all, "Service", "mlflow")["spec"]["ports"][0].update(targetPort="web"),
        "Deployment/mlflow has no port web",
    ),
    Fault(
        "an ingress to a port that no service has",
        PRODUCTION,
        lambda all: named(all, "Ingress", "mlflow")["spec"]["rules"][0]["http"]["paths"][0]["backend"][
            "service"
        ].update(port={"number": 80}),
        "Service mlflow has no port 80",
    ),
    Fault(
        "an ingress without TLS",
        PRODUCTION,
        lambda all: named(all, "Ingress", "mlflow")["spec"].pop("tls"),
        "host mlflow.example.org has no TLS",
    ),
    Fault(
        "a monitor of a port that nodes lack",
        PRODUCTION,
        lambda all: named(all, "PodMonitor", "ray-nodes")["spec"]["podMetricsEndpoints"][0].update(port="prom"),
        "has no port prom",
    ),
    Fault(
        "a budget by which no pod may ever go",
        PRODUCTION,
        lambda all: named(all, "PodDisruptionBudget", "mlflow")["spec"].update(minAvailable=2),
        "none may ever go",
    ),
    # Connections
    Fault(
        "no policy that denies",
        GPU,
        lambda all: without(all, "NetworkPolicy", "deny-all"),
        "no NetworkPolicy denies what none allows",
    ),
    Fault(
        "a policy open to everyone",
        LOCAL,
        lambda all: policy(all, "mlflow")["ingress"][0].pop("from"),
        "a rule for Ingress is open to everyone",
    ),
    Fault(
        "a policy on every port, so that metrics are told to all",
        LOCAL,
        lambda all: policy(all, "ray-nodes")["ingress"][0].pop("ports"),
        "is open on every port",
    ),
    Fault(
        "metrics for everyone who is on a node of Ray's",
        LOCAL,
        lambda all: [
            policy(all, "ray-nodes")[way][0]["ports"][0].update(endPort=65535) for way in ("ingress", "egress")
        ],
        "from RayCluster/bptt head, port 8080 of RayCluster/bptt head can be reached",
    ),
    Fault(
        "a policy for pods that there are none of",
        LOCAL,
        lambda all: policy(all, "seaweedfs").update(podSelector={"matchLabels": {"app": "seaweedfs"}}),
        "its podSelector selects no pod",
    ),
    Fault(
        "a policy for a port that is none",
        LOCAL,
        lambda all: policy(all, "mlflow")["ingress"][0]["ports"][0].update(port=5001),
        "port 5001 is no port of the pods it is for",
    ),
    Fault(
        "no way out to the database",
        LOCAL,
        lambda all: without(all, "NetworkPolicy", "heads-to-postgres"),
        "from RayCluster/bptt head, port 5432 of StatefulSet/postgres cannot be reached",
    ),
    Fault(
        "no names",
        PRODUCTION,
        lambda all: without(all, "NetworkPolicy", "names"),
        "port 53 of DNS cannot be reached",
    ),
    Fault(
        "a cloud's credentials within reach",
        GPU,
        lambda all: policy(all, "ray-heads")["egress"][1]["to"][0]["ipBlock"].pop("except"),
        "0.0.0.0/0 reaches 169.254.169.254",
    ),
    Fault(
        "workers at the database",
        LOCAL,
        lambda all: [
            policy(all, "heads-to-postgres").update(podSelector={}),
            policy(all, "postgres")["ingress"][0]["from"].append({"podSelector": {}}),
        ],
        "worker cpu, port 5432 of StatefulSet/postgres can be reached",
    ),
    Fault(
        "the operator shut out",
        GPU,
        lambda all: policy(all, "ray-heads").pop("ingress"),
        "from KubeRay's operator, port 8265 of RayCluster/bptt head cannot be reached",
    ),
    # Hardening
    Fault(
        "a node killed before it has drained",
        GPU,
        lambda all: worker(all, 1).update(terminationGracePeriodSeconds=60),
        "terminationGracePeriodSeconds 60 is not above RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S 100",
    ),
    Fault("no limit", LOCAL, lambda all: mlflow(all)["resources"].pop("limits"), "cpu has no request and limit"),
    Fault(
        "parts of CPUs for Ray",
        LOCAL,
        lambda all: [
            worker(all)["containers"][0]["resources"][key].update(cpu="1500m") for key in ("requests", "limits")
        ],
        "group cpu: CPUs are not whole",
    ),
    Fault(
        "trials on the head",
        LOCAL,
        lambda all: cluster(all)["headGroupSpec"]["rayStartParams"].clear(),
        'num-cpus is not "0"',
    ),
    Fault(
        "GPUs that are kept",
        GPU,
        lambda all: cluster(all)["workerGroupSpecs"][1].update(minReplicas=1, replicas=1),
        "GPUs are kept though nothing asks for them",
    ),
    Fault(
        "GPUs that no node takes",
        GPU,
        lambda all: worker(all, 1).pop("tolerations"),
        "which it does not tolerate",
    ),
    Fault("no probe", LOCAL, lambda all: mlflow(all).pop("livenessProbe"), "no livenessProbe"),
    Fault(
        "a probe of a port that is none",
        LOCAL,
        lambda all: mlflow(all)["readinessProbe"]["httpGet"].update(port="web"),
        "readinessProbe: there is no port web",
    ),
    Fault(
        "a token of the API server for whoever trains",
        LOCAL,
        lambda all: head(all)["containers"][0]["volumeMounts"].append({"name": "api-access", "mountPath": "/access"}),
        "container ray-head: it has a token of the API server",
    ),
    Fault(
        "an image without a version",
        LOCAL,
        lambda all: pod(all, "StatefulSet", "seaweedfs")["containers"][0].update(image="chrislusf/seaweedfs"),
        "'chrislusf/seaweedfs' has no version",
    ),
    Fault(
        "the latest image",
        GPU,
        lambda all: worker(all)["containers"][0].update(image="bptt-trainer:latest"),
        "'bptt-trainer:latest' has no version",
    ),
    Fault(
        "a role that gives secrets away",
        LOCAL,
        lambda all: named(all, "Role", "bptt-sweeps")["rules"][0].update(apiGroups=[""], resources=["secrets"]),
        "gives secrets away",
    ),
    # Settings
    Fault(
        "a Secret in the repository",
        LOCAL,
        lambda all: all.append(
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
        lambda all: put(variable(mlflow(all), "MLFLOW_AUTH_ADMIN_PASSWORD"), valueFrom=None, value="correct horse"),
        "MLFLOW_AUTH_ADMIN_PASSWORD is written out",
    ),
    Fault(
        "a password in an address",
        LOCAL,
        lambda all: data(all, "bptt-settings").update(BPTT_STUDY_URL="postgresql+psycopg://a:b@postgres/sweeps"),
        "data.BPTT_STUDY_URL holds a secret",
    ),
    Fault(
        "a tracking server that is not there",
        GPU,
        lambda all: data(all, "bptt-settings").update(BPTT_TRACKING_URI="http://ml-flow:5000"),
        "there is no Service ml-flow",
    ),
    Fault(
        "a tracking server at a port that it lacks",
        GPU,
        lambda all: data(all, "bptt-settings").update(BPTT_TRACKING_URI="http://mlflow:5001"),
        "Service mlflow has no port 5001",
    ),
    Fault(
        "hosts without the one that clients use",
        PRODUCTION,
        lambda all: data(all, "mlflow-settings").update(MLFLOW_SERVER_ALLOWED_HOSTS="mlflow,localhost:*"),
        "MLFLOW_SERVER_ALLOWED_HOSTS lacks mlflow:5000",
    ),
    Fault(
        "an ingress by which MLflow does not answer",
        PRODUCTION,
        lambda all: [
            named(all, "Ingress", "mlflow")["spec"]["rules"][0].update(host="runs.example.org"),
            named(all, "Ingress", "mlflow")["spec"]["tls"][0].update(hosts=["runs.example.org"]),
        ],
        "MLFLOW_SERVER_ALLOWED_HOSTS lacks runs.example.org",
    ),
    Fault(
        "clients that are sent to S3",
        GPU,
        lambda all: data(all, "bptt-settings").pop("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"),
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD is not false",
    ),
]

"""Mistakes in fields, in what the operator refuses, and in what pods may do; each with the words that must be found."""

from __future__ import annotations

from tests.deploy.planting import (
    GPU,
    LOCAL,
    PRODUCTION,
    QUEUED,
    SWEEP,
    Fault,
    cluster,
    head,
    job,
    mlflow,
    pod,
    worker,
)
from tests.deploy.rendered import named

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
        lambda made: cluster(made).update(enableInTreeAutoScaling=True),
        "'enableInTreeAutoScaling' was unexpected",
        needs_crds=True,
    ),
    Fault(
        "a typo deep in a pod template of a RayCluster",
        GPU,
        lambda made: worker(made, 1)["containers"][0].update(resource={}),
        "workerGroupSpecs.1.template.spec.containers.0: Additional properties",
        needs_crds=True,
    ),
    Fault(
        "a number for a text in rayStartParams",
        LOCAL,
        lambda made: cluster(made)["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        "headGroupSpec.rayStartParams.num-cpus: 0 is not of type 'string'",
        needs_crds=True,
    ),
    Fault(
        "a group without maxReplicas' type",
        LOCAL,
        lambda made: cluster(made)["workerGroupSpecs"][0].update(maxReplicas="eight"),
        "'eight' is not of type 'integer'",
        needs_crds=True,
    ),
    Fault(
        "a typo in a Deployment",
        LOCAL,
        lambda made: mlflow(made).update(readynessProbe=mlflow(made).pop("readinessProbe")),
        "'readynessProbe' was unexpected",
    ),
    Fault(
        "an API version that is gone",
        PRODUCTION,
        lambda made: named(made, "PodDisruptionBudget", "mlflow").update(apiVersion="policy/v1beta1"),
        "has no kind PodDisruptionBudget in policy/v1beta1",
    ),
    # What the operator refuses
    Fault(
        "a name too long for the services that the operator makes",
        SWEEP,
        lambda made: job(made)["metadata"].update(name="sweep-" + "a" * 42),
        "at most 47 characters",
    ),
    Fault(
        "restartPolicy with the autoscaler's second version",
        LOCAL,
        lambda made: worker(made).update(restartPolicy="Always"),
        "restartPolicy must be Never",
    ),
    Fault("no token", GPU, lambda made: cluster(made).pop("authOptions"), "authOptions.mode is not token"),
    Fault("a token without a version", GPU, lambda made: cluster(made).pop("rayVersion"), "must be written out"),
    Fault("a version before tokens", GPU, lambda made: cluster(made).update(rayVersion="2.51.0"), "tokens need 2.52.0"),
    Fault(
        "a sidecar that submits",
        SWEEP,
        lambda made: job(made)["spec"].update(submissionMode="SidecarMode", submitterPodTemplate=SUBMITTER),
        "SidecarMode does not go with submitterPodTemplate",
    ),
    Fault(
        "a time to live without an end",
        SWEEP,
        lambda made: job(made)["spec"].pop("shutdownAfterJobFinishes"),
        "ttlSecondsAfterFinished needs shutdownAfterJobFinishes",
    ),
    Fault(
        "rules of deletion beside an end",
        SWEEP,
        lambda made: job(made)["spec"].update(
            deletionStrategy={"deletionRules": [{"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED"}}]}
        ),
        "deletionRules excludes shutdownAfterJobFinishes",
    ),
    Fault(
        "retries on a cluster that stands",
        SWEEP,
        lambda made: job(made)["spec"].update(clusterSelector={"ray.io/cluster": "bptt"}),
        "backoffLimit does not go with clusterSelector",
    ),
    Fault(
        "labels among Ray's parameters",
        GPU,
        lambda made: cluster(made)["workerGroupSpecs"][0]["rayStartParams"].update(labels="zone=a"),
        "labels are a field of the group",
    ),
    Fault(
        "an alpha feature",
        GPU,
        lambda made: cluster(made).update(networkPolicy={"mode": "DenyAll"}),
        "networkPolicy needs an alpha feature gate",
    ),
    Fault(
        "an autoscaler in a queue",
        QUEUED,
        lambda made: cluster(made).update(enableInTreeAutoscaling=True),
        "Kueue admits no cluster that autoscales",
    ),
    Fault(
        "a queue that is not there",
        QUEUED,
        lambda made: job(made)["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "sweep"}),
        "there is no LocalQueue sweep",
    ),
    Fault(
        "more replicas than there may be",
        LOCAL,
        lambda made: cluster(made)["workerGroupSpecs"][0].update(replicas=9),
        "do not rise",
    ),
    # Pod Security
    Fault(
        "a namespace that lets everything in",
        LOCAL,
        lambda made: named(made, "Namespace", "bptt")["metadata"].pop("labels"),
        "enforce is not restricted",
    ),
    Fault(
        "no security context for the autoscaler, whose container the operator makes",
        LOCAL,
        lambda made: cluster(made)["autoscalerOptions"].pop("securityContext"),
        "head: container autoscaler: allowPrivilegeEscalation is not false",
    ),
    Fault(
        "a sidecar that submits, which can have no security context",
        SWEEP,
        lambda made: job(made)["spec"].update(submissionMode="SidecarMode"),
        "head: container ray-job-submitter: capabilities.drop lacks ALL",
    ),
    Fault(
        "a pod that submits, of the operator's own making",
        SWEEP,
        lambda made: job(made)["spec"].pop("submissionMode"),
        "submitter: container ray-job-submitter: runAsNonRoot is not true",
    ),
    Fault(
        "a pod that submits, by a template without a security context",
        SWEEP,
        lambda made: job(made)["spec"].update(submissionMode="K8sJobMode", submitterPodTemplate=SUBMITTER),
        "submitter: container ray-job-submitter: seccompProfile is neither",
    ),
    Fault(
        "no security context for a worker, and so for what waits before it",
        GPU,
        lambda made: worker(made, 1)["containers"][0].pop("securityContext"),
        "worker gpu: container wait-gcs-ready: capabilities.drop lacks ALL",
    ),
    Fault(
        "a folder of the host",
        LOCAL,
        lambda made: head(made)["volumes"][0].update(hostPath={"path": "/tmp"}),
        "volume tmp: hostPath is not allowed",
    ),
    Fault(
        "the network of the host",
        GPU,
        lambda made: worker(made).update(hostNetwork=True),
        "hostNetwork is not allowed",
    ),
    Fault(
        "root in a Job",
        LOCAL,
        lambda made: pod(made, "Job", "mlflow-migrate")["securityContext"].update(runAsNonRoot=False),
        "runAsNonRoot is not true",
    ),
]

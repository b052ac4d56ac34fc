"""Pod Security `restricted`, of every pod that will be: admission sees no pods in what an operator is told to make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.deploy.pods import Pod, pods_of
from tests.deploy.rendered import Object, of_kind, title

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
ENFORCE = "pod-security.kubernetes.io/enforce"


def violations(objects: Sequence[Object]) -> list[str]:
    """Find pods that a namespace with `restricted` does not let in, and namespaces that let in others."""
    found = [
        f"{title(each)}: {ENFORCE} is not restricted"
        for each in of_kind(objects, "Namespace")
        if each["metadata"].get("labels", {}).get(ENFORCE) != "restricted"
    ]
    for pod in pods_of(objects):
        found += [f"{pod.owner}: {line}" for line in of_pod(pod.spec)]
        found += [f"{pod.owner}: container {each['name']}: {line}" for each, line in of_containers(pod)]
    return found


def of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    """What a pod as a whole must not."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is not allowed"
    context = spec.get("securityContext") or {}
    for sysctl in context.get("sysctls", ()):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is not allowed"
    yield from of_kernel(context)
    for volume in spec.get("volumes", ()):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {kind} is not allowed"


def of_containers(pod: Pod) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield what each container says that it must not, or leaves unsaid that neither it nor its pod says."""
    common = pod.spec.get("securityContext") or {}
    for each in [*pod.containers, *pod.spec.get("ephemeralContainers", ())]:
        for line in of_context(common, each.get("securityContext") or {}):
            yield each, line
        for port in each.get("ports", ()):
            if port.get("hostPort"):
                yield each, f"hostPort {port['hostPort']} is not allowed"
        for probe in (each.get(f"{kind}Probe") or {} for kind in ("startup", "readiness", "liveness")):
            if any((probe.get(way) or {}).get("host") for way in ("httpGet", "tcpSocket")):
                yield each, "a probe of another host is not allowed"


def of_context(common: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    """What a container must say, or its pod for it."""
    both = {**common, **own}
    if own.get("privileged"):
        yield "privileged is not allowed"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities.drop lacks ALL"
    if more := set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield f"capabilities.add: {', '.join(sorted(more))} is not allowed"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if both.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if (both.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile is neither RuntimeDefault nor Localhost"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    yield from of_kernel(own)


def of_kernel(context: Mapping[str, Any]) -> Iterator[str]:
    """What may stand in a pod's context as in a container's: nothing that lifts what a system restricts."""
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield "appArmorProfile is Unconfined"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess is not allowed"
    options = context.get("seLinuxOptions") or {}
    if options.get("type", "") not in SELINUX or options.get("user") or options.get("role"):
        yield "seLinuxOptions are not allowed"

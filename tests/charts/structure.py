"""What Kubernetes takes of the objects that we ship, as strict JSON schemas: every field that is not named here is a mistake.

Written after the API reference of Kubernetes 1.32, for the fields that we use; an API server
drops unknown fields without a word, so a misspelt one would simply not be there.
"""

from __future__ import annotations

from typing import Any

import jsonschema

STRING, BOOL, INT = {"type": "string", "minLength": 1}, {"type": "boolean"}, {"type": "integer"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"}
LABELS = {
    "type": "object",
    "propertyNames": {"pattern": r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"},
    "additionalProperties": {"type": "string", "pattern": r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"},
}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object with these fields and no other."""
    return {"type": "object", "additionalProperties": False, "required": required.split(), "properties": properties}


def listed(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*texts: str) -> dict[str, Any]:
    return {"enum": list(texts)}


META = fields("name labels", name=NAME, namespace=NAME, labels=LABELS, annotations=TEXTS)
POD_META = fields("labels", labels=LABELS, annotations=TEXTS)
SECURITY = fields(
    "allowPrivilegeEscalation readOnlyRootFilesystem capabilities",
    runAsUser=INT,
    runAsGroup=INT,
    runAsNonRoot=BOOL,
    allowPrivilegeEscalation={"const": False},
    readOnlyRootFilesystem={"const": True},
    capabilities=fields("drop", drop={"const": ["ALL"]}, add=listed({"type": "string", "pattern": "^[A-Z_]+$"})),
    appArmorProfile=fields("type", type=STRING, localhostProfile=STRING),
)
PROBE = fields(
    "httpGet",
    httpGet=fields("path port", path=one_of("/healthz", "/readyz"), port=INT, host=STRING),
    periodSeconds=INT,
    timeoutSeconds=INT,
    failureThreshold=INT,
)
ENV = fields("name", name=STRING, value=STRING, valueFrom=fields("fieldRef", fieldRef=fields("fieldPath", fieldPath=STRING)))
MOUNT = fields(
    "name mountPath", name=STRING, mountPath=STRING, readOnly=BOOL, mountPropagation=one_of("HostToContainer"), subPath={"not": {}}
)
CONTAINER = fields(
    "name image imagePullPolicy securityContext",
    name=STRING,
    image=STRING,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    args=listed(STRING),
    command=listed(STRING),
    env=listed(ENV),
    securityContext=SECURITY,
    startupProbe=PROBE,
    livenessProbe=PROBE,
    readinessProbe=PROBE,
    resources=fields(requests=TEXTS, limits=TEXTS),
    volumeMounts=listed(MOUNT),
)
VOLUME = {
    **fields(
        "name",
        name=STRING,
        configMap=fields("name", name=NAME, optional=BOOL),
        emptyDir=fields(),
        hostPath=fields("path type", path=STRING, type=one_of("Directory", "DirectoryOrCreate", "Socket")),
    ),
    "minProperties": 2,
    "maxProperties": 2,
}
POD = fields(
    "containers securityContext hostNetwork nodeSelector serviceAccountName automountServiceAccountToken",
    hostNetwork={"const": True},
    hostPID={"not": {}},
    dnsPolicy=one_of("Default"),
    enableServiceLinks=BOOL,
    imagePullSecrets=listed(fields("name", name=NAME)),
    securityContext=fields(
        "seccompProfile",
        runAsNonRoot=BOOL,
        runAsUser=INT,
        seccompProfile=fields("type", type=one_of("RuntimeDefault", "Localhost"), localhostProfile=STRING),
    ),
    serviceAccountName=NAME,
    automountServiceAccountToken=BOOL,
    priorityClassName=NAME,
    terminationGracePeriodSeconds=INT,
    restartPolicy=one_of("Never", "OnFailure"),
    nodeName=NAME,
    tolerations=listed(fields(operator=one_of("Exists", "Equal"), key=STRING, value=STRING, effect=STRING)),
    nodeSelector=LABELS,
    affinity={"type": "object"},
    initContainers=listed(CONTAINER),
    containers=listed(CONTAINER),
    volumes=listed(VOLUME),
)
RULE = fields("apiGroups resources verbs", apiGroups=listed({"type": "string"}), resources=listed(STRING), resourceNames=listed(STRING),
              verbs=listed(one_of("get", "list", "watch", "create", "patch", "update", "delete")))  # fmt: skip
SUBJECT = fields("kind name namespace", kind=one_of("ServiceAccount"), name=NAME, namespace=NAME)
ROLE_REF = fields("apiGroup kind name", apiGroup=one_of("rbac.authorization.k8s.io"), kind=one_of("ClusterRole", "Role"), name=NAME)
RBAC, RULES = "rbac.authorization.k8s.io/v1", {"rules": listed(RULE)}
BINDING = {"roleRef": ROLE_REF, "subjects": listed(SUBJECT)}
MONITORING = "monitoring.coreos.com/v1"
ALERT = fields("alert expr labels annotations", alert=STRING, expr=STRING, labels=LABELS, annotations=TEXTS, **{"for": STRING})


def _thing(version: str, required: str = "", **properties: Any) -> dict[str, Any]:
    return fields(f"apiVersion kind metadata {required}", apiVersion=one_of(version), kind=STRING, metadata=META, **properties)


THINGS = {
    "Namespace": _thing("v1"),
    "ServiceAccount": _thing("v1", "automountServiceAccountToken", automountServiceAccountToken={"const": False}),
    "ConfigMap": _thing("v1", "data", data=TEXTS),
    "Pod": _thing("v1", "spec", spec=POD),
    "Service": _thing("v1", "spec", spec=fields(
        "selector ports", clusterIP=one_of("None"), selector=LABELS,
        ports=listed(fields("name port", name=STRING, port=INT, targetPort=INT)))),
    "DaemonSet": _thing("apps/v1", "spec", spec=fields(
        "selector updateStrategy template",
        selector=fields("matchLabels", matchLabels=LABELS),
        updateStrategy=fields("type rollingUpdate", type=one_of("RollingUpdate"), rollingUpdate=fields(
            "maxUnavailable maxSurge", maxUnavailable={"type": ["integer", "string"]}, maxSurge={"const": 0})),
        template=fields("metadata spec", metadata=POD_META, spec=POD))),
    "Job": _thing("batch/v1", "spec", spec=fields(
        "template", backoffLimit=INT, activeDeadlineSeconds=INT, ttlSecondsAfterFinished=INT,
        template=fields("metadata spec", metadata=POD_META, spec=POD))),
    "ClusterRole": _thing(RBAC, "rules", **RULES),
    "Role": _thing(RBAC, "rules", **RULES),
    "ClusterRoleBinding": _thing(RBAC, "roleRef subjects", **BINDING),
    "RoleBinding": _thing(RBAC, "roleRef subjects", **BINDING),
    "ServiceMonitor": _thing(MONITORING, "spec", spec=fields(
        "selector endpoints", selector=fields("matchLabels", matchLabels=LABELS),
        endpoints=listed(fields("port", port=STRING, interval=STRING, relabelings=listed({"type": "object"}))))),
    "PrometheusRule": _thing(MONITORING, "spec", spec=fields(
        "groups", groups=listed(fields("name rules", name=STRING, rules=listed(ALERT))))),
}  # fmt: skip
ELSEWHERE = frozenset(
    {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
)  # a real API judges them
CLUSTER_WIDE = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding"}) | ELSEWHERE


def mistakes(thing: dict[str, Any]) -> list[str]:
    """What is wrong with an object, each with its place; nothing where all is well."""
    kind = thing.get("kind", "")
    label = f"{kind} {thing.get('metadata', {}).get('name')}"
    if kind in ELSEWHERE:
        return []
    if kind not in THINGS:
        return [f"{label}: no schema here; add one to {__name__}"]
    errors = jsonschema.Draft202012Validator(THINGS[kind]).iter_errors(thing)
    found = [f"{label}: {error.json_path}: {error.message}" for error in errors]
    if (kind in CLUSTER_WIDE) == ("namespace" in thing["metadata"]):
        found.append(f"{label}: metadata.namespace is {'not for this kind' if kind in CLUSTER_WIDE else 'missing'}")
    pod = {"DaemonSet": lambda: thing["spec"]["template"]["spec"], "Pod": lambda: thing["spec"]}.get(kind)
    return found or (found + _volumes(label, pod()) if pod else found)


def _volumes(label: str, pod: dict[str, Any]) -> list[str]:
    """Every mount has its volume, every volume is mounted, no two mounts of a container at one place."""
    volumes = [volume["name"] for volume in pod.get("volumes", ())]
    found = [] if len(set(volumes)) == len(volumes) else [f"{label}: two volumes of one name"]
    mounted = set()
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        places = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
        if len(set(places)) != len(places):
            found.append(f"{label}: {container['name']}: two mounts at one place")
        mounted |= {mount["name"] for mount in container.get("volumeMounts", ())}
        found += [
            f"{label}: {container['name']}: {place} lies inside /proc, where runc mounts nothing"
            for place in places
            if place.startswith("/proc")
        ]
    if mounted != set(volumes):
        found.append(f"{label}: volumes {sorted(volumes)}, mounted {sorted(mounted)}")
    return found

"""Why a pod gets no node, no volumes, no network, or may not exist at all."""

from __future__ import annotations

import re

from devloop.deploy.causes.diagnosis import AT_ONCE, NEVER, Diagnosis, Events, said, subject
from devloop.deploy.causes.references import describe_missing, missing_hint, missing_in
from devloop.model import Object

SCHEDULER_PATIENCE = 5.0    # an old pod may be about to make room; an autoscaler that helps says so by then
VOLUME_PATIENCE = 30.0      # a claim is bound and a disk attached within this, where somebody provides them at all
SANDBOX_PATIENCE = 15.0     # the network's own pods may be restarting
ADMISSION_PATIENCE = 5.0    # a service account, a token or a webhook may be a moment late

_INSUFFICIENT = re.compile(r"Insufficient ([\w./-]*\w)")
_PREEMPTION = re.compile(r"\.?(?: no new claims to deallocate,)? preemption: .*$")   # why no other pod gives way to it: nobody asked
_TAINT = re.compile(r"(?:had|have) (?:untolerated )?taint \{([^}]*)\}")


def unschedulable(pod: Object, text: str, events: Events) -> Diagnosis:
    """Of a pod that the scheduler finds no node for; `text` is what it said."""
    told = f"{subject(pod)} gets no node: {_PREEMPTION.sub('', text).rstrip('.')}"
    patience = NEVER if events.of_pod(pod, "TriggeredScaleUp") else SCHEDULER_PATIENCE
    brief = "Unschedulable" if patience else "a node is being added"
    if missing := missing_in(text, pod):
        return Diagnosis("node", brief, f"{subject(pod)} gets no node: {describe_missing(missing, pod['metadata']['namespace'])}",
                         hint=missing_hint(missing), patience=patience, missing=missing)
    if "PersistentVolumeClaim" in text:
        claims = _claims(pod, events)
        return Diagnosis("volume", brief, f"{told}{claims}", patience=patience if "storageclass" in claims else VOLUME_PATIENCE,
                         hint="A claim is bound by a StorageClass with a provisioner, or by a matching PersistentVolume: "
                              "see 'kubectl get storageclass,pvc'.")
    if short := _INSUFFICIENT.search(text):
        return Diagnosis("node", brief, told, patience=patience, resource=short[1],
                         hint=f"Lower resources.requests.{short[1]} in the manifest, stop what else runs there, or add a node.")
    return Diagnosis("node", brief, told, patience=patience, hint=_placement_hint(pod, text))


def _placement_hint(pod: Object, text: str) -> str:
    spec = pod.get("spec") or {}
    if taint := _TAINT.search(text):
        if taint[1].startswith("node.kubernetes.io/"):
            return f"The node itself is in trouble ({taint[1].rstrip(': ')}): see 'kubectl describe node'."
        return f"The nodes are reserved by taint {taint[1].rstrip(': ')}: add a toleration to the pod, or take the taint away."
    if "affinity" in text or "selector" in text:
        wanted = ", ".join(f"{k}={v}" for k, v in (spec.get("nodeSelector") or {}).items())
        return f"No node has the labels the pod asks for ({wanted or 'see its affinity'}): mend them, or label a node (kubectl label node)."
    if "free ports" in text:
        return "Another pod holds the hostPort on every node, such as an old one of the same workload: use a Service instead."
    return "See 'kubectl describe node' for what the nodes have and what keeps pods off them."


def _claims(pod: Object, events: Events) -> str:
    """What was said about the pod's claims."""
    namespace = pod["metadata"]["namespace"]
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if name := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            warned = [e for e in events.about("PersistentVolumeClaim", name) if e["involvedObject"].get("namespace") == namespace]
            if warned:
                return f"; claim '{name}': {said(warned[0])}"
    return ""


def not_set_up(pod: Object, events: Events) -> Diagnosis | None:
    """Of a pod that has a node but no container yet, by its latest event; None where nothing went wrong so far."""
    found = events.of_pod(pod, "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "NetworkNotReady")
    if not found:
        return None
    # that it took too long sums up what an earlier event has told better
    event = next((e for e in found if not said(e).startswith("Unable to attach or mount volumes")), found[0])
    text, reason = said(event), event["reason"]
    if missing := missing_in(text, pod):
        return Diagnosis("setup", reason, f"{subject(pod)} cannot start: {describe_missing(missing, pod['metadata']['namespace'])}",
                         hint=missing_hint(missing), patience=AT_ONCE, missing=missing)
    if "hostPath type check failed" in text:
        return Diagnosis("setup", reason, f"{subject(pod)} cannot start: {text}", patience=AT_ONCE,
                         hint="The path must be there on the node, not on this machine.")
    if reason in ("FailedCreatePodSandBox", "NetworkNotReady"):
        return Diagnosis("setup", reason, f"{subject(pod)} cannot start: its node cannot make its sandbox, the network mostly: {text}",
                         patience=SANDBOX_PATIENCE, hint="That is the cluster's trouble: see the pods of its network plugin "
                                                         "(kubectl get pods -n kube-system).")
    return Diagnosis("setup", reason, f"{subject(pod)} cannot start: its volumes cannot be mounted: {text}", patience=VOLUME_PATIENCE,
                     hint="Look at the pod's volumes in the manifest; a disk that another node holds has to be let go first.")


def not_created(workload: str, text: str) -> Diagnosis:
    """Of a workload whose controller may not create pods; `text` is what the API server told it."""
    patience, hint = ADMISSION_PATIENCE, "Mend the manifest, or the policy that refuses it."
    if "exceeded quota" in text:
        hint = "See 'kubectl describe resourcequota': lower the workload's requests or replicas, or have the quota raised."
    elif "must specify" in text or "failed quota" in text:
        hint = "The namespace's quota asks for resources.requests and limits in every container: add them to the manifest."
    elif "serviceaccount" in text and "not found" in text:
        hint = "Add the ServiceAccount to the manifests, or mend serviceAccountName."
    elif "failed calling webhook" in text:
        patience, hint = SANDBOX_PATIENCE, "An admission webhook of the cluster does not answer: see whether its own pods run."
    elif "maximum" in text or "minimum" in text:
        hint = "A LimitRange of the namespace refuses it: see 'kubectl describe limitrange'."
    elif "PodSecurity" in text or "security context constraint" in text:
        hint = "The namespace's pod security level forbids it: adapt the securityContext in the manifest."
    return Diagnosis("create", "FailedCreate", f"{workload} cannot create its pods: {text}", hint=hint, patience=patience)

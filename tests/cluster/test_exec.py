"""Commands in real containers: every byte, both streams, exit codes, whatever happens to the pod or the network."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from project import eventually

from devloop.cancel import Cancel
from devloop.clients.exec import exec, run, script
from devloop.clients.kube import Kube
from devloop.clients.process import Captured
from devloop.errors import ApiError, Cancelled, UnreachableError
from devloop.pods import ready

from .cut import CuttableProxy
from .workloads import await_service_account, create, pod, pod_spec, shell

pytestmark = pytest.mark.cluster

SLEEP = shell("sleep 3600", name="main")


@pytest.fixture(scope="module")
def box(kube: Kube) -> Iterator[str]:
    """A namespace with the pod ``box``, whose container ``main`` runs."""
    name = f"devloop-test-{secrets.token_hex(4)}"
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    await_service_account(kube, name)
    start(kube, name, "box")
    yield name
    kube.request("DELETE", f"/api/v1/namespaces/{name}")


def start(kube: Kube, namespace: str, name: str) -> None:
    create(kube, namespace, pod(name, pod_spec(SLEEP)))
    eventually(lambda: ready(kube.get(f"/api/v1/namespaces/{namespace}/pods/{name}")))


def sh(kube: Kube, namespace: str, text: str, *, pod: str = "box", cancel: Cancel | None = None, stdin: Iterator[bytes] | None = None,
       timeout: float | None = 60) -> Captured:
    return run(kube, namespace, pod, "main", script(text), cancel=cancel or Cancel(), stdin=stdin, timeout=timeout)


def no_threads() -> bool:
    return not [thread.name for thread in threading.enumerate() if thread.name.startswith(("exec-", "stdin-", "timeout-"))]


def test_output_errors_and_the_exit_code_are_told_apart(kube: Kube, box: str) -> None:
    done = sh(kube, box, "echo out; echo err >&2; exit 3")
    assert (done.code, done.output, done.errors) == (3, "out\n", "err\n")
    assert run(kube, box, "box", "main", ["printf", "%s|", "a b", "c&d=é", ""], cancel=Cancel()).output == "a b|c&d=é||"
    assert no_threads()


def test_every_byte_of_a_large_input_and_output_arrives(kube: Kube, box: str) -> None:
    pieces = [os.urandom(1_000_001) for _ in range(20)]
    digest = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert sh(kube, box, "sha256sum", stdin=iter(pieces)).output.split()[0] == digest
    with exec(kube, box, "box", "main", script("cat"), stdin=True, cancel=Cancel()) as running:
        back = hashlib.sha256()

        def read() -> None:
            while piece := running.read():
                back.update(piece[1])

        reader = threading.Thread(target=read)
        reader.start()
        for piece in pieces:
            running.write(piece)
        running.close_stdin()
        reader.join()
        assert (running.exit_code, back.hexdigest()) == (0, digest)


def test_input_that_is_not_wanted_takes_nothing_from_the_exit_code_and_the_output(kube: Kube, box: str) -> None:
    for text in ("head -c 100000 >/dev/null; echo full >&2; exit 3", "echo full >&2; exit 3"):
        done = sh(kube, box, text, stdin=(bytes(1 << 18) for _ in range(40)))
        assert (done.code, done.errors) == (3, "full\n")


def test_a_script_may_send_its_output_elsewhere(kube: Kube, box: str) -> None:
    assert sh(kube, box, "cat >/file 2>/dev/null", stdin=(bytes(1 << 18) for _ in range(40))).code == 0
    assert sh(kube, box, "wc -c </file").output == f"{40 << 18}\n"


def test_output_that_is_read_slowly_makes_the_command_wait(kube: Kube, box: str) -> None:
    with exec(kube, box, "box", "main", script("cat /dev/zero & echo $! >/pid; wait"), stdin=False, cancel=Cancel()) as running:
        assert running.read()
        was = eventually(lambda: written(kube, box))
        eventually(lambda: (now := written(kube, box)) == was[0] or was.insert(0, now))      # it stands still
    sh(kube, box, "kill $(cat /pid)")


def written(kube: Kube, namespace: str) -> list[str]:
    done = sh(kube, namespace, "grep wchar /proc/$(cat /pid)/io")
    return [done.output] if done.output else []      # /pid is written while the command writes already


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd"])
def test_a_program_that_cannot_be_started_is_told_with_the_reason(kube: Kube, box: str, program: str) -> None:
    with pytest.raises(ApiError, match=rf'{program} in container main of pod box could not be run: exec: "{program}": \w+'):
        run(kube, box, "box", "main", [program], cancel=Cancel())


def test_what_is_not_there_or_does_not_run_is_told(kube: Kube, box: str) -> None:
    with pytest.raises(ApiError, match='echo in container main of pod gone could not be run: pods "gone" not found'):
        run(kube, box, "gone", "main", ["echo"], cancel=Cancel())
    with pytest.raises(ApiError, match="container other is not valid for pod box"):
        run(kube, box, "box", "other", ["echo"], cancel=Cancel())
    create(kube, box, pod("nowhere", pod_spec(SLEEP, nodeSelector={"no": "where"})))
    with pytest.raises(ApiError, match="pod nowhere does not have a host assigned"):
        run(kube, box, "nowhere", "main", ["echo"], cancel=Cancel())
    create(kube, box, pod("ended", pod_spec(shell("exit 0", name="main"), restartPolicy="Never")))
    eventually(lambda: kube.get(f"/api/v1/namespaces/{box}/pods/ended")["status"].get("phase") == "Succeeded")
    with pytest.raises(ApiError, match="container not found"):
        run(kube, box, "ended", "main", ["echo"], cancel=Cancel())
    assert no_threads()


def test_a_container_that_ends_meanwhile_ends_the_command(kube: Kube, box: str) -> None:
    start(kube, box, "brief")
    with exec(kube, box, "brief", "main", ["sh", "-c", "echo here; sleep 3600; :"], stdin=True, cancel=Cancel()) as running:
        assert running.read() == (1, b"here\n")
        kube.request("DELETE", f"/api/v1/namespaces/{box}/pods/brief", query={"gracePeriodSeconds": 0})
        assert running.read() is None
        assert running.exit_code == 137


def test_cancelling_ends_a_command_that_says_nothing_and_one_that_does_not_read(kube: Kube, box: str) -> None:
    for stdin in (None, iter(lambda: bytes(1 << 18), b"")):
        cancel = Cancel()
        timer = threading.Timer(1, cancel.cancel)
        timer.start()
        with pytest.raises(Cancelled):
            run(kube, box, "box", "main", ["sleep", "20"], cancel=cancel, stdin=stdin)
        timer.join()
    assert no_threads()


def test_what_takes_too_long_is_given_up(kube: Kube, box: str) -> None:
    with pytest.raises(UnreachableError, match="sleep in container main of pod box did not end within 1 s"):
        run(kube, box, "box", "main", ["sleep", "20"], cancel=Cancel(), timeout=1)


def test_an_input_that_fails_is_raised(kube: Kube, box: str) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise ValueError("the disk is broken")

    with pytest.raises(ValueError, match="the disk is broken"):
        sh(kube, box, "cat", stdin=failing())
    assert no_threads()


def test_a_cut_connection_is_told_and_never_taken_for_an_end(proxied: tuple[Kube, CuttableProxy], box: str) -> None:
    client, proxy = proxied
    with exec(client, box, "box", "main", script("echo ready; cat >/cut; echo all"), stdin=True, cancel=Cancel()) as running:
        assert running.read() == (1, b"ready\n")
        running.write(b"x" * 100_000)
        proxy.cut()
        assert running.read() is None
        with pytest.raises(BrokenPipeError):
            running.write(b"x")
        with pytest.raises(UnreachableError, match="the connection to sh in container main of pod box broke"):
            _ = running.exit_code
    assert sh(client, box, "echo again").output == "again\n"
    proxy.refusing = True
    with pytest.raises(UnreachableError):
        sh(client, box, "echo never")


def test_many_commands_at_once(kube: Kube, box: str) -> None:
    def one(number: int) -> str:
        return sh(kube, box, "cat", stdin=iter([b"%d " % number * 1000] * 50)).output

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(8))) == [f"{number} " * 50_000 for number in range(8)]
    assert no_threads()


def test_who_may_not_is_told_the_right_and_it_is_enough(kube: Kube, box: str, powerless: str, namespace: str) -> None:
    client = Kube(kubeconfig=powerless)
    with pytest.raises(ApiError, match=r"does not let us run commands in pods: .*pods/exec") as denied:
        run(client, box, "box", "main", ["echo"], cancel=Cancel())
    assert (denied.value.status, "'create' pods/exec" in denied.value.hint) == (403, True)
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "exec"},
            "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}]}
    create(kube, box, role)
    create(kube, box, {"apiVersion": role["apiVersion"], "kind": "RoleBinding", "metadata": {"name": "exec"},
                       "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "exec"},
                       "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]})

    def allowed() -> str:
        try:
            return run(client, box, "box", "main", ["echo", "yes"], cancel=Cancel()).output
        except ApiError:
            return ""

    assert eventually(allowed) == "yes\n"
    client.close()

"""Kaniko's executor: what it is told, what it says, what it leaves behind, and how it ends.

Asked of the stand-in, and of the real one where DEVLOOP_TEST_KANIKO_IMAGE names its image (osscontainertools/kaniko v1.28.3)."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import secrets
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from cluster.conftest import KANIKO
from cluster.gitserver import commit, served
from cluster.kaniko import BASE, node_address, pods_registry
from cluster.registries import PASSWORD, USER, certificate, free_address

from devloop.cancel import Cancel
from devloop.clients.registry import Registry

pytestmark = pytest.mark.cluster

CONTEXT = {"one": "1\n", "two": "2\n", "dir/three": "3\n"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.err.rstrip().splitlines()[-1]

    @property
    def said(self) -> list[str]:
        """The messages of a run with --log-format=json."""
        return [json.loads(line)["msg"] for line in self.err.splitlines() if line.startswith('{"level"')]


class Executor:
    """Runs one image's executor. All containers are removed at the end."""

    def __init__(self, api: docker.APIClient, image: str, address: str) -> None:
        self._api, self._image, self.address = api, image, address
        self._containers: list[str] = []

    def run(self, dockerfile: str, *flags: str, to: str | None = None, files: Mapping[str, str] = CONTEXT, environ: Mapping[str, str] = {},
            command: Sequence[str] | None = None, more: Mapping[str, str] = {}, dockerfile_at: str = "Dockerfile") -> Done:
        """In a fresh container. ``BASE`` in the Dockerfile is the base image. `more`: files outside of the context."""
        arguments = command if command is not None else [f"--destination={to or self.address + '/web:1'}", "--log-format=json", *flags]
        context = {dockerfile_at: dockerfile.replace("BASE", f"{self.address}/{BASE}")} | files
        name = self._create(arguments, environment=dict(environ))
        self._api.put_archive(name, "/", _tar({f"workspace/{path}": text for path, text in context.items()} | more))
        return self._finish(name)

    def run_shell(self, script: str, dockerfile: str) -> Done:
        """With a busybox's shell, which comes with the context; it is ``$b``."""
        donor = self._api.create_container(BASE)["Id"]
        self._containers.append(donor)
        name = self._create(["sh", "-c", script], entrypoint=["/workspace/busybox"], environment={"b": "/workspace/busybox"})
        self._api.put_archive(name, "/workspace", b"".join(self._api.get_archive(donor, "/bin/busybox")[0]))
        self._api.put_archive(name, "/workspace", _tar({"Dockerfile": dockerfile.replace("BASE", f"{self.address}/{BASE}")}))
        return self._finish(name)

    def start(self, entrypoint: str) -> None:
        """This program of its image."""
        self._api.start(self._create([], entrypoint=[entrypoint]))

    def _create(self, command: Sequence[str], **more: Any) -> str:
        # the context is on a mount, as in a pod: it is no part of the image that is built
        name = self._api.create_container(self._image, list(command), volumes=["/workspace"], **more)["Id"]
        self._containers.append(name)
        return str(name)

    def _finish(self, name: str) -> Done:
        self._api.start(name)
        code = self._api.wait(name)["StatusCode"]
        return Done(code, *(self._api.logs(name, stdout=first, stderr=not first).decode() for first in (True, False)))

    def file(self, path: str) -> str:
        """Of the last run's container."""
        chunks, _ = self._api.get_archive(self._containers[-1], path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            found = tar.extractfile(tar.next())
            assert found
            return found.read().decode()

    def pushed(self, repository: str = "web", reference: str = "1") -> Pushed:
        with closing(Registry(self.address, {}, insecure=True)) as registry:
            stored = registry.manifest(repository, reference, Cancel())
            assert stored
            manifest = json.loads(stored.body)
            blobs = [_blob(registry, repository, part["digest"]) for part in (manifest["config"], *manifest["layers"])]
        return Pushed(stored.digest, json.loads(blobs[0]), blobs[1:])

    def close(self) -> None:
        for name in self._containers:
            self._api.remove_container(name, force=True, v=True)


@dataclass(frozen=True)
class Pushed:
    """An image as the registry has it."""

    digest: str
    config: dict[str, Any]
    layers: list[bytes]

    def names(self, layer: int) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.layers[layer])) as tar:
            return {member.name.rstrip("/"): member for member in tar}


def _blob(registry: Registry, repository: str, digest: str) -> bytes:
    answer = registry.request("GET", f"/v2/{repository}/blobs/{digest}", Cancel(), repository=repository)
    assert answer.status == 200
    return answer.body


def _tar(files: Mapping[str, str]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(text.encode()), 1_700_000_000
            tar.addfile(member, io.BytesIO(text.encode()))
    return archive.getvalue()


@pytest.fixture(scope="module")
def address(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that containers reach, with `BASE` in it."""
    api = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    with closing(api), pods_registry(api, tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(params=["stand-in", *(["real"] if "DEVLOOP_TEST_KANIKO_IMAGE" in os.environ else [])])
def executor(request: pytest.FixtureRequest, docker_api: docker.APIClient, address: str) -> Iterator[Executor]:
    made = Executor(docker_api, KANIKO if request.param == "stand-in" else os.environ["DEVLOOP_TEST_KANIKO_IMAGE"], address)
    yield made
    made.close()


def test_an_image_is_built_and_pushed_and_its_digest_told(executor: Executor) -> None:
    done = executor.run("FROM BASE\nARG WHO\nENV A=1\nWORKDIR /app/sub\nCOPY one dir ./\n"
                        "RUN echo $A $WHO >/x && rm /bin/tac && chmod 700 /app\n"
                        'LABEL from=file\nUSER 7\nEXPOSE 80\nENTRYPOINT ["/bin/x"]\n',
                        "--digest-file=/kaniko/digest", "--build-arg=WHO=me", "--label=from=flag line")
    assert done.code == 0, done.err
    pushed = executor.pushed()
    assert executor.file("/kaniko/digest") == pushed.digest
    assert done.said[-2:] == [f"Pushing image to {executor.address}/web:1", f"Pushed {executor.address}/web@{pushed.digest}"]
    config = pushed.config["config"]
    assert {key: config[key] for key in ("User", "WorkingDir", "Entrypoint", "ExposedPorts", "Labels")} == {
        "User": "7", "WorkingDir": "/app/sub", "Entrypoint": ["/bin/x"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"from": "file"}}
    assert "A=1" in config["Env"]
    assert not config.get("Cmd")
    assert pushed.config["history"][-1]["created_by"].startswith("RUN echo")
    assert len(pushed.layers) == len(pushed.config["rootfs"]["diff_ids"]) == 4
    assert set(pushed.names(1)) == {"app", "app/sub"}
    assert set(pushed.names(2)) == {"app", "app/sub", "app/sub/one", "app/sub/three"}
    ran = pushed.names(3)
    assert {"x", "app", "bin/.wh.tac"} <= ran.keys() <= {"x", "app", "bin", "bin/.wh.tac", "dev", "etc"}
    assert ran["app"].mode & 0o777 == 0o700


def test_the_lines_of_a_build(executor: Executor) -> None:
    said = executor.run("FROM BASE\nCOPY one /\nRUN true\nCMD x\n").said
    image = f"{executor.address}/{BASE}"
    wanted = [f"Retrieving image manifest {image}", f"Retrieving image {image} from registry {executor.address}",
              "Built cross stage deps: map[]", f"Building stage '{image}' [idx: '0', base-idx: '-1']",
              "Unpacking rootfs as cmd COPY one / requires it.", "COPY one /", "Taking snapshot of files...", "RUN true",
              "Initializing snapshotter ...", "Taking snapshot of full filesystem...", "Cmd: /bin/sh", "Args: [-c true]",
              "Running: [/bin/sh -c true]", "Taking snapshot of full filesystem...", "CMD x", f"Pushing image to {executor.address}/web:1"]
    lines = iter(said)
    assert [line for line in wanted if line not in lines] == []       # all of them, in this order


def test_the_formats_of_lines(executor: Executor) -> None:
    def lines(*flags: str) -> list[str]:
        return executor.run("FROM scratch\nCMD a && <b>\n", "--no-push", *flags).err.splitlines()

    time = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"
    text = lines("--log-format=text")
    assert any(re.fullmatch(f'time="{time}" level=info msg="CMD a && <b>"', line) for line in text)
    assert any(re.fullmatch(rf"\x1b\[36mINFO\x1b\[0m\[{time}\] CMD a && <b> {{33}}", line) for line in
               lines("--log-format=color", "--log-timestamp"))
    assert any(re.fullmatch(r"\x1b\[36mINFO\x1b\[0m\[00\d\d\] CMD a && <b> {33}", line) for line in      # so many seconds after its start
               lines("--log-format=color"))
    assert any(re.fullmatch(rf'{{"level":"info","msg":"CMD a \\u0026\\u0026 \\u003cb\\u003e","time":"{time}"}}', line) for line in lines())
    assert lines("--verbosity=warn") == []


def test_what_run_prints_is_between_the_lines_and_its_exit_code_is_the_executors(executor: Executor) -> None:
    done = executor.run("FROM BASE\nRUN echo out; echo err >&2; exit 7\n")
    assert (done.code, done.out) == (7, "out\n")
    assert done.err.splitlines()[-2:] == [
        "err", "error building image: error building stage: failed to execute command: waiting for process to exit: exit status 7"]


@pytest.mark.parametrize(("dockerfile", "code", "last"), [
    ("FROM BASE\nRUN kill -9 $$\n", 255, "failed to execute command: waiting for process to exit: signal: killed"),
    ('FROM BASE\nRUN ["none", "x"]\n', 1, 'failed to execute command: starting command: exec: "none": executable file not found in $PATH'),
    ("FROM BASE\nRUN true\nCOPY none /\n", 1,
     "failed to get files used from context: failed to get fileinfo for /workspace/none: lstat /workspace/none: no such file or directory"),
    ("FROM BASE\nUSER nobody\nRUN true\n", 1,
     "failed to execute command: credentials: get uid/gid: user nobody is not a uid and does not exist on the system"),
], ids=["killed", "no program", "no source", "no user"])
def test_a_failure_of_an_instruction(executor: Executor, dockerfile: str, code: int, last: str) -> None:
    done = executor.run(dockerfile)
    assert (done.code, done.last) == (code, f"error building image: error building stage: {last}")


@pytest.fixture
def web(docker_api: docker.APIClient, tmp_path: Path) -> Iterator[str]:
    """The address of a server that has a ``file``."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "file").write_text("from afar\n")
    os.utime(tmp_path / "web" / "file", (1_600_000_000, 1_600_000_000))
    with ThreadingHTTPServer((node_address(docker_api), 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "web")) as server:
        thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
        thread.start()
        yield f"http://{server.server_address[0]}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_add_fetches_what_is_on_the_web(executor: Executor, web: str) -> None:
    done = executor.run(f"FROM BASE\nADD {web}/file one /there/\nADD --chown=5:6 --chmod=644 {web}/file?v=1 /named\n"
                        "RUN stat -c '%a %u %g %Y %n' /there/file /named && cat /named /there/one\n")
    assert done.code == 0, done.err
    assert done.out == "600 0 0 1600000000 /there/file\n644 5 6 1600000000 /named\nfrom afar\n1\n"
    assert f"Adding remote URL {web}/file to /there/file" in done.said
    failed = executor.run(f"FROM BASE\nADD {web}/none /\n")
    assert failed.code == 1
    assert failed.last == ("error building image: error building stage: failed to execute command: downloading remote source file: "
                           "invalid response status 404")


@pytest.mark.parametrize(("dockerfile", "last"), [
    ("FROM BASE\nFROBNICATE x\n", "parsing dockerfile: dockerfile parse error on line 2: unknown instruction: FROBNICATE"),
    ("RUN true\n", "parsing dockerfile: no build stage in current context"),
    ("FROM BASEx\n", ("unable to complete operation after 0 attempts, last error: GET http://{0}/v2/busybox/manifests/1.36x: "
                      "MANIFEST_UNKNOWN: manifest unknown; map[Tag:1.36x]")),
    ("FROM UPPER/case\n", "could not parse reference: UPPER/case"),
    ("FROM BASE\nCOPY --bogus=1 one /\n", "parsing dockerfile: dockerfile parse error on line 2: unknown flag: --bogus"),
], ids=["instruction", "no FROM", "base", "name", "flag"])
def test_a_failure_before_the_first_instruction(executor: Executor, dockerfile: str, last: str) -> None:
    done = executor.run(dockerfile)
    assert (done.code, done.last) == (1, f"error building image: {last.format(executor.address)}")


def test_a_target_that_is_none(executor: Executor) -> None:
    done = executor.run("FROM BASE\n", "--target=none")
    assert (done.code, done.last) == (1, 'error building image: error finding target stage: "none" is not a valid target build stage')


@pytest.mark.parametrize(("flags", "last"), [
    (["--nope"], "unknown flag: --nope"),
    (["--no-push", "--dockerfile=None"],
     "error resolving dockerfile path: please provide a valid path to a Dockerfile within the build context with --dockerfile"),
    ([], "you must provide --destination, or use --no-push"),
], ids=["flag", "Dockerfile", "destination"])
def test_a_wrong_command_line_is_told_with_the_usage(executor: Executor, flags: list[str], last: str) -> None:
    done = executor.run("FROM BASE\n", command=["--log-format=json", *flags])
    told = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert (done.code, told) == (1, [f"Error: {last}"])
    assert "\nUsage:\n  executor [flags]\n" in done.err


def test_a_registry_that_is_not_there_is_told_before_anything_is_built(executor: Executor) -> None:
    nobody = executor.address.partition(":")[0] + ":1"
    done = executor.run("FROM BASE\nRUN true\n", to=f"{nobody}/web:1")
    refused = f"dial tcp {nobody}: connect: connection refused"
    assert done.code == 1
    assert done.last == (f'error checking push permissions: checking push permission for "{nobody}/web:1": creating push check transport '
                         f'for {nobody} failed: Get "https://{nobody}/v2/": {refused}; Get "http://{nobody}/v2/": {refused}')
    assert not any("Building stage" in line for line in done.said)


def test_a_login_is_needed_where_one_is(executor: Executor, docker_api: docker.APIClient, tmp_path: Path) -> None:
    with pods_registry(docker_api, tmp_path / "private", passwords=True) as private:
        denied = executor.run("FROM BASE\nRUN true\n", to=f"{private}/web:1")
        assert denied.code == 1
        assert denied.last == (
            f'error checking push permissions: checking push permission for "{private}/web:1": POST '
            f"http://{private}/v2/web/blobs/uploads/: UNAUTHORIZED: authentication required; "
            "[map[Action:pull Class: Name:web Type:repository] map[Action:push Class: Name:web Type:repository]]")
        late = executor.run("FROM BASE\nRUN true\n", "--skip-push-permission-check", to=f"{private}/web:1")
        assert late.code == 1
        assert late.last == (
            f"error pushing image: failed to push to destination {private}/web:1: HEAD http://{private}/v2/web/manifests/1: "
            "unexpected status code 401 Unauthorized (HEAD responses have no body, use GET for details)")
        login = json.dumps({"auths": {private: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}})
        good = executor.run("FROM BASE\nRUN true\n", to=f"{private}/web:1", more={"kaniko/.docker/config.json": login})
        assert good.code == 0, good.err
        elsewhere = executor.run(f"FROM {private}/{BASE}\n", to=f"{private}/web:2", more={"kaniko/in/config.json": login},
                                 environ={"DOCKER_CONFIG": "/kaniko/in"})
        assert elsewhere.code == 0, elsewhere.err


def test_a_certificate_is_trusted_where_the_executor_is_told_to(executor: Executor, docker_api: docker.APIClient, tmp_path: Path) -> None:
    tls = certificate(tmp_path / "tls", node_address(docker_api))
    with pods_registry(docker_api, tmp_path / "secure", tls=tls) as secure:
        to = f"{secure}/web:1"
        more = {"kaniko/more/ca.crt": tls[0].read_text()}
        unknown = executor.run("FROM BASE\n", to=to)
        assert unknown.code == 1
        assert "tls: failed to verify certificate: x509: certificate signed by unknown authority" in unknown.err
        assert executor.run("FROM BASE\n", "--insecure", to=to).code == 1
        for flags, environ in [(["--skip-tls-verify"], {}), ([f"--skip-tls-verify-registry={secure}"], {}),
                               ([f"--registry-certificate={secure}=/kaniko/more/ca.crt"], {}),
                               ([], {"SSL_CERT_DIR": "/kaniko/ssl/certs:/kaniko/more"})]:
            done = executor.run("FROM BASE\n", *flags, to=to, environ=environ, more=more)
            assert done.code == 0, done.err


def test_proxies_of_the_environment_are_used(executor: Executor, docker_api: docker.APIClient) -> None:
    nobody = free_address(node_address(docker_api))
    proxied = executor.run("FROM BASE\n", environ={"HTTP_PROXY": f"http://{nobody}"})
    assert proxied.code == 1
    assert f"proxyconnect tcp: dial tcp {nobody}: connect: connection refused" in proxied.last
    past = executor.run("FROM BASE\nRUN env\n", "--build-arg=https_proxy=x", "--build-arg=UNKNOWN=y",
                        environ={"http_proxy": f"http://{nobody}", "NO_PROXY": "172.16.0.0/12,10.0.0.0/8,192.168.0.0/16"})
    assert past.code == 0, past.err
    assert set(past.out.split()) == {"SHLVL=1", "PWD=/", "HOME=/root", "https_proxy=x",
                                     "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def test_what_ran_before_comes_from_the_cache(executor: Executor) -> None:
    dockerfile = "FROM BASE\nARG A=1\nENV B=2\nWORKDIR /\nRUN echo ran && date +%s >/when\nCOPY one /\n"
    flags = ["--cache=true", f"--cache-repo={executor.address}/cache-{secrets.token_hex(4)}"]
    first = executor.run(dockerfile, *flags)
    assert (first.code, first.out) == (0, "ran\n"), first.err
    assert "No cached layer found for cmd WORKDIR /" in first.said      # nothing is looked for behind what is missing
    assert not any(line.startswith("No cached layer found for cmd RUN") for line in first.said)
    assert any(re.fullmatch(rf"Pushing layer {flags[1].partition('=')[2]}:[0-9a-f]{{64}} to cache now", line) for line in first.said)
    second = executor.run(dockerfile, *flags, files=CONTEXT | {"one": "other\n"})
    assert (second.code, second.out) == (0, ""), second.err
    assert any(line.startswith("Using caching version of cmd: RUN echo ran") for line in second.said)
    assert "when" in executor.pushed().names(-2)     # RUN's, before COPY's
    assert executor.run(dockerfile.replace("echo ran", "echo anew"), *flags).out == "anew\n"
    expired = executor.run(dockerfile, *flags, "--cache-ttl=1ms")
    assert (expired.code, expired.out) == (0, "ran\n"), expired.err


def test_a_cache_that_cannot_be_written_is_a_warning(executor: Executor) -> None:
    done = executor.run("FROM BASE\nRUN true >/x\n", "--cache", f"--cache-repo={executor.address.partition(':')[0]}:1/cache")
    assert done.code == 0
    assert any(line.startswith("Error uploading layer to cache: ") for line in done.said)


def test_stages_take_from_each_other_and_only_those_that_are_needed_are_built(executor: Executor) -> None:
    done = executor.run("FROM BASE AS tools\nRUN mkdir /made && echo tool >/made/tool\nFROM BASE AS unused\nRUN echo unused\n"
                        "FROM BASE AS final\nCOPY --from=tools --chown=5:6 /made /made\nRUN ls -n /made/tool\n"
                        "FROM final AS more\nRUN echo more\n", "--target=final")
    assert done.code == 0, done.err
    assert done.out.split()[2:4] == ["5", "6"]
    assert "unused" not in done.out + done.err.replace("AS unused", "")
    assert set(executor.pushed().names(1)) == {"made", "made/tool"}


@pytest.fixture
def clone(executor: Executor, docker_api: docker.APIClient, tmp_path: Path) -> Iterator[Callable[..., Done]]:
    """Builds from a repository with two commits, of which the first is ``FIRST``. Its server asks for a login."""
    dockerfile = f"FROM {executor.address}/{BASE}\nCOPY one /\nRUN cat /one\n"
    first = commit(tmp_path / "app", {"sub/Dockerfile": dockerfile, "sub/one": "first\n"})
    commit(tmp_path / "app", {"sub/one": "second\n"})
    login = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    with served(tmp_path, node_address(docker_api), login) as server:
        def build(reference: str, path: str = "app", password: str = PASSWORD) -> Done:
            context = f"git://{server}/{path}{reference.replace('FIRST', first)}"
            return executor.run("", f"--context={context}", "--context-sub-path=sub", "--dockerfile=Dockerfile", "--no-push",
                                environ={"GIT_PULL_METHOD": "http", "GIT_USERNAME": USER, "GIT_PASSWORD": password},
                                dockerfile_at="elsewhere")

        yield build


def test_a_context_from_git(clone: Callable[..., Done], tmp_path: Path) -> None:
    assert clone("").out.endswith("\nsecond\n")
    assert clone("#refs/heads/main").out.endswith("\nsecond\n")
    assert clone("#refs/heads/main#FIRST").out.endswith("\nfirst\n")
    # servers such as GitHub give every commit, Git's own only if it is told to
    subprocess.run(["git", "-C", tmp_path / "app", "config", "uploadpack.allowAnySHA1InWant", "true"], check=True)
    assert clone("#FIRST").out.endswith("\nfirst\n")


@pytest.mark.parametrize(("reference", "path", "password", "why"), [
    ("#refs/heads/none", "app", PASSWORD, "reference not found"),
    ("", "none", PASSWORD, "repository not found"),
    ("", "app", "wrong", "authentication required"),
    ("#FIRST", "app", PASSWORD, "server does not support exact SHA1 refspec"),
])
def test_a_context_that_cannot_be_cloned(clone: Callable[..., Done], reference: str, path: str, password: str, why: str) -> None:
    done = clone(reference, path, password)
    told = [line.rstrip(": ") for line in done.err.splitlines() if line.startswith("Error: ")]
    assert (done.code, told) == (1, [f"Error: error resolving source context: {why}"])


def test_the_next_build_in_a_container_finds_what_the_last_has_left_unless_it_is_told_to_clean(executor: Executor) -> None:
    done = executor.run_shell(f"""
        for flags in "" "" "--pre-cleanup --cleanup" "--pre-cleanup --cleanup"; do
          /kaniko/executor --destination={executor.address}/web:1 $flags >/workspace/out 2>/workspace/err
          echo "$?" $($b cat /workspace/out) $($b ls /)
        done
        """, "FROM BASE\nRUN ls /left 2>/dev/null || echo none; echo >/left\n")
    first, second, *cleaned = [line.split() for line in done.out.splitlines()]
    assert first[:2] == ["0", "none"]
    assert second[:2] == ["0", "/left"]
    assert {"bin", "left"} <= set(second)
    assert cleaned == [["0", "none", "dev", "etc", "kaniko", "proc", "sys", "tmp", "workspace"]] * 2


def test_the_image_has_no_shell(executor: Executor) -> None:
    for name in ("/bin/sh", "/busybox/sh", "sh"):
        with pytest.raises(docker.errors.APIError, match=r"no such file or directory|not found"):
            executor.start(name)

"""Where the build's files are, and which of them are left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from . import log
from .flags import Flags, UsageError
from .transport import Tls, TransportError, basic, send

UNPACKED = Path("/kaniko/buildcontext")
TOOLS = "/kaniko/git"
TOLD = "error resolving source context:"


def locate(flags: Flags) -> Path:
    """The context's directory; an archive, or a repository, is unpacked."""
    given = flags.text["context"]
    scheme, separator, rest = given.partition("://")
    if not separator:
        return Path(given)
    if scheme == "dir":
        found = Path(rest)
    elif scheme == "tar":
        found = _archive(rest)
    elif scheme == "git":
        found = _clone(rest, flags)
    else:
        raise UsageError(f"{TOLD} unknown build context prefix provided, please use one of the following: {given}")
    return found / flags.text["context-sub-path"]


def _archive(path: str) -> Path:
    if path == "stdin":
        log.info("To simulate EOF and exit, press 'Ctrl+D'")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(None if path == "stdin" else path, "r|gz", sys.stdin.buffer if path == "stdin" else None) as tar:
            tar.extractall(UNPACKED)
    except (EOFError, tarfile.ReadError):
        raise UsageError(f"{TOLD} unexpected EOF") from None
    except OSError as error:
        raise UsageError(f"{TOLD} {error}") from None
    return UNPACKED


def _clone(where: str, flags: Flags) -> Path:
    address, _, reference = where.partition("#")
    reference, _, commit = reference.partition("#")
    user, password = os.environ.get("GIT_USERNAME", ""), os.environ.get("GIT_PASSWORD", "")
    if token := os.environ.get("GIT_TOKEN"):
        user, password = token, ""
    method = os.environ.get("GIT_PULL_METHOD", "https")
    known = _known(f"{method}://{address}", user, password)
    settings = dict(item.partition("=")[::2] for item in flags.many["git"])
    alone = re.fullmatch(r"[0-9a-f]{40}", reference)
    branch = settings.get("branch") or ("" if alone else re.sub("^refs/(heads|tags)/", "", reference))
    options = [f"--branch={branch}"] if branch else []
    options += [f"--depth={settings['depth']}"] if settings.get("depth", "0") != "0" else []
    options += ["--single-branch"] if settings.get("single-branch") == "true" else ["--no-single-branch"]
    options += ["--recurse-submodules"] if settings.get("recurse-submodules") == "true" else []
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    _git("clone", "--progress", "--template=", *options, f"{method}://{login}{address}", str(UNPACKED), password=password or user)
    if alone:
        if b"-sha1-in-want" not in known:
            raise UsageError(f"{TOLD} server does not support exact SHA1 refspec")
        commit = commit or reference
        _git("-C", str(UNPACKED), "fetch", "origin", reference, password=password or user)
    if commit:
        _git("-C", str(UNPACKED), "checkout", "--detach", commit, password=password or user)
    return UNPACKED


def _known(url: str, user: str, password: str) -> bytes:
    """What the server says of the repository, and of what it can do."""
    try:
        headers = {"Authorization": basic(user, password)} if user else {}
        reply = send("GET", f"{url}/info/refs?service=git-upload-pack", headers=headers, tls=Tls())
    except TransportError as error:
        raise UsageError(f"{TOLD} {error}") from None
    if reply.status != 200:
        raise UsageError(TOLD + {401: " authentication required: ", 404: " repository not found: "}.get(reply.status, f" {reply.reason}"))
    return reply.body


def _git(*arguments: str, password: str) -> None:
    environ = os.environ | {"GIT_EXEC_PATH": TOOLS, "GIT_TERMINAL_PROMPT": "0", "HOME": "/kaniko", "GIT_CONFIG_NOSYSTEM": "1",
                            "GIT_SSL_CAINFO": "/kaniko/ssl/certs/ca-certificates.crt"}
    done = subprocess.run([f"{TOOLS}/git", *arguments], env=environ, capture_output=True, text=True, check=False)
    told = done.stderr.replace(password, "***") if password else done.stderr
    if done.returncode:
        why = next((line for line in told.splitlines() if line.startswith(("fatal:", "error:"))), told.strip())
        raise UsageError(f"{TOLD} {'reference not found' if 'Remote branch' in why else why}")
    sys.stdout.write(told)
    sys.stdout.flush()


class Excluded:
    """What .dockerignore, or the Dockerfile's own, leaves out of the context."""

    def __init__(self, root: Path, dockerfile: Path) -> None:
        self._root = root
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for file in (Path(f"{dockerfile}.dockerignore"), root / ".dockerignore"):
            if file.is_file():
                log.info(f"Using dockerignore file: {file}")
                self._rules = [_rule(line) for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
                return

    def has(self, path: str) -> bool:
        try:
            relative = str(Path(path).relative_to(self._root))
        except ValueError:
            return False                            # a file of an earlier stage
        excluded = False
        for keeps, pattern in self._rules:
            if pattern.fullmatch(relative):
                excluded = not keeps
        return excluded

    def sources(self, path: str) -> Iterable[str]:
        """Of a directory: all that is copied, a directory before what is in it."""
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if not self.has(entry.path):
                    yield entry.path
                if entry.is_dir(follow_symlinks=False):
                    yield from self.sources(entry.path)


def _rule(line: str) -> tuple[bool, re.Pattern[str]]:
    keeps = line.strip().startswith("!")
    pattern = os.path.normpath(line.strip().removeprefix("!").strip()).lstrip("/")
    translated = ""
    for part in re.findall(r"\*\*/?|\*|\?|\[[^]]*\]|\\.|.", pattern):
        plain = part if part[0] == "[" else re.escape(part[-1])
        translated += {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(part, plain)
    return keeps, re.compile(translated + "(?:/.*)?", re.DOTALL)

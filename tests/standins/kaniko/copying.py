"""COPY and ADD: what they take from the context, from an earlier stage or from the web, and where they put it."""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
import tarfile
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from . import filesystem, log
from .context import Excluded
from .dockerfile import Instruction
from .filesystem import Ignored
from .state import State
from .transport import Tls, TransportError, send
from .users import owner

DEPS = "/kaniko/deps"


class CopyError(Exception):
    pass


@dataclass
class Copy:
    """One COPY or ADD."""

    instruction: Instruction
    context: Path
    excluded: Excluded
    ignored: Ignored

    @property
    def root(self) -> str:
        origin = self.instruction.flag("from")
        return os.path.join(DEPS, origin) if origin else str(self.context)

    def sources(self, state: State) -> list[str]:
        """Their paths below `root`, without what comes from the web. Raises CopyError for one that is not there."""
        *words, destination = [state.expand(word) for word in self._words()]
        given = [word for word in words if not self._remote(word)]
        if not any(set("*?[") & set(word) for word in given):
            found = [os.path.normpath(word).lstrip("/") if word != "/" else "." for word in given]
            if len(words) > 1 and not self._is_directory(destination):
                raise CopyError("when specifying multiple sources in a COPY command, destination must be a directory and end in '/'")
        else:
            log.info(f"Resolving srcs [{' '.join(given)}]...")
            there = [os.path.relpath(path, self.root) for path in _all(self.root)]
            found = [path for word in given for path in there if _matches(path, word)]
        for path in found:
            full = os.path.join(self.root, path) if path != "." else self.root
            if not os.path.lexists(full):
                what = f"failed to get fileinfo for {full}" if len(found) == 1 else "failed to get relative files"
                raise CopyError(f"{what}: lstat {full}: no such file or directory")
        return found

    def run(self, state: State) -> list[str] | None:
        """What it put where; None: nothing."""
        sources = self.sources(state)
        whose = "" if self.instruction.flag("from") else state.config.get("User", "")
        self._uid, self._gid = owner(self.instruction.flag("chown") or whose)
        chmod = self.instruction.flag("chmod")
        self._mode = int(chmod, 8) if chmod else None
        *words, destination = [state.expand(word) for word in self._words()]
        written = [self._fetched(word, self._target(state, destination, os.path.basename(urlsplit(word).path)))
                   for word in words if self._remote(word)]
        for path in sources:
            full = os.path.normpath(os.path.join(self.root, path))
            if self.instruction.name == "ADD" and os.path.isfile(full) and tarfile.is_tarfile(full):
                there = os.path.join(state.config.get("WorkingDir") or "/", destination)
                log.info(f"Unpacking local tar archive {path} to {there}")
                written += filesystem.unpack(Path(full), self.ignored, there)
            elif os.path.isdir(full) and not os.path.islink(full):
                target = os.path.normpath(os.path.join(state.config.get("WorkingDir") or "/", destination))
                written += self._directory(full, target)
            elif not self.excluded.has(full):
                written += self._file(full, self._target(state, destination, os.path.basename(full)))
        for name, text in self.instruction.heredocs:
            written += self._text(text, self._target(state, destination, name))
        return written or None

    def _words(self) -> list[str]:
        named = {name for name, _ in self.instruction.heredocs}
        return [word for word in self.instruction.words if word.lstrip("<-").strip("'\"") not in named or not word.startswith("<<")]

    def _remote(self, word: str) -> bool:
        return self.instruction.name == "ADD" and word.startswith(("http://", "https://"))

    def _fetched(self, url: str, target: str) -> str:
        log.info(f"Adding remote URL {url} to {target}")
        for _ in range(10):
            try:
                reply = send("GET", url, headers={}, tls=Tls())
            except TransportError as error:
                raise CopyError(f"downloading remote source file: {error}") from None
            if reply.status not in (301, 302, 303, 307, 308):
                break
            url = urljoin(url, reply.headers["Location"])
        if reply.status >= 400:
            raise CopyError(f"downloading remote source file: invalid response status {reply.status}")
        self._parents(target)
        Path(target).write_bytes(reply.body)
        self._own(target, self._mode if self._mode is not None else 0o600)
        if changed := reply.headers["Last-Modified"]:
            moment = parsedate_to_datetime(changed).timestamp()
            os.utime(target, (moment, moment))
        return target

    def _is_directory(self, destination: str) -> bool:
        return destination.endswith("/") or destination in (".", "./") or os.path.isdir(destination)

    def _target(self, state: State, destination: str, name: str) -> str:
        full = os.path.join(state.config.get("WorkingDir") or "/", destination)
        return os.path.normpath(os.path.join(full, name) if self._is_directory(full) or destination.endswith((".", "/")) else full)

    def _directory(self, source: str, target: str) -> list[str]:
        made = self._parents(os.path.join(target, "x"))
        written = [target]
        for path in self.excluded.sources(source):
            there = os.path.join(target, os.path.relpath(path, source))
            if self.ignored.has(there):
                continue
            written.append(there)
            if os.path.isdir(path) and not os.path.islink(path):
                made += self._parents(os.path.join(there, "x"))
                self._own(there, self._mode if self._mode is not None else stat.S_IMODE(os.stat(path).st_mode))
            else:
                written += self._file(path, there)
        for there in written:
            path = os.path.normpath(os.path.join(source, os.path.relpath(there, target)))
            if os.path.isdir(there) and os.path.isdir(path) and there not in made:
                shutil.copystat(path, there, follow_symlinks=False)
        return written

    def _file(self, source: str, target: str) -> list[str]:
        if target.startswith(filesystem.KANIKO + "/"):
            log.warning(f"Skipping copy targeting kaniko directory: {target}")
            log.info("Writes to the kaniko directory are blocked to prevent overwriting the executor.")
            return []
        self._parents(target)
        if os.path.islink(source) or os.path.islink(target):
            filesystem.remove(target)
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
            return [target]
        shutil.copyfile(source, target)
        self._own(target, self._mode if self._mode is not None else stat.S_IMODE(os.stat(source).st_mode))
        status = os.stat(source)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        return [target]

    def _text(self, text: str, target: str) -> list[str]:
        self._parents(target)
        Path(target).write_text(text)
        self._own(target, self._mode if self._mode is not None else 0o644)
        return [target]

    def _parents(self, path: str) -> list[str]:
        """The directories above that were not there."""
        made = []
        above = os.path.dirname(path)
        while not os.path.isdir(above):
            made.append(above)
            above = os.path.dirname(above)
        for directory in reversed(made):
            os.mkdir(directory)
            self._own(directory, 0o755)
        return made

    def _own(self, path: str, mode: int) -> None:
        os.chown(path, self._uid, self._gid)
        os.chmod(path, mode)


def _all(root: str) -> list[str]:
    return [os.path.join(directory, name) for directory, directories, files in os.walk(root) for name in (*directories, *files)]


def _matches(path: str, word: str) -> bool:
    pattern = os.path.normpath(word).lstrip("/")
    return path.count("/") == pattern.count("/") and all(map(fnmatch.fnmatchcase, path.split("/"), pattern.split("/")))

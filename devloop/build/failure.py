"""A failed build as one error: which instruction of which Dockerfile, why, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from devloop.build.builder import BuildJob
from devloop.errors import BuildError

INSTALL_BUILDX = ("Install docker buildx: the package docker-buildx-plugin (Docker's own) or docker-buildx (Debian's, Ubuntu's), "
                  "elsewhere see https://docs.docker.com/go/buildx/.")

_EXIT = re.compile(r"(?:(?:returned a non-zero code|exit code):|while running runtime: exit status) (\d+)\s*$")
_PARSE = re.compile(r"dockerfile parse error(?: on)? line (\d+): (.*)", re.DOTALL)
_WRAPPING = re.compile(r"(?:(?:ERROR|failed to solve(?: with frontend [\w.]+)?|failed to create LLB definition|failed to compute cache key"
                       r"|failed to create shim task|OCI runtime create failed|runc create failed|unable to start container process"
                       r"|COPY failed|ADD failed|building at STEP \"[^\"]*\"|Build error): |rpc error: code = \w+ desc = )+")


class Advice(NamedTuple):
    """What to do. For `pattern` in the message or the step's output; `instructions` empty: whatever the instruction."""

    pattern: str
    hint: str
    instructions: tuple[str, ...] = ()


FULL = r"no space left on device|disk quota exceeded"
FOREIGN = r"exec format error|cannot execute binary file"
NO_NETWORK = (r"no such host|bad address|could not resolve|name resolution|i/o timeout|tls handshake|network is unreachable|proxyconnect"
              r"|connection refused|timed out|client\.timeout|unable to resolve|could not connect")

_ENGINES = (   # the surest first
    Advice(FULL,
           "A disk is full: 'docker system df' shows what the Engine keeps, 'docker system prune' removes what nothing uses."),
    Advice(FOREIGN,
           "A program in the image is made for another platform than the Engine's: choose a base image that has the Engine's, or set "
           "docker.platform and let the Engine emulate that one."),
    Advice(r"does not match the \w+ platform|no match for platform|no matching manifest",
           "The base image does not exist for this platform: see docker.platform in devloop.yaml, or choose another base image."),
    Advice(r"toomanyrequests|pull rate limit", "Docker Hub limits anonymous pulls: docker login."),
    Advice(r"access denied|repository does not exist|unauthorized|authentication required|denied:|credentials|insufficient_scope",
           "Is the image's name right? If the image is private: docker login{registry}.", ("FROM", "COPY")),
    Advice(r"manifest unknown|manifest for .* not found|\S+:\S+: not found$", "Is there an image with this name and tag?", ("FROM",)),
    Advice(r"requires buildkit", INSTALL_BUILDX),
    Advice(r"invalid response status|https?://.*not found", "Is the address right, and does it ask for no login?", ("ADD",)),
    Advice(r"not found|no such file|does not exist|no source files",
           "Sources are paths below {context}. Is it written as on disk, capitals included, and not excluded by the ignore file?",
           ("COPY", "ADD")),
    Advice(NO_NETWORK,
           "The network did not answer. Behind a proxy: RUN steps take it from 'proxies' in ~/.docker/config.json, pulls from the "
           "Engine's own settings."),
    Advice(r"(exit|non-zero) code: 137", "It was killed: most likely it ran out of memory.", ("RUN",)),
    Advice(r"(exit|non-zero) code: 126|permission denied", "Is the file executable (chmod +x), and may this USER run it?", ("RUN",)),
    Advice(r"(exit|non-zero) code: 127|executable file not found|command not found",
           "A command is missing in the image at this point: install it in an earlier step, or mend its name. A script with Windows line "
           "ends (CRLF) gives the same error.", ("RUN",)),
)


def failure(job: BuildJob, said: str, *, step: str = "", output: Sequence[str] = (), advice: Sequence[Advice] = ()) -> BuildError:
    """`said` is the builder's own message; `step` the line that announced the failing step (``Step 3/7 : RUN …``,
    ``[build 2/5] COPY …``), empty where none had begun; `output` the last lines of that step; `advice` what is surer than
    what is told of an Engine."""
    instruction = _instruction(step)
    parse = _PARSE.search(said)
    line = int(parse[1]) if parse else job.context.step_line(step) if step else None
    what = f"{_path(job.context.dockerfile)}:{line}" if line else _path(job.context.dockerfile)
    if instruction:
        what += f": {instruction if len(instruction) <= 100 else instruction[:99] + '…'}"
    code = _EXIT.search(said)
    why = f"ended with exit code {code[1]}" if code else "failed: " + _plain(parse[2] if parse else said)
    hint = _hint((*advice, *_ENGINES), instruction, "\n".join((said, *output)), job)
    return BuildError(f"{job.artifact.image}: {what} {why}", hint=hint, details=tuple(output))


def _instruction(step: str) -> str:
    """``Step 3/7 : RUN true`` and ``[build 2/5] RUN true`` → ``RUN true``."""
    return re.sub(r"^(?:Step \d+/\d+ : |\[[^\]]*\] (?!STEP)|(?:\[[^\]]*\] )?STEP \d+/\d+: )", "", step)


def _plain(said: str) -> str:
    return said[match.end():] if (match := _WRAPPING.match(said)) else said


def _hint(known: Sequence[Advice], instruction: str, text: str, job: BuildJob) -> str:
    keyword = instruction.partition(" ")[0].upper()
    for advice in known:
        if (not advice.instructions or keyword in advice.instructions) and re.search(advice.pattern, text, re.IGNORECASE | re.MULTILINE):
            return advice.hint.format(registry=_registry(instruction, text), context=job.context.name)
    return ""


def _registry(instruction: str, text: str) -> str:
    """`` HOST`` of the registry that refused; empty for Docker Hub, which docker login takes by itself."""
    found = re.search(r"https?://([^/\s\"]+)/v2/", text) or re.search(r"\s((?:[\w-]+\.)+[\w-]+(?::\d+)?|[\w-]+:\d+)/\S", instruction)
    return f" {found[1]}" if found and not found[1].endswith("docker.io") else ""


def _path(path: Path) -> str:
    """As the user would write it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(path)

"""docs/configuration.md, generated from the models."""

from __future__ import annotations

import json
import re
from typing import Any

from devloop.config.models import File, Model
from devloop.config.shapes import Shape, fields, places

INTRODUCTION = """\
# devloop.yaml

*Generated from `devloop/config/models.py`: change it there, then run `python -m devloop.config.schema`.*

devloop reads `devloop.yaml` in the current directory, or the file given with `-f`. Paths in it are relative to that file.

```yaml
{example}```

For completion and checks in an editor begin the file with a line that points to the schema, which `devloop schema` prints:

```yaml
# yaml-language-server: $schema=devloop.schema.json
```

## Variables

`${VAR}` in a value is replaced from the environment; where it is not set, that is an error. `${VAR:-default}` takes the default where
the variable is not set or empty. `$$` is a plain `$`. Keys are left as they are. It works for numbers too: `localPort: ${PORT:-8080}`.

## Profiles

A profile is a variant of the file, chosen with `-p NAME`. Several are merged in the order of the flags, the later one wins:

```yaml
{profile}```

- Maps are merged deeply.
- Short forms count as the map they stand for: `publish: registry` in a profile keeps `publish.registry`.
- `artifacts` and `requires` are merged item by item, by `image`; `portForward` by `resource` and `port`; `imagePaths` by `kind`.
  New items are appended.
- Other lists and plain values are replaced. An empty value (`namespace:`) goes back to the default.
- `devloop config view -p NAME` shows the outcome, and where each value came from.

## Logging in to registries

devloop uses what `docker login` has stored: docker's `config.json`, its `credHelpers` and `credsStore`. Of the helpers only the one for
the registry in question is asked. In CI set `DEVLOOP_REGISTRY_USER` and `DEVLOOP_REGISTRY_PASSWORD` (a password or an access token)
instead: they count for `publish.registry.repository`, before anything that docker knows.

## YAML

- Unknown and duplicate keys are errors. Anchors, aliases and merge keys (`<<`) work.
- Where text is expected, a value that YAML takes for something else has to be quoted: `"1.0"`, `"on"`, `"2024-01-01"`.
  Build arguments and labels are taken as they are written (`PORT: 8080`).
- A key without a value has its default.

## Keys
"""

EXAMPLE = """\
apiVersion: devloop/v1
name: hello
build:
  builder: docker                 # or kaniko, auto: see kaniko.md
  artifacts:
    - image: hello-web            # as it stands in the manifests
      context: web
      docker: {dockerfile: Dockerfile, target: "", buildArgs: {}, labels: {}, platform: "", cacheFrom: [], network: ""}
  tag: inputDigest                # or gitCommit, dateTime, {template: "{{BRANCH}}-{{GIT_SHA}}"}
publish: auto                     # or kind, k3d …, {mode: registry, registry: {repository: ghcr.io/acme}}
deploy:
  manifests: [k8s/*.yaml]         # files, globs, directories
  namespace: ""                   # default: the context's
  kubeContext: ""
  rolloutTimeout: 10m
portForward:
  - {resource: service/hello, port: http, localPort: 8080, address: 127.0.0.1}
logs: {since: start, exclude: []}
"""

PROFILE = """\
profiles:
  - name: debug
    build:
      artifacts:
        - image: hello-web
          docker: {target: debug, buildArgs: {LOG_LEVEL: debug}}
    portForward:
      - {resource: service/hello, port: http, localPort: 9090}
"""


def text() -> str:
    """The whole document."""
    first: dict[type[Model], str] = {}  # where a model stands first
    for place, model in places(File):
        first.setdefault(model, place)
    top = ["", *fields(File)]
    in_order = sorted(first.items(), key=lambda item: top.index(re.split(r"\W", item[1])[0]))
    sections = [_section(place, model) for model, place in in_order]
    return INTRODUCTION.replace("{example}", EXAMPLE).replace("{profile}", PROFILE) + "\n" + "\n".join(sections)


def _section(place: str, model: type[Model]) -> str:
    title = f"### `{place}`" if place else "### The top level"
    defaults = {info.alias or name: info.get_default() for name, info in model.model_fields.items() if not info.is_required()}
    rows = [f"| `{key}` | {_cell(_form(entry.shape))} | {_default(defaults[key]) if key in defaults else '*required*'} "
            f"| {_cell(entry.description)} |" for key, entry in fields(model).items()]
    return "\n".join([title, "", model.__doc__ or "", "", "| Key | Expected | Default | |", "|---|---|---|---|", *rows, ""])


def _form(shape: Shape) -> str:
    """As error messages say it, but with what is in a list, and without the keys that the other tables list."""
    if shape.items:
        return f"list of {'maps' if shape.items.model else 'text'}"
    if shape.model and not shape.literals:
        return "map"
    return shape.expected


def _default(value: Any) -> str:
    if isinstance(value, Model):
        return ""
    return f"`{json.dumps(value) if not isinstance(value, str) or not value else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")

"""`make demo`: runs the example once, shows what its port answers, and takes all of it away again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

DEVLOOP = Path(sys.executable).with_name("devloop")
EXAMPLE = Path(__file__).with_name("hello")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run() -> int:
    """`devloop run --port-forward` until it is live and has answered, then Ctrl-C. 0 where all of that came to pass."""
    say(f"$ cd {EXAMPLE.relative_to(Path.cwd())} && devloop run --port-forward")
    answered = False
    link = ""
    with subprocess.Popen([DEVLOOP, "run", "--port-forward"], cwd=EXAMPLE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            say(line.rstrip())
            link = link or "".join(re.findall(r"http://localhost:\d+", line))
            if " live in " in line and not answered:
                answered = show(link) and show(f"{link}/cgi-bin/status")
                process.send_signal(signal.SIGINT)
    return 0 if answered else process.returncode or 1


def show(url: str) -> bool:
    say(f"\n$ curl {url}")
    with urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    say(text)
    return bool(text)


def delete() -> int:
    say("$ devloop delete")
    return subprocess.run([DEVLOOP, "delete"], cwd=EXAMPLE, check=False).returncode


if __name__ == "__main__":
    try:
        code = run()
    finally:
        left = delete()
    sys.exit(code or left)

"""`make demo`: runs the example on the Docker Engine alone, shows what its port answers, and takes all of it away again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

DEVLOOP = Path(sys.executable).with_name("devloop")
EXAMPLE = Path(__file__).with_name("hello")
COMMAND = ("run", "--local", "--port-forward")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run() -> int:
    """Until it is live and has answered, then Ctrl-C, which removes it. 0 where all of that came to pass."""
    say(f"$ cd {EXAMPLE.relative_to(Path.cwd())} && devloop {' '.join(COMMAND)}")
    answered = False
    link = ""
    with subprocess.Popen([DEVLOOP, *COMMAND], cwd=EXAMPLE, stdout=subprocess.PIPE, text=True) as process:
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


if __name__ == "__main__":
    sys.exit(run())

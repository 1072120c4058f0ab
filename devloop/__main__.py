"""`devloop`, and `python -m devloop`."""

import os
import signal


def main() -> None:
    """The console script. What is heard before the command is there to hear it ends the process: nothing was begun."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, lambda *_: os._exit(130))
    from devloop.cli import main

    main()


if __name__ == "__main__":
    main()

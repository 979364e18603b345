"""JupyterLab as the course starts it: with the reader's copies laid, the lessons signed, and
one line at the end that says where it is and how to stop it.

`python3 course.py lab` hands over to this file, with JupyterLab's own arguments.
"""

import errno
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVERYWHERE = ("", "0.0.0.0", "::")  # addresses that stand for all of a machine's


def prepare(arguments: list[str]) -> bool:
    """Lay the reader's copies and sign the lessons; False where what is to be opened can't be
    there.
    """
    from tools import my_lessons

    try:
        newer = my_lessons.copy_lessons(ROOT)
    except OSError as error:
        print(my_lessons.unwritable(error), file=sys.stderr)
        if any("default_url=/lab/tree/my/" in argument for argument in arguments):
            return False
        newer = []
    for name in newer:
        print(
            f"The course has a newer {name} than your my/{name}, which is left as it is: "
            f"`python3 course.py reset {name.split('_')[0]}` takes the new one, and keeps "
            f"yours in my/before/."
        )
    try:
        my_lessons.sign(ROOT)
    except Exception as error:  # a database that is locked or damaged: all else works
        print(f"The lessons could not be signed ({error}): run a cell to see it move.")
    return True


def ask_for_nothing() -> None:
    """Let JupyterLab open without its question about news, which `--LabApp.news_url` doesn't
    take away: by defaults of ours, before which goes what the reader has set.
    """
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    paths = [str(ROOT / "tools" / "jupyter"), *([before] if before else [])]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(paths)


def kernels_in_private() -> list[str]:
    """Arguments by which kernels talk through keys of their own, where they can: without, each
    kernel warns on the terminal, and other users of the machine could listen.
    """
    import zmq
    from jupyter_client import KernelManager

    able = zmq.has("curve") and "transport_encryption" in KernelManager.class_trait_names()
    return ["--KernelManager.transport_encryption=auto"] if able else []


def is_banner(text: str) -> bool:
    """Whether this is Jupyter's own word on where it is, which ours replaces."""
    return "To access the server, " in text


def server_class() -> type:
    """Jupyter's server, with a port that is its own from the moment it is found."""
    from jupyter_server.serverapp import ServerApp
    from tornado.netutil import bind_sockets

    class Server(ServerApp):
        """Jupyter's server that says one line."""

        def _find_http_port(self) -> None:
            # Jupyter lets the port go again until its loop runs, and opens the browser in
            # between: of two that start at once, one ends or both show the same.
            while True:
                super()._find_http_port()
                try:
                    self.held = bind_sockets(self.port, self.ip)
                    return
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise

        def _bind_http_server_tcp(self) -> bool:
            self.http_server.add_sockets(self.held)
            return True

        def start_app(self) -> None:
            self.log.addFilter(lambda record: not is_banner(record.getMessage()))
            super().start_app()
            print(self.one_line(), flush=True)

        def one_line(self) -> str:
            """Where it is and how to stop it."""
            if self.sock:
                return f"JupyterLab listens on {self.sock}. {how_to_stop()}"
            far = ""
            if self.ip in EVERYWHERE:
                far = " (from other machines: this one's name in place of 127.0.0.1)"
            url = self.local_url if self.ip in EVERYWHERE else self.public_url
            return f"\nJupyterLab is at {url}{far}\n{how_to_stop()}"

    return Server


def how_to_stop() -> str:
    """The last line, which stays on the terminal."""
    twice = " twice" if sys.stdin and sys.stdin.isatty() else ""
    return f"Leave this window open while you work; Ctrl+C{twice} in it ends JupyterLab."


def main(arguments: list[str]) -> int:
    """Prepare and run JupyterLab to its end."""
    try:
        if not prepare(arguments):
            return 1
        ask_for_nothing()
        from jupyterlab.labapp import LabApp

        LabApp.serverapp_class = server_class()
        # its warnings speak to those who write extensions
        logging.captureWarnings(True)
        LabApp.launch_instance([*kernels_in_private(), *arguments])
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"JupyterLab can't start: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    sys.exit(main(sys.argv[1:]))

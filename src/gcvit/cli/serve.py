"""`gcvit serve MODEL`: a model behind HTTP, for programs and for a person who looks at pictures with it."""

import signal
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional

from gcvit.cli.arguments import ReadsPictures, checked, leading, open_to_answer
from gcvit.cli.output import complain, facts, say
from gcvit.engine.fields import Range
from gcvit.engine.settings import Precision
from gcvit.errors import UserError
from gcvit.shell import install
from gcvit.weights.resolve import resolve

ENDING = 30  # seconds in which what is under way at SIGTERM may be answered


@dataclass(frozen=True)
class Serve(ReadsPictures):
    """Put a model behind HTTP: POST pictures to /predict, or open the page in a browser.

    It answers this machine alone unless --host says otherwise. Ctrl-C or SIGTERM ends it, after what is under way.
    """

    model: Positional[str]
    """a run's folder (its best weights), a model's folder, a checkpoint file, a file of `gcvit export`, or a model's
    name (its published weights are fetched)"""
    host: str = "127.0.0.1"
    """the address to listen at; 0.0.0.0 is every one: whoever reaches this machine may then use the model"""
    port: Annotated[int, Range(0, 65_535)] = 8000
    """0: any that is free"""
    names: tuple[str, ...] = ()
    """other names by which browsers and programs call this machine, such as gpu3.example.org; none but its address and
    localhost are answered"""
    max_upload: Annotated[int, Range(1, 2_047)] = 32
    """the largest request, in MiB"""
    page: bool = True
    """whether to offer the page, on which a person sees what the model looks at; exported files have none"""
    at_once: Annotated[int, Range(1, 1_024)] = 8
    """pictures that go through the model together"""
    waiting: Annotated[int, Range(1, 65_536)] = 128
    """pictures that may wait for it; whoever sends more is told to come again"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:1; exported files run on the cpu"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere; exported files compute in what they were exported in"""
    trust_code: bool = False
    """run the code in a .pt2 or .aot.pt2 file: only if you trust whoever made it"""


def run(argv: Sequence[str]) -> None:
    """Serve until a signal comes."""
    read = checked(Serve, "serve", argv, "looks", "telling")
    model = resolve(leading(argv)[0] if read is None else read.model)
    try:
        import uvicorn

        from gcvit.serve.app import LOOPBACK, Draining, Server, make_app
        from gcvit.serve.limits import Limits
    except ImportError as error:
        raise UserError(f"serving needs {error.name}; {install('serve')}") from error

    opened, arguments, how = open_to_answer(Serve, "serve", argv, model)
    server = Server(
        opened,
        Limits(upload=arguments.max_upload * 2**20, at_once=arguments.at_once, waiting=arguments.waiting),
        hosts=(*LOOPBACK, *_names(arguments.host), *arguments.names),
        how=how,
        page=arguments.page,
    )
    with closing(_listening(arguments.host, arguments.port)) as listener:
        _welcome(arguments.model, arguments.host, listener.getsockname()[1], has_page=server.explorer is not None)
        config = uvicorn.Config(
            make_app(server),
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=ENDING,
        )
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn takes them, and raises them once more at its end
            signal.signal(number, lambda *_: None)
        Draining(config).run(sockets=[listener])
    say("ended")


def _names(host: str) -> list[str]:
    """The name in a request's Host header that stands for an address to listen at."""
    if host in ("0.0.0.0", "::"):
        return [socket.gethostname()]
    return [f"[{host}]" if ":" in host else host]


def _listening(host: str, port: int) -> socket.socket:
    """Raises UserError where nobody can listen there."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from error


def _welcome(model: str, host: str, port: int, *, has_page: bool) -> None:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    address = f"http://{shown}:{port}"
    if host not in ("127.0.0.1", "::1", "localhost"):
        complain(f"whoever reaches this machine at {host} may use the model and make it compute")
    page = [("page", f"{address}/")] if has_page else []
    facts([("serving", model), *page, ("answers", f"POST {address}/predict")])
    say("\nNext:")
    say(f"  curl -F image=@photo.jpg {address}/predict")
    say("\nCtrl-C ends it.")

"""Run the bundled Triton server and keep it running: ``python -m parlante.triton --port 8001``.

A server that ends by itself, or that no longer answers, is started again on the same ports, so that
its clients find it. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

from parlante.errors import ParlanteError, Unavailable
from parlante.logs import configure_logging
from parlante.settings import load
from parlante.triton.installation import find_installation
from parlante.triton.server import LOOPBACK, TritonPorts, TritonServer, free_ports
from parlante.triton.tuning import DecoderTuning

__all__ = ["Keeper", "main"]

logger = logging.getLogger(__name__)

POLL_S: Final = 0.2
LIVE_INTERVAL_S: Final = 2.0
LIVE_TIMEOUT_S: Final = 3.0
MAX_DEAF_ANSWERS: Final = 3
MAX_FAILED_STARTS: Final = 5
FRESH_S: Final = 30.0  # one that ends sooner after its start counts as a failed start


class Keeper:
    """Keeps a server running until it is told to stop.

    Args:
        server: What to run; it is stopped at the end.
    """

    def __init__(self, server: TritonServer) -> None:
        self._server = server
        self._is_stopping = False
        self._num_failed = 0

    def stop(self, *_: object) -> None:
        """End soon; may be called by a signal handler."""
        self._is_stopping = True

    def run(self) -> None:
        """Run until `stop`.

        Raises:
            Unavailable: The server does not start, again and again.
        """
        try:
            self._server.launch()
            started_s = time.monotonic()
            while not self._is_stopping:
                if self._ends():
                    self._start_again(time.monotonic() - started_s)
                    started_s = time.monotonic()
        finally:
            self._server.stop()

    def _ends(self) -> bool:
        """Watch for a while; True when the server has ended, or is deaf and was ended."""
        num_deaf = 0
        was_live = False
        while not self._is_stopping:
            until_s = time.monotonic() + LIVE_INTERVAL_S
            while time.monotonic() < until_s and not self._is_stopping:
                if not self._server.is_running:
                    return True
                time.sleep(POLL_S)
            is_live = self._server.is_live(timeout_s=LIVE_TIMEOUT_S)
            was_live = was_live or is_live
            num_deaf = 0 if is_live else num_deaf + 1
            # While it starts it answers nothing, for as long as the models take to load.
            if was_live and num_deaf >= MAX_DEAF_ANSWERS:
                logger.error("the server does not answer any more: starting it again")
                return True
        return False

    def _start_again(self, lived_s: float) -> None:
        self._num_failed = self._num_failed + 1 if lived_s < FRESH_S else 0
        tail = self._server.log_tail()
        if self._num_failed >= MAX_FAILED_STARTS:
            raise Unavailable(
                f"the Triton server ended {self._num_failed} times soon after its start; the end "
                f"of its log: {tail}",
                reason="TRITON_NOT_STARTED",
            )
        logger.error("the server has ended: starting it again", extra={"log": tail[-500:]})
        self._server.stop(grace_s=0.0)
        self._server.launch()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m parlante.triton", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help=f"address (default: {LOOPBACK})")
    parser.add_argument("--port", type=int, default=0, help="gRPC; 0 takes a free one")
    parser.add_argument("--http-port", type=int, default=0, help="HTTP; 0 takes a free one")
    parser.add_argument("--metrics-port", type=int, default=0, help="metrics; 0 takes a free one")
    args = parser.parse_args(argv)
    configure_logging()
    free = free_ports()
    ports = TritonPorts(
        grpc=args.port or free.grpc,
        http=args.http_port or free.http,
        metrics=args.metrics_port or free.metrics,
    )
    try:
        tuning = load(DecoderTuning, [])
        server = TritonServer(find_installation(), ports=ports, host=args.host, tuning=tuning)
        keeper = Keeper(server)

        def on_signal(number: int, frame: FrameType | None) -> None:
            keeper.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        keeper.run()
    except ParlanteError as error:
        print(f"parlante-triton: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

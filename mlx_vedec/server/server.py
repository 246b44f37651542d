"""The server: what listens and what reads, from when it is ready to when it is stopped."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import mlx.core as mx
from PIL import Image

from ..errors import OptionError, as_path
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import check_reader, generate
from ..reading.processor import Processor
from .access import Access
from .corrections import Corrections
from .downloads import fetch
from .limits import Limits
from .listener import Listener
from .service import Service
from .worker import Worker

FAREWELL = 5.0  # seconds that answers have to be sent in, when all is read


class Server:
    """A model and its processor at an address; `run` reads until `stop` is called.

    name -- of the model, in requests and answers. port -- 0 is any that is free. api_keys -- of
    which a request has to name one; none lets all in. cors -- origins whose pages may ask. hosts --
    names that the server is asked by, besides its address and localhost. allow_urls -- whether
    images are downloaded from addresses in requests, public ones only. corrections -- the folder
    that pages corrected in the browser are written to.

    The thread that calls `run` does all computing.
    """

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        processor: Processor,
        *,
        name: str = "default",
        host: str = "127.0.0.1",
        port: int = 8080,
        limits: Limits | None = None,
        api_keys: Sequence[str] = (),
        cors: Sequence[str] = (),
        hosts: Sequence[str] = (),
        allow_urls: bool = False,
        corrections: str | Path | None = None,
    ) -> None:
        check_reader(model, processor)
        mx.eval(model.parameters())  # another thread could not read them
        if not all(key.strip() for key in api_keys):
            raise OptionError("an API key is empty; give one that is not")
        self.limits = limits or Limits()
        self.worker = Worker(model, processor, self.limits.max_batch)
        access = Access([key.strip() for key in api_keys], [host, *hosts], cors)
        download = fetch if allow_urls else None
        kept = None
        if corrections is not None:
            folder = as_path(corrections, "corrections")
            kept = Corrections(folder, processor.line_aspect_ratio)
        self.service = Service(self.worker, name, self.limits, access, download, kept)
        self.listener = Listener(host, port, self.service)
        self.host = host

    @property
    def url(self) -> str:
        """The address that it is asked at."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.listener.port}"

    def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Answer requests; ready -- is called when the first can be."""
        self._warm_up()
        listening = threading.Thread(target=self.listener.serve_forever, args=(0.1,), daemon=True)
        listening.start()
        try:
            ready()
            self.worker.run()
            self.service.wait_until_left(FAREWELL)
        finally:
            self.listener.shutdown()
            self.listener.server_close()
            listening.join()

    def stop(self) -> None:
        """Have `run` return, when all that was taken in is answered or the grace is over."""
        if not self.service.stopping:
            self.service.stopping = True
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        self.service.wait_until_left(self.limits.grace)
        self.worker.stop()

    def _warm_up(self) -> None:
        """Read something, as the first text takes longer."""
        with contextlib.suppress(ValueError):  # some checkpoints need a question
            generate(
                self.worker.model,
                self.worker.processor,
                Image.new("RGB", (384, 32), "white"),
                max_new_tokens=2,
            )

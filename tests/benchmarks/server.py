"""32 clients of a server, which send one line after another, against batch_generate on the lines.

python -m tests.benchmarks.server [--short] [--rounds N] [--blas openblas|blis|none] [--cpu]
                                  [--clients N]

The clients are threads of the same process; with --cpu, their own time is not counted.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from pathlib import Path

from mlx_vedec import batch_generate, load
from mlx_vedec.server.server import Server
from tests.support.serving import CHAT, chat_of, connection_to, serving

from . import ONE_THREAD, clock
from .measure import arguments, in_turn, show_ratio, show_times, timed

LINES = Path(__file__).resolve().parents[1] / "data" / "lines"
MANY, FEW = 256, 64  # lines that are read in a round, the second with --short


def main() -> None:
    """Print the ratio; the texts have to be the same."""
    chosen = arguments(
        __doc__,
        rounds=(7, 3),
        add=lambda parser: parser.add_argument("--clients", type=int, default=32),
    )
    model, processor = load()
    paths = sorted(LINES.glob("*.png"))
    paths = (paths * (MANY // len(paths) + 1))[: FEW if chosen.short else MANY]
    bodies = [json.dumps(chat_of(path)) for path in paths]
    texts: dict[str, list[str]] = {}

    with serving(model, processor) as server:

        def served() -> float:
            start = clock()
            texts["server"], own = ask(server, bodies, chosen.clients)
            return clock() - start - (own if ONE_THREAD else 0.0)

        def direct() -> None:
            texts["batch"] = [result.text for result in batch_generate(model, processor, paths)]

        print(f"{len(paths)} lines, {chosen.clients} clients; {chosen.rounds} rounds")
        sides = {"batch_generate": timed(direct), "server": served}
        times = in_turn(sides, chosen.rounds)
    assert texts["server"] == texts["batch"]
    show_times(times, len(paths))
    show_ratio(times, "server", "batch_generate", target=1.11)  # 0.9 of the lines a second


def ask(server: Server, bodies: list[str], clients: int) -> tuple[list[str], float]:
    """The texts of chats, sent by so many clients at once, each of which takes the next one.

    And the processor time of the clients.
    """
    found, spent = [""] * len(bodies), [0.0] * clients
    places = iter(range(len(bodies)))

    def client(number: int) -> None:
        with closing(connection_to(server)) as connection:
            for place in places:
                connection.request("POST", CHAT, bodies[place])
                answer = json.loads(connection.getresponse().read())
                found[place] = answer["choices"][0]["message"]["content"]
        spent[number] = time.thread_time()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, sum(spent)


if __name__ == "__main__":
    main()

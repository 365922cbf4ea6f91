"""The stack by hand, without Docker: a real Kafka, the real service under load, a real Prometheus with our rules; then
the causes of alerts are made, one by one, and what fires is told.

    python -m tests.observability.stack                   # half an hour; needs KAFKA_HOME, java and prometheus
    python -m tests.observability.stack stands rate_jumps

`--hurry N` divides every time in the rules by N (1 = as they are deployed), and by six times as much where a rule looks
back for hours or a day. Exit code 1 if an alert that should fire did not, or if one fired under healthy load.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.integration.conftest import kafka_home, kafka_of
from tests.observability.causes import ACTS
from tests.observability.staging import Stack


def main() -> int:
    acts = {act.__name__: act for act in ACTS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("acts", nargs="*", choices=[[], *acts], help=f"of {', '.join(acts)}; all if none is named")
    parser.add_argument("--load-s", type=float, default=120.0)
    parser.add_argument("--hurry", type=float, default=10.0)
    chosen = parser.parse_args()
    home = kafka_home()
    if home is None:
        print("needs KAFKA_HOME, a folder with Kafka's libs/, and java on the path", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no process behind
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = kafka_of(home, folder)
        broker.start()
        stack = Stack(folder, broker, chosen.hurry, chosen.load_s)
        try:
            for act in chosen.acts or acts:
                acts[act](stack)
        finally:
            stack.end()
    print("as it should be" if not stack.failed else f"not as it should be: {', '.join(stack.failed)}")
    return 1 if stack.failed else 0


if __name__ == "__main__":
    sys.exit(main())

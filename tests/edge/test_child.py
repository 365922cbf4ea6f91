"""The child ends by itself where nobody else can end it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

from tests.conftest import ROOT

LENGTH = struct.Struct("<Q")
# A child whose watch is a second long. `PyDLL` holds the interpreter's lock as long as the call lasts.
HANGING = """
import ctypes, sys
import stream_balance.edge.child as child
child.HUNG_S = 2.0
def hang(request):
    ctypes.PyDLL(None).sleep(600)
    return b""
sys.modules["hanging"] = sys.modules["__main__"]
child.main(["hanging:hang", "0", "2000", "1", sys.argv[1]])
"""


def test_a_child_that_hangs_with_the_interpreter_locked_ends_itself() -> None:
    arguments = [sys.executable, "-c", HANGING, str(os.getpid())]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdin is not None
        child.stdin.write(LENGTH.pack(1) + b"x")
        child.stdin.flush()  # and stays open: the end of the requests is not what ends it
        assert child.wait(timeout=60) == 1
        assert child.stderr is not None
        assert b"hang" in child.stderr.read()

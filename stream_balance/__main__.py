"""`python -m stream_balance` is `stream-balance`."""

from stream_balance.cli import main

main()

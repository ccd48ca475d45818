"""The road test: real proxies and a hostile one before a real server, and who listens behind them.

    python tests/roads/run.py                    every road for half a minute, and a table
    python tests/roads/run.py --seconds 600      the same for ten minutes
    python tests/roads/run.py --seed 17          the same choices once more

proxies.py runs nginx, HAProxy and Caddy, with the very blocks that docs/proxies.md shows; mischief.py is the
proxy that breaks things, on top of the one in tests/exactness. listeners.py listens with the Python client,
and pages.py with the browser's, in a real Chromium. run.py puts all of them together, and book.py holds what
each was told against what was published.
"""

"""The proof: publishers, subscribers on all four transports, a nemesis, and a checker that decides.

    python tests/exactness/run.py --seconds 300        everything, for five minutes
    python tests/exactness/run.py --seed 17            the same choices once more

chaos_proxy.py breaks connections; lives.py starts, stops, freezes and kills the server; truth.py is the
undisturbed subscriber that says what the log was; publishers.py and subscribers.py log what they were
told; nemesis.py chooses when what breaks; checker.py holds the logs against each other. Nothing here uses
tidings.client or tidings.wire: the harness reads the bytes by itself.
"""

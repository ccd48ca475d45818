"""Real servers of others that tests start: each on a free port, with a folder of its own."""

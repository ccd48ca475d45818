"""What the benches share: the C programs, servers, load, one measurement, comparison in turn, tables."""

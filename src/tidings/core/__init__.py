"""Values and rules. Pure: no event loop, no clock, no chance, no logging."""

"""The scenarios, one module each: what is asked, of whom, and what we aim at."""

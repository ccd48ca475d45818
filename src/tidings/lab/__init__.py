"""The lab: the four transports side by side, measured, and what the formulas say of the same load.

Owns: the load, the counting, the formulas, the pictures. Does not own: the server, which is a process of its
own that is started as a user would start it; the options (cli/lab.py).
Invariant: a transport's figures come from its own server alone, and every byte is counted on the socket.
"""

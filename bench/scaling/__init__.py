"""What many clients need: closed forms, and a simulation that checks them (docs/scaling.md).

costs.py has the constants, queues.py one server, cluster.py a log and its nodes, storms.py clients that
come back, deploys.py nodes that are restarted one after another, engine.py what a message costs Redis,
report.py the tables and the plot.
"""

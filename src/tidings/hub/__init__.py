"""Channels, subscribers, fan-out: the one delivery path.

hub.py moves messages; cohorts.py holds who listens, places.py knows where a client stands.
"""

from tidings.hub.cohorts import Cohort, Rendering, Subscriber
from tidings.hub.hub import Hub
from tidings.hub.places import Place
from tidings.hub.stats import Stats

__all__ = ["Cohort", "Hub", "Place", "Rendering", "Stats", "Subscriber"]

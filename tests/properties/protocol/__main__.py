"""Plays one schedule and tells what happens: `python -m tests.properties.protocol 'lanes=2 … / write:3 …'`."""

import sys

from tests.properties.protocol.play import play
from tests.properties.protocol.schedule import Schedule
from tests.properties.protocol.still import still

with still():
    play(Schedule.parse(" ".join(sys.argv[1:])), tell=print)
print("every promise holds")

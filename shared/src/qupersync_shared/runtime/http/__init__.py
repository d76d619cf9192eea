"""HTTP inside the processes: applications served on sockets of their own, and the probes that every process answers."""

from qupersync_shared.runtime.http.listening import Listen
from qupersync_shared.runtime.http.probes import Probes, probes_app
from qupersync_shared.runtime.http.readiness import Check, Readiness, Ready, Verdict
from qupersync_shared.runtime.http.serving import Limits, serve

__all__ = ["Check", "Limits", "Listen", "Probes", "Readiness", "Ready", "Verdict", "probes_app", "serve"]

"""The Redshift stand-in: a real PostgreSQL behind a front that speaks what redshift-connector expects.

Known differences from Redshift, which tests must not lean on: VARCHAR comparisons count trailing blanks; VARCHAR(n)
counts characters, not bytes; errors carry PostgreSQL's words unless a fault was ordered; SUPER keeps JSON as written;
there are no distribution, no compression and no WLM.
"""

from qupersync_local.standin.catalogue import Profile
from qupersync_local.standin.faults import Fault, FaultBook, FaultKind
from qupersync_local.standin.source import RedshiftStandin, StandinOptions

__all__ = ["Fault", "FaultBook", "FaultKind", "Profile", "RedshiftStandin", "StandinOptions"]

"""The faults the suite must hold, and what each must leave standing (letters as in the README's table of promises)."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    number: int
    what: str
    keeps: str


FAULTS: Final = {
    number: Fault(number, what, keeps)
    for number, what, keeps in (
        (1, "SIGKILL of the extractor before and after its commit", "O L D"),
        (2, "Redshift drops the connection mid-page, stalls, aborts (1023), cancels (57014)", "O L"),
        (3, "a row commits behind the watermark; more ties on one cursor value than a page holds", "L"),
        (4, "two extractors on one pipeline; one stopped past its lease, then resumed", "O W"),
        (5, "source column added, dropped, widened, narrowed; key column changed", "P"),
        (6, "rows deleted at the source", "L"),
        (7, "outbox database full, killed, restarted", "O B"),
        (8, "relay killed after the stream's ack, before its cursor moved; PubAck lost", "D"),
        (9, "relay stopped past its lease while another took over, then resumed", "D S"),
        (10, "nats-server killed and restarted; restored from an older copy of its store", "L"),
        (11, "stream full for a while", "B"),
        (12, "stream deleted and declared anew", "L W"),
        (13, "loader killed mid-transaction; after commit, before ack", "W D"),
        (14, "loader stopped past ack_wait while another applied the event, then resumed", "S W D"),
        (15, "loaders 1, 8, 2 mid-stream", "S W L"),
        (16, "target killed, restarted, deadlock, lock timeout, disk full, away for long", "D W"),
        (17, "target restored from an older backup", "L"),
        (18, "a row out of range, violating a constraint, with a NUL byte, with NaN or Infinity", "P"),
        (19, "a corrupt event (bad checksum, truncated, foreign) on a lane", "P"),
        (20, "page larger than max_payload; one row larger than max_payload", "P L"),
        (21, "slow target, slow link", "B"),
        (22, "wall clock of extractor or loader off by two hours, either way", "S W"),
        (23, "telemetry backend hangs", "L"),
        (24, "credential revoked, then renewed", "L"),
        (25, "rebuild beside live load; killed at each step; two at once", "L"),
        (26, "one of three NATS nodes killed and returned", "L"),
        (27, "extractor database restored from an older backup", "L S W"),
        (28, "a loader group gone for good; a stream at its limit with a snapshot needed", "B V"),
        (29, "a loader, relay or extractor frozen inside a transaction", "L"),
        (30, "number of lanes changed while lanes lag by different amounts", "S L"),
        (31, "keys whose order differs between engines", "L"),
        (32, "a commit that hangs while the next page is ready; a middle range of a snapshot that fails", "O L"),
        (33, "a row committing just before the end of its lookback, between two sweeps", "L"),
        (34, "extractor database and stream restored together to an older state; both lost", "L S"),
    )
}

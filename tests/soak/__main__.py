"""`python -m tests.soak`: a soak, or with `--unattended` a long run that nobody looks after."""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from tests.soak.options import Options
from tests.soak.report import print_document, show, write_markdown
from tests.soak.run import opened
from tests.soak.screen import Screen

from qupersync_local.demo_report import console
from qupersync_local.supervise import StackError
from qupersync_shared.runtime.lifecycle import Stop, run_until_stopped

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 only if everything held; 1 if not, 130 after Ctrl-C."""
    options = options_of(arguments)
    # Progress goes where it is not in the way of a document on the standard output.
    screen = Screen(
        console=Console(stderr=True, highlight=False) if options.as_json else console(), quiet=options.as_json
    )

    async def work(stop: Stop) -> int:
        try:
            async with opened(options, stop, screen) as run:
                try:
                    await run.go()
                except StackError as error:
                    run.outcome.failures.append(str(error))
                outcome = run.outcome
        except StackError as error:
            screen.say(f"the run could not begin: {error}")
            return 1
        write_markdown(outcome, options.report)
        if options.as_json:
            print_document(outcome)
        else:
            show(outcome, screen.console)
            screen.say(f"the report is {options.report}")
        if outcome.stopped:
            return _INTERRUPTED
        return 1 if outcome.complaints else 0

    return run_until_stopped(work)


def options_of(arguments: Sequence[str] | None) -> Options:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, help="how long faults and changes last (10; unattended: 60)")
    parser.add_argument("--pipelines", type=int, help="how many (5; unattended: 100)")
    parser.add_argument("--rows", type=int, help="of each source table at the beginning")
    parser.add_argument("--seed", type=int, help="of all random choices; printed at the beginning and in the report")
    parser.add_argument("--unattended", action="store_true", help="many pipelines on default options, few faults")
    parser.add_argument("--idle", type=float, default=None, help="seconds at rest before, measured (unattended: 30)")
    parser.add_argument("--writers", type=int, default=2, help="connections that change the sources")
    parser.add_argument("--report", type=Path, help="where the report goes (build/soak.md)")
    parser.add_argument("--json", action="store_true", help="one document on the standard output, no progress")
    given = parser.parse_args(arguments)
    if given.minutes is not None and given.minutes <= 0:
        parser.error("--minutes is not positive")
    if given.pipelines is not None and not 1 <= given.pipelines <= 500:
        parser.error("--pipelines is not between 1 and 500")
    unattended = given.unattended
    return Options(
        minutes=given.minutes or (60.0 if unattended else 10.0),
        pipelines=given.pipelines or (100 if unattended else 5),
        rows=given.rows or (200 if unattended else 3_000),
        seed=random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed,
        unattended=unattended,
        idle_seconds=(30.0 if unattended else 0.0) if given.idle is None else given.idle,
        writers=given.writers,
        as_json=given.json,
        report=given.report or Path("build/unattended.md" if unattended else "build/soak.md"),
        spare_first=unattended,
    )


if __name__ == "__main__":
    sys.exit(main())

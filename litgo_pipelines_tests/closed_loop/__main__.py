"""`python -m litgo_pipelines_tests.closed_loop`: runs the scenarios in a world of their own and tells what happened, and how fast."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litgo_pipelines_tests.closed_loop.harness import a_world
from litgo_pipelines_tests.closed_loop.scenarios import SCENARIOS, Seen

if TYPE_CHECKING:
    from litgo_pipelines.marketplace.database import Services


@contextmanager
def services_of_their_own() -> Iterator[tuple[Services, Path]]:
    """Databases on an embedded server in a new home; both go away."""
    from litgo_pipelines.marketplace import embedded
    from litgo_pipelines.marketplace.database import services_for, upgrade
    from litgo_pipelines.settings import load_settings

    home = Path(tempfile.mkdtemp(prefix="litgo-closed-loop-"))
    try:
        services = services_for(load_settings(litgo_home=home))
        upgrade(services.database)
        yield services, home
    finally:
        data = embedded.data_folder(home)
        embedded.release(home)
        shutil.rmtree(home, ignore_errors=True)
        # As root in a private temp folder the data lie elsewhere.
        shutil.rmtree(data, ignore_errors=True)


def run() -> dict[str, Seen]:
    """What each scenario saw, by its name."""
    from litgo_pipelines.observability.logs import configure_logging
    from litgo_pipelines.settings import load_settings

    configure_logging(load_settings(litgo_log_level="error"))
    begun = time.monotonic()

    def tell(told: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {told}", file=sys.stderr, flush=True)  # noqa: T201 (this is a command)

    found = {}
    with services_of_their_own() as (services, home), a_world(services, home, tell) as world:
        for scenario in SCENARIOS:
            tell(scenario.__name__.replace("_", " "))
            found[scenario.__name__] = scenario(world)
            for what, seconds in found[scenario.__name__].seconds.items():
                tell(f"  {what}: {seconds:.1f} s")
    tell("all ended")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all scenarios; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print what was seen as JSON")
    asked = parser.parse_args(arguments)
    found = run()
    if asked.json:
        shown: dict[str, Any] = {name: {"facts": seen.facts, "seconds": seen.seconds} for name, seen in found.items()}
        print(json.dumps(shown, indent=2, default=str))  # noqa: T201 (this is a command)
        return 0
    for name, seen in found.items():
        print(name.replace("_", " "))  # noqa: T201 (this is a command)
        for what, seconds in seen.seconds.items():
            print(f"  {what:<32}{seconds:6.1f} s")  # noqa: T201 (this is a command)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Prints what each action of a scenario file brings about: ``python -m tests.scenarios FILE``. For its author, to read and judge."""

import sys
import tempfile
from pathlib import Path

from tests.scenarios.runner import Run
from tests.scenarios.transcript import read

for name in sys.argv[1:]:
    scenario = read(Path(name))
    print("\n".join([scenario.title, "", *scenario.elements, "---"]))
    with tempfile.TemporaryDirectory() as folder, Run(scenario, Path(folder)) as run:
        for step in scenario.steps:
            sent = run.do(step)
            print(step.action)
            if step.wanted is not None:
                print("\n".join(map(str, sent)) or "  nothing")
        run.world.at_rest()

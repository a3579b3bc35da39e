"""Which model answers a client while an experiment runs. Serving and the rounds of next offers ask here, so that a client has one side.

Who is on which side is computed by `rollout.assignment`; where models come from is their callers' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from litgo_pipelines.casework.matching import Exposure
from litgo_pipelines.ranking.ranker import Ranker
from litgo_pipelines.rollout.assignment import assign
from litgo_pipelines.rollout.experiments import Experiment


@dataclass(frozen=True)
class Side:
    """What answers a client who is in the experiment, and what is recorded of it."""

    ranker: Ranker
    exposure: Exposure


@dataclass(frozen=True)
class Arms:
    """An experiment whose challenger is loaded."""

    experiment: Experiment
    challenger: Ranker

    def side(self, client_id: UUID, champion: Ranker) -> Side | None:
        """What answers a client; None for whoever takes part in nothing: the champion answers.

        Args:
            champion: what answers now. Where it is not what the experiment compares with, nobody takes part.
        """
        experiment = self.experiment
        if champion.version != experiment.champion:
            return None
        variant = assign(client_id, experiment.split)
        if variant is None:
            return None
        answers, other = (self.challenger, champion) if variant == "treatment" else (champion, self.challenger)
        return Side(answers, Exposure(experiment.id, variant, experiment.step, other))

"""Training of all seeds of a net at once, from a configuration to a run folder."""

from symjax.training.experiment import Experiment
from symjax.training.loop import train
from symjax.training.run_folder import RunExistsError

__all__ = ["Experiment", "RunExistsError", "train"]

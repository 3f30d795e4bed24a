"""The training engine. It knows no model and no task: an `Objective` offers batches, losses and evaluations."""

"""The training engine. It knows no model: a task offers batches, a loss, an evaluation and a way to save."""

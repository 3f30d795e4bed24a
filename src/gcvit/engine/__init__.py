"""The training engine: it knows no model; a task offers batches, a loss, an evaluation and how to save itself."""

"""The parts of stage two: data, module, callbacks, the run's folder. `pipelines.training.train` puts them together."""

"""The parts of stage two: data, module, callbacks, the run's folder. `pipelines.train` puts them together."""

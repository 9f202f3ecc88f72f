"""Where disk, cluster, GPU and people meet: extraction, training, evaluation, reports, benches and the command line."""

"""Floor 3, the world: catalogues, files, clusters, stores and the command line."""

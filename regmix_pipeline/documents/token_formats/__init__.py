"""How trainers store tokens on a disk, a file a format. `regmix_pipeline.documents.catalogue` lists them."""

from regmix_pipeline.cli import app

app()

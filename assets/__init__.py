"""Dagster's view of the pipeline: `graph` makes an asset of every stage; sensors, schedules and checks are beside it.

No module with assets or checks postpones its annotations: Dagster reads them to find contexts and resources.
"""

"""Software-defined assets, one module a stage: read inputs, call the method, record.

No module with assets or checks postpones its annotations: Dagster reads them to find contexts and resources.
"""

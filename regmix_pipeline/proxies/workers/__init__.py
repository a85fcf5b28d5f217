"""Where proxies are trained: on this machine or on a Ray cluster, over a shared disk or through a store."""

"""Many small proxies of one shape that train as one program."""

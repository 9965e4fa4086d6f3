"""The data store: a revisioned log of values. The promises every driver keeps stand in ``interface``."""

"""metrics.k8s.io: what nodes and pods use now, from what nodes report; an aggregated API server without a socket."""

"""How everything talks to a Kubernetes API: over HTTP to any cluster, or in-process to our own API server."""

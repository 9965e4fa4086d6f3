"""One control plane composed from the rooms below: configuration, assembly, the running process, its health."""

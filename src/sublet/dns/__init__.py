"""The cluster's DNS: services, headless services, SRV, PTR and forwarding of everything else."""

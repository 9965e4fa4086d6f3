"""The service proxy: what the API says of Services becomes nftables rules of this node (kube-proxy's duty)."""

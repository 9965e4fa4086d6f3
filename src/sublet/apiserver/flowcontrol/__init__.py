"""API priority and fairness: which requests wait for which, and which are refused (flowcontrol.apiserver.k8s.io/v1)."""

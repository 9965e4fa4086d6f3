"""Rules that several kinds share: pods and their templates, ports, selectors, webhooks, cells."""

"""Every built-in kind: folder = API group, file = plural name. ``catalog`` finds them; nothing lists them."""

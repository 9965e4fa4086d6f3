"""Where tenants' control planes run and what becomes of them: create, connect, list, delete; sublet's own image."""

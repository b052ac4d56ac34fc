"""The search: which setting is tried next, and which trial goes on."""

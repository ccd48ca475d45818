"""The asyncio shell: sockets, HTTP, routes, settings."""

"""The HTTP surface: listener, middleware, access, routes, pages."""

"""The HTTP side: routes, bodies, authentication, recording."""

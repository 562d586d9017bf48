"""A plugin of each kind; pyproject.toml names them."""

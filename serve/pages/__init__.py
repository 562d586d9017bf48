"""The pages people see in a browser. They use the gateway's public API, like any other client."""

"""The clients that people already use, run against Pawl: python -m benchmarks.clients"""

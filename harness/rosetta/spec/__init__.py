"""The .toml files of benchmarks/, notebooks/ and data/, read into frozen dataclasses."""

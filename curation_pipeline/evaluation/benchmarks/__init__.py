"""The benchmarks, one module each: every module here declares one as ``BENCHMARK``."""
